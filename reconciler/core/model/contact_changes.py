"""How an intent, an answer or an observation changes the state of a contact (rules: see `contact_state.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reconciler.core.model.contact_state import (
    NONE,
    RESTORE_MS,
    SETTLE_MS,
    UNTIMED,
    ContactState,
    ContactStates,
    DatedTag,
    Doubt,
    Ledger,
    Observation,
    ObservationOrigin,
    PastAdds,
    Quarantine,
    removed_by_others,
)
from reconciler.core.model.names import ContactId, Instant, SetName, TagSet, fold_spelling
from reconciler.core.model.outcome import Action, ContactOutcome, Rejection


def record_intent(
    state: ContactState, action: Action, tags: TagSet, *, keep: TagSet, at: Instant, once: TagSet = NONE
) -> ContactState:
    """The state once the intent to send is durable at `at`: added pairs are under management from here on.

    `once`: the tags of that rule, whose date is remembered.
    """
    if action is Action.REMOVE:
        return state
    ledger = Ledger(
        tags=state.ledger.tags | tags,
        kept=(state.ledger.kept - tags) | (keep & tags),
        unconfirmed=state.ledger.unconfirmed | (tags - state.ledger.tags),
    )
    past_adds = PastAdds(
        restored=_put_back(state, removed_by_others(state, tags), at),
        # a pair of the ledger that is tried once more may have been given when it was tried first
        spent=_given(state, tags & once, at, anew=(tags & once) - state.ledger.tags),
        attempted_at=at,
    )
    return replace(state, ledger=ledger, past_adds=past_adds)


def _given(state: ContactState, tags: TagSet, at: Instant, *, anew: TagSet = NONE) -> tuple[DatedTag, ...]:
    """The memory of the tags given, with these. `anew`: those whose date is `at`, whatever was remembered of them."""
    if not tags:
        return state.past_adds.spent
    before = {tag: then for tag, then in state.past_adds.spent if tag not in anew}
    return tuple(sorted((dict.fromkeys(tags, at) | before).items()))


def _put_back(state: ContactState, tags: TagSet, at: Instant) -> tuple[DatedTag, ...]:
    if not tags and not state.past_adds.restored:
        return ()
    lately = {tag: then for tag, then in state.past_adds.restored if at - then < RESTORE_MS}
    return tuple(sorted((lately | dict.fromkeys(tags, at)).items()))


def withdraw_intent(state: ContactState, before: ContactState) -> ContactState:
    """Undoes `record_intent`: the request is known to have had no effect. `before`: the state before it."""
    return replace(state, ledger=before.ledger, past_adds=before.past_adds)


def record_answer(
    state: ContactState,
    outcome: ContactOutcome,
    action: Action,
    tags: TagSet,
    *,
    sent: Instant,
    answered: Instant,
    settle_ms: int = SETTLE_MS,
    membership: frozenset[SetName] | None = None,
    once: TagSet = NONE,
    intended: Instant | None = None,
) -> ContactState:
    """The state after the answer to a request that was sent and answered at those instants.

    `intended`: the date of its intent. `membership`: the sets it belongs to now. `once`: the tags of that rule.
    """
    if outcome.rejection is not None:
        refused = quarantine(state, outcome.rejection, answered, membership)
        # a tag in doubt may be there for an earlier request
        return disown_adds(refused, tags - state.doubtful, since=intended or sent) if action is Action.ADD else refused
    if outcome.observed is None:
        return state.with_doubt(tags, sent)
    seen = record_observation(state, outcome.observed, at=answered, origin=ObservationOrigin.WRITE, settle_ms=settle_ms)
    seen = _hold_adds(seen, state, tags)
    if action is Action.ADD:
        return confirm_adds(seen, tags)
    return release_pairs(seen, tags - outcome.observed - seen.doubtful, once=once, at=answered)


def _hold_adds(seen: ContactState, before: ContactState, tags: TagSet) -> ContactState:
    """The state with the adds still in doubt that the answer to another request, about `tags`, does not show.

    They may have come to be, and a workflow may have consumed them; and that request moved the date that would tell.
    """
    if before.doubt is None or seen.observed is None:
        return seen
    unproven = not_among((before.doubt.tags & before.ledger.unconfirmed) - tags, seen.observed)
    if unproven <= seen.doubtful:
        return seen
    return replace(seen, doubt=Doubt(unproven | seen.doubtful, before.doubt.sent, before.doubt.reading))


def quarantine(
    state: ContactState, reason: Rejection, at: Instant, membership: frozenset[SetName] | None
) -> ContactState:
    """The state of a contact that the API refuses for good, while it belongs to the sets `membership`."""
    before = state.quarantine
    since = at if before is None else before.at if before.since is None else before.since
    return replace(state, quarantine=Quarantine(reason, at, since, membership))


def record_observation(
    state: ContactState, tags: TagSet, *, at: Instant, origin: ObservationOrigin, settle_ms: int
) -> ContactState:
    """The state after an observation of the contact's `tags` at `at`; an older one changes nothing.

    It settles a doubt when it was made `settle_ms` after the doubtful request was sent, and ends a quarantine when it
    was made after the refusal.
    """
    if state.observation is not None and at < state.observation.at:
        return state
    doubt, ledger = state.doubt, state.ledger
    if doubt is None or at >= doubt.sent:
        # the tag is there once its request was sent; before that it may have been there for another reason
        ledger = replace(ledger, unconfirmed=not_among(ledger.unconfirmed, tags))
    if doubt is not None:
        doubt = None if at >= doubt.sent + settle_ms else Doubt(doubt.tags, doubt.sent)
    refused = state.quarantine
    refused = None if refused is not None and at >= refused.at else refused
    seen = replace(state, observation=Observation(tags, at, origin), ledger=ledger, doubt=doubt, quarantine=refused)
    # a tag that was in doubt and is not there may have been added, and been consumed by a workflow
    return _without_attempt(seen) if state.doubtful <= tags else seen


def _without_attempt(state: ContactState) -> ContactState:
    """The state without the time of its last additions, where each is known to have come to be, or not to have."""
    if state.past_adds.attempted_at is None or state.doubt is not None or state.ledger.unconfirmed:
        return state
    return replace(state, past_adds=replace(state.past_adds, attempted_at=None))


def not_among(some: TagSet, tags: TagSet) -> TagSet:
    """Those of `some` that are not among `tags` in any spelling."""
    if not some:
        return some
    # the location may keep a tag in a spelling that no answer has told yet
    there = set(map(fold_spelling, tags))
    return frozenset(tag for tag in some if fold_spelling(tag) not in there)


def confirm_adds(state: ContactState, tags: TagSet) -> ContactState:
    """The state once the adds of these tags are known to have come to be, whatever became of them since."""
    if state.ledger.unconfirmed & tags:
        state = replace(state, ledger=replace(state.ledger, unconfirmed=state.ledger.unconfirmed - tags))
    return _without_attempt(state)


def adopt_pairs(
    state: ContactState, tags: TagSet, *, keep: TagSet, once: TagSet = NONE, at: Instant = UNTIMED
) -> ContactState:
    """The state with tags, desired and observed there, under management without a request; those of `once` were given,
    at `at` at the latest."""
    ledger = replace(state.ledger, tags=state.ledger.tags | tags, kept=state.ledger.kept | (keep & tags))
    # nearly always none: a first apply may adopt a million contacts
    past_adds = replace(state.past_adds, spent=_given(state, tags & once, at)) if tags & once else state.past_adds
    return replace(state, ledger=ledger, past_adds=past_adds)


def find_undated(states: ContactStates, once: TagSet) -> dict[ContactId, ContactState]:
    """The contacts with pairs of the tags `once` that came to be, or may have, before these had the rule: undated."""
    undated = {index for index, state in enumerate(states.patterns) if _undated(state, once)} if once else set()
    if not undated:
        return {}
    return {contact: states.patterns[index] for contact, index in states.contacts.items() if index in undated}


def date_given(state: ContactState, once: TagSet, at: Instant) -> ContactState:
    """The state with the date of each pair of the tags `once`: those without one were given at `at` at the latest."""
    return replace(state, past_adds=replace(state.past_adds, spent=_given(state, _undated(state, once), at)))


def _undated(state: ContactState, once: TagSet) -> TagSet:
    # what may have been given, too: a workflow may have consumed it
    given = state.ledger.tags & once
    return given and given.difference(tag for tag, _ in state.past_adds.spent)


def release_pairs(state: ContactState, tags: TagSet, *, once: TagSet = NONE, at: Instant = UNTIMED) -> ContactState:
    """The state with tags no longer under management; that a tag of `once` was given is remembered, with now, `at`."""
    before = state.ledger
    past_adds = replace(
        state.past_adds,
        restored=tuple(dated for dated in state.past_adds.restored if dated[0] not in tags),
        spent=_given(state, tags & once & before.tags, at),
    )
    ledger = Ledger(before.tags - tags, before.kept - tags, before.unconfirmed - tags)
    return replace(state, ledger=ledger, past_adds=past_adds)


def disown_adds(state: ContactState, tags: TagSet, *, since: Instant = UNTIMED) -> ContactState:
    """The state with tags no longer under management: their adds, sent at `since` or later, never came to be."""
    never = tags & state.ledger.unconfirmed
    spent = tuple((tag, at) for tag, at in state.past_adds.spent if tag not in never or at < since)
    released = release_pairs(state, tags)
    return _without_attempt(replace(released, past_adds=replace(released.past_adds, spent=spent)))


@dataclass(frozen=True, slots=True)
class ObservedContacts:
    """The same tags read on some contacts at one instant."""

    tags: TagSet
    at: Instant
    origin: ObservationOrigin
    contacts: tuple[ContactId, ...]

    def apply_to(
        self, observed: ContactStates, *, settle_ms: int = SETTLE_MS
    ) -> Iterator[tuple[ContactId, ContactState]]:
        """The state of each of the contacts once they were observed."""
        for contact in self.contacts:
            before = observed[contact]
            yield contact, record_observation(before, self.tags, at=self.at, origin=self.origin, settle_ms=settle_ms)
