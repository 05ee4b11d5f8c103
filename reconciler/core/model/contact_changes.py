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
    ObservationOrigin,
    removed_by_others,
)
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome


def record_intent(
    known: ContactState, action: Action, tags: TagSet, *, keep: TagSet, at: Instant, once: TagSet = NONE
) -> ContactState:
    """What is known once the intent to send is durable: added pairs are under management from here on.

    `at`: now; what is put back is remembered with it, and what is given of the tags that are `once`.
    """
    if action is Action.REMOVE:
        return known
    return replace(
        known,
        ledger=known.ledger | tags,
        kept=(known.kept - tags) | (keep & tags),
        restored=_put_back(known, removed_by_others(known, tags), at),
        unconfirmed=known.unconfirmed | (tags - known.ledger),
        attempted_at=at,
        # what is tried once more was given when it was tried first, for all anybody knows
        spent=_given(known, tags & once, at, anew=(tags & once) - known.ledger),
    )


def _given(known: ContactState, tags: TagSet, at: Instant, *, anew: TagSet = NONE) -> tuple[tuple[Tag, Instant], ...]:
    """The memory of what was given, with these tags. `anew`: whose date is `at`, whatever was remembered of them."""
    if not tags:
        return known.spent
    before = {tag: then for tag, then in known.spent if tag not in anew}
    return tuple(sorted((dict.fromkeys(tags, at) | before).items()))


def _put_back(known: ContactState, tags: TagSet, at: Instant) -> tuple[tuple[Tag, Instant], ...]:
    if not tags and not known.restored:
        return ()
    lately = {tag: then for tag, then in known.restored if at - then < RESTORE_MS}
    return tuple(sorted((lately | dict.fromkeys(tags, at)).items()))


def withdraw_intent(known: ContactState, before: ContactState) -> ContactState:
    """Undoes `record_intent`: the request is known to have had no effect. `before` is what was known before it."""
    return replace(
        known,
        ledger=before.ledger,
        kept=before.kept,
        restored=before.restored,
        unconfirmed=before.unconfirmed,
        spent=before.spent,
        attempted_at=before.attempted_at,
    )


def record_answer(
    known: ContactState,
    verdict: ContactOutcome,
    action: Action,
    tags: TagSet,
    *,
    sent: Instant,
    answered: Instant,
    settle_ms: int = SETTLE_MS,
    membership: frozenset[SetName] | None = None,
    once: TagSet = NONE,
) -> ContactState:
    """What is known after the answer: `verdict` on the contact, for a request sent and answered at those instants.

    `membership`: the sets that it belongs to now. `once`: the tags of that rule.
    """
    if verdict.outcome is Outcome.REJECTED:
        rejected = replace(
            known,
            quarantine=verdict.rejection,
            quarantined_at=answered,
            quarantined_since=known.quarantined_since or known.quarantined_at or answered,
            membership=membership,
        )
        return disown_adds(rejected, tags - known.doubt, since=sent) if action is Action.ADD else rejected
    if verdict.observed is None:
        return known.in_doubt(tags, sent)
    seen = record_observation(known, verdict.observed, at=answered, origin=ObservationOrigin.WRITE, settle_ms=settle_ms)
    if action is Action.ADD:
        return confirm_adds(seen, tags)
    return release_pairs(seen, tags - verdict.observed - seen.doubt, once=once, at=answered)


def record_observation(
    known: ContactState, tags: TagSet, *, at: Instant, origin: ObservationOrigin, settle_ms: int
) -> ContactState:
    """What is known after an observation of the contact's `tags` at `at`; an older one changes nothing.

    A doubt is settled when the observation was made `settle_ms` after the doubtful request was sent; what is there once
    it was sent is confirmed. Being seen after it began ends a quarantine.
    """
    if known.observed_at is not None and at < known.observed_at:
        return known
    settled = known.doubt_at is not None and at >= known.doubt_at + settle_ms
    back = known.quarantined_at is not None and at >= known.quarantined_at
    later = known.doubt_at is None or at >= known.doubt_at
    seen = replace(
        known,
        observed=tags,
        observed_at=at,
        origin=origin,
        doubt=frozenset() if settled else known.doubt,
        doubt_at=None if settled else known.doubt_at,
        quarantine=None if back else known.quarantine,
        quarantined_at=None if back else known.quarantined_at,
        quarantined_since=None if back else known.quarantined_since,
        membership=None if back else known.membership,
        unconfirmed=not_among(known.unconfirmed, tags) if later else known.unconfirmed,
        reading=None,
    )
    # what was in doubt and is not there may have been, and been consumed
    return _without_attempt(seen) if known.doubt <= tags else seen


def _without_attempt(known: ContactState) -> ContactState:
    """Where every addition that was tried is known to have come to be, or not to have, when that was says nothing."""
    if known.attempted_at is None or known.doubt or known.unconfirmed:
        return known
    return replace(known, attempted_at=None)


def not_among(some: TagSet, tags: TagSet) -> TagSet:
    """Those of `some` that are not there in any spelling: one that nobody learnt yet may stand for a tag, too."""
    if not some:
        return some
    there = set(map(fold_spelling, tags))
    return frozenset(tag for tag in some if fold_spelling(tag) not in there)


def confirm_adds(known: ContactState, tags: TagSet) -> ContactState:
    """The adds of these tags came to be, whatever became of them since."""
    confirmed = replace(known, unconfirmed=known.unconfirmed - tags) if known.unconfirmed & tags else known
    return _without_attempt(confirmed)


def adopt_pairs(known: ContactState, tags: TagSet, *, keep: TagSet) -> ContactState:
    """Desired and observed there: under management without a request."""
    return replace(known, ledger=known.ledger | tags, kept=known.kept | (keep & tags))


def release_pairs(known: ContactState, tags: TagSet, *, once: TagSet = NONE, at: Instant = UNTIMED) -> ContactState:
    """No longer under management, now, which is `at`; that a tag of `once` was given is remembered."""
    return replace(
        known,
        ledger=known.ledger - tags,
        kept=known.kept - tags,
        restored=tuple(each for each in known.restored if each[0] not in tags),
        unconfirmed=known.unconfirmed - tags,
        spent=_given(known, tags & once & known.ledger, at),
    )


def disown_adds(known: ContactState, tags: TagSet, *, since: Instant = UNTIMED) -> ContactState:
    """No longer under management: their adds, sent at `since` or later, are known never to have come to be."""
    never = tags & known.unconfirmed
    spent = tuple((tag, at) for tag, at in known.spent if tag not in never or at < since)
    return _without_attempt(replace(release_pairs(known, tags), spent=spent))


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
        """What becomes known of each of the contacts."""
        for contact in self.contacts:
            yield (
                contact,
                record_observation(observed[contact], self.tags, at=self.at, origin=self.origin, settle_ms=settle_ms),
            )
