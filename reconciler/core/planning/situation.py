"""All that planning may see of a contact, and of the tags around it. Contacts of one situation get the same plan, so
that planning a million of them is planning a few thousand situations.

Rules of a situation
1. A situation is the key that contacts are grouped by and the value that `pattern.py` reads: planning cannot depend on
   a fact that the grouping forgot.
2. Dates are not part of a situation, but for the date that a plan prints: times are compared before, in
   `Context.situation_of`.
3. Foreign tags are part of a situation only under `exact` authority, which removes them, or where a tag of the ledger
   may be theirs in another spelling.

Rules of exclusive tags, which only declared contacts carry in the whole location
4. No contact loses an exclusive tag without a search for its holders, made for this very plan.
5. A holder that a search showed is a fact, whether or not the search was complete; that there is no other is one only
   if it was.
6. Only a tag that the location's manifests name is exclusive in it: a shared rule alone empties nothing.

Rules of re-assertions, pairs that may be sent again where that saves a request
7. An added pair may be sent again when it is desired, was observed there not too long ago, and its tag is inert
   (`inert`) or any tag (`always`): a workflow may have consumed another tag meanwhile.
8. A removed pair may be sent again when the tag was observed absent and the manifests would call for its removal,
   were it there; `never` forbids it.
9. Tags that trigger automations, tags that are `once` and protected tags are never sent again; nor is a pair in
   doubt, a contact quarantined, or one never observed.

Rules of owned tags: those that the location's manifests name, and those of its ledger
10. A pair that leaves the ledger by a plan makes no tag owned in it: it is not there any more, or stays on purpose.
11. A pair that is pruned does: the plan takes the tag from its contact.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_changes import not_among
from reconciler.core.model.contact_numbers import ABSENT
from reconciler.core.model.contact_state import EMPTY_LEDGER, NONE, ContactState, ContactStates, Ledger, Managed
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Reassert


@dataclass(frozen=True, slots=True)
class Situation:
    """All that planning sees of a contact."""

    observed: TagSet | None = None
    """The tags that it carries, as far as they matter to the plan; None where no answer ever told them."""

    ledger: Ledger = EMPTY_LEDGER

    doubtful: TagSet = NONE
    """The tags that a request of unknown effect tried to change."""

    given_before: tuple[tuple[Tag, Instant], ...] = ()
    """The `once` tags that left the ledger, with the date when they were given, which the plan prints."""

    flapping: TagSet = NONE
    """Tags of ours that others removed although a run had put them back within a week."""

    refusal: str = ""
    """Why the API refused the contact for good; empty where it did not."""

    is_fresh: bool = False
    """Whether it was observed recently enough to add to it again."""

    is_searched: bool = False
    """Whether its observation is that of the search for holders of exclusive tags, or newer."""


@dataclass(frozen=True, slots=True)
class Context:
    """Turns the state of a contact into its situation."""

    relevant: TagSet
    """The tags that the plan may name; those of the contact's own ledger are added."""

    exact: bool
    """Whether a set of the plan removes foreign tags."""

    reassertion: Reassertion
    searched: Searched
    now: Instant

    def situation_of(self, state: ContactState) -> Situation:
        return Situation(
            observed=state.observed if self.exact else self._relevant_tags(state),
            ledger=state.ledger,
            doubtful=state.doubtful,
            given_before=state.given_before,
            flapping=state.flapping(self.now),
            refusal=state.quarantine.reason.value if state.quarantine else "",
            is_fresh=self.reassertion.is_fresh(state),
            is_searched=self.searched.is_newer_on(state),
        )

    def _relevant_tags(self, state: ContactState) -> TagSet | None:
        if state.observed is None:
            return None
        # of few contacts others have set a tag: the set of most is taken as it is
        relevant = state.observed
        if not relevant <= self.relevant:
            relevant &= self.relevant | state.ledger.tags
        # a tag of the ledger that is missing may be there in a spelling that no answer has told yet
        if missing := set(map(fold_spelling, state.ledger.tags - state.observed)):
            relevant |= {tag for tag in state.observed if fold_spelling(tag) in missing}
        return relevant


@dataclass(frozen=True, slots=True)
class OlderRows:
    """Rows of a search that are older than the state, and contradict it: they were set aside."""

    rows: int
    """All rows that the search showed."""
    contradicting: int
    """Those that are older and say otherwise."""
    read_again: int
    """How many of their contacts were then read by id, which does not lag."""

    def __str__(self) -> str:
        sentence = (
            f"{self.contradicting:,} of {self.rows:,} rows of the search were older than what earlier runs were told, "
            "and said otherwise: set aside"
        )
        if self.read_again:
            return f"{sentence}; {self.read_again:,} of these contacts were read by id"
        return f"{sentence}; the index lags: read by id (get), or search again some minutes later"


@dataclass(frozen=True, slots=True)
class Searched:
    """The search for holders of exclusive tags that a plan stands on."""

    tags: TagSet = NONE
    complete: TagSet = NONE
    """The tags of which the search showed every holder."""
    since: Instant | None = None
    """An observation from then on is as good as the search; None where no search was made."""
    older_rows: OlderRows | None = None

    def is_newer_on(self, state: ContactState) -> bool:
        """Whether the observation of a contact is that of the search, or newer."""
        return self.since is not None and state.observed_at is not None and state.observed_at >= self.since

    def held_by(self, observed: TagSet | None) -> TagSet:
        """The searched tags that a contact carries, which was observed by the search or since."""
        return self.tags & observed if observed else NONE


NOT_SEARCHED = Searched()


def exclusive_tags(desired: Desired) -> TagSet:
    # rule 6: a shared rule of the settings would else empty a tag in locations that never named it
    return frozenset(tag for tag, rule in desired.rules.items() if rule.exclusive and tag in desired.owned)


@dataclass(frozen=True, slots=True)
class Reassertion:
    """Which pairs a plan may send again."""

    mode: Reassert = Reassert.INERT
    fresh_since: Instant = Instant(0)
    """The oldest observation that allows an add to be sent again: by an older one the tag may be gone since."""
    excepted: frozenset[tuple[Action, Tag]] = frozenset()
    """The pairs that are left out, as sending them again would exceed a guard's limit."""

    def without(self, excepted: frozenset[tuple[Action, Tag]]) -> Reassertion:
        return replace(self, excepted=self.excepted | excepted)

    def repeatable_tags(self, action: Action, tags: Collection[Tag], rules: Mapping[Tag, TagRule]) -> TagSet:
        """Those of `tags` that may be sent more than once."""
        if self.mode is Reassert.NEVER:
            return NONE
        return frozenset(
            tag for tag in tags if (action, tag) not in self.excepted and self._may_repeat(action, rules.get(tag))
        )

    def _may_repeat(self, action: Action, rule: TagRule | None) -> bool:
        # a second add would start the automation again, where a workflow consumed the tag meanwhile
        if rule is not None and (rule.triggers or rule.once or rule.protected):
            return False
        # a second add may be a transition, which the pace would have to count
        if action is Action.ADD and rule is not None and rule.release is not None:
            return False
        return action is Action.REMOVE or self.mode is Reassert.ALWAYS or (rule is not None and rule.inert)

    def is_fresh(self, state: ContactState) -> bool:
        """Whether a contact was observed recently enough to add to it again."""
        return (
            self.mode is not Reassert.NEVER and state.observed_at is not None and state.observed_at >= self.fresh_since
        )

    def repeatable_adds(self, present: Collection[Tag], contact: Managed, rules: Mapping[Tag, TagRule]) -> TagSet:
        """The tags of `present` that may be added again to a contact that was observed recently enough."""
        if contact.observed is None:
            return NONE
        return self.repeatable_tags(Action.ADD, contact.observed.intersection(present) - contact.doubtful, rules)

    def repeatable_removes(self, removable: Collection[Tag], contact: Managed, rules: Mapping[Tag, TagRule]) -> TagSet:
        """The tags of `removable`, absent as observed, whose removal may be sent again."""
        if contact.observed is None:
            return NONE
        return self.repeatable_tags(Action.REMOVE, frozenset(removable) - contact.observed - contact.doubtful, rules)


NO_REASSERTION = Reassertion(Reassert.NEVER)


def leaving_pairs(contact: Managed, present: TagSet) -> TagSet:
    """The pairs of a contact that leave the ledger where `present` is desired: observed to be gone, or to be kept."""
    # a pair in doubt stays: a request may have put it there, or may still
    undesired = contact.ledger.tags - present - contact.doubtful
    gone = NONE if contact.observed is None else not_among(undesired - contact.observed, contact.observed)
    return gone | (undesired & contact.ledger.kept)


def owned_tags(
    desired: Desired, observed: ContactStates, *, tags: TagSet = NONE, contacts: Container[ContactId] | None = None
) -> TagSet:
    """The owned tags of a plan, by rules 10 and 11.

    `tags`, `contacts`: the selection that the plan is narrowed to; no tags are all tags, None is every contact.
    """
    used = observed.contacts.distinct_integers()
    # most patterns lose nothing for any desired tags: their contacts need not be looked at
    losing = {index for index in used if _may_lose(observed.patterns[index])}
    owned = set(desired.owned).union(*(observed.patterns[index].ledger.tags for index in used - losing))
    for want, index in _find_losing(desired, observed, contacts, losing) if losing else ():
        state = observed.patterns[index]
        present = frozenset(desired.wants[want].present) if want is not None and want != ABSENT else NONE
        # a contact that the selection leaves out loses nothing by this plan
        leaving = NONE if want is None else leaving_pairs(state, present)
        owned |= state.ledger.tags - (leaving & tags if tags else leaving)
    return frozenset(owned)


def _may_lose(state: ContactState) -> bool:
    """Whether pairs of the contact leave the ledger where nothing is desired."""
    is_there = state.observed is None or state.ledger.tags <= state.observed
    return bool(state.ledger.kept or not is_there) and bool(leaving_pairs(state, NONE))


def _find_losing(
    desired: Desired, observed: ContactStates, contacts: Container[ContactId] | None, losing: Container[int]
) -> set[tuple[int | None, int]]:
    """Of the contacts in these states the index of the want, None where they are not among `contacts`, and that of the
    state."""
    numbered, wants, states = desired.contacts.beside(observed.contacts)
    if contacts is None:
        return {pair for pair in set(zip(wants, states, strict=True)) if pair[1] in losing}
    return {
        (want if contact in contacts else None, index)
        for contact, want, index in zip(numbered.ids, wants, states, strict=True)
        if index in losing
    }
