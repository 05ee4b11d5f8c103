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
from reconciler.core.model.contact_state import NONE, ContactState, ContactStates, Managed
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Reassert


@dataclass(frozen=True, slots=True)
class Situation:
    """What planning sees of a contact."""

    observed: TagSet | None = None
    """The tags that it carries, as far as they matter to the plan; None where no answer ever told them."""

    ledger: TagSet = NONE
    """The tags that are under our management."""

    kept: TagSet = NONE
    """That part of the ledger that stays when no set declares it any more."""

    doubt: TagSet = NONE
    """The tags that a request of unknown effect tried to change."""

    unconfirmed: TagSet = NONE
    """That part of the ledger that was asked for, and that no answer or observation has shown since."""

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
    """What turns the facts about a contact into its situation."""

    relevant: TagSet
    """The tags that the plan may name, besides those of the contact's own ledger."""

    exact: bool
    """Whether a set of the plan removes foreign tags."""

    reassertion: Reassertion
    searched: Searched
    now: Instant

    def situation_of(self, known: ContactState) -> Situation:
        return Situation(
            observed=known.observed if self.exact else self._relevant(known),
            ledger=known.ledger,
            kept=known.kept,
            doubt=known.doubt,
            unconfirmed=known.unconfirmed,
            given_before=known.given_before,
            flapping=known.flapping(self.now),
            refusal=known.quarantine.value if known.quarantine else "",
            is_fresh=self.reassertion.is_fresh(known),
            is_searched=self.searched.is_newer_on(known),
        )

    def _relevant(self, known: ContactState) -> TagSet | None:
        if known.observed is None:
            return None
        relevant = known.observed & (self.relevant | known.ledger)
        # a tag of the ledger that is not there may be there in a spelling that no answer has told yet
        if missing := set(map(fold_spelling, known.ledger - known.observed)):
            relevant |= {tag for tag in known.observed if fold_spelling(tag) in missing}
        return relevant


@dataclass(frozen=True, slots=True)
class OlderRows:
    """What a search told that is older than known, and contradicts it: it was set aside.

    `rows`: all that the search showed; `contradicting`: those of them that said otherwise; `read_again`: how many of
    the contacts were then read by id.
    """

    rows: int
    contradicting: int
    read_again: int

    def __str__(self) -> str:
        told = (
            f"{self.contradicting:,} of {self.rows:,} rows of the search were older than what earlier runs were told, "
            "and said otherwise: set aside"
        )
        if self.read_again:
            return f"{told}; {self.read_again:,} of these contacts were read by id"
        return f"{told}; the index lags: read by id (get), or search again some minutes later"


@dataclass(frozen=True, slots=True)
class Searched:
    """The exclusive tags whose holders were looked for, and what a search told that was set aside.

    `complete`: those of which every holder was shown. `since`: who was observed from then on and carries one is a
    holder of now; None where nobody looked.
    """

    tags: TagSet = NONE
    complete: TagSet = NONE
    since: Instant | None = None
    older_rows: OlderRows | None = None

    def is_newer_on(self, known: ContactState) -> bool:
        """Whether what is known of a contact is of the search, or newer."""
        return self.since is not None and known.observed_at is not None and known.observed_at >= self.since

    def held_by(self, observed: TagSet | None) -> TagSet:
        """The tags whose holder a contact is, that was observed by the search or since."""
        return self.tags & observed if observed else NONE


NOT_SEARCHED = Searched()


def exclusive_tags(desired: Desired) -> TagSet:
    return frozenset(tag for tag, rule in desired.rules.items() if rule.exclusive and tag in desired.owned)


@dataclass(frozen=True, slots=True)
class Reassertion:
    """`fresh_since`: an observation before it is too old to add again on. `excepted`: tags not to be sent again."""

    mode: Reassert = Reassert.INERT
    fresh_since: Instant = Instant(0)
    excepted: frozenset[tuple[Action, Tag]] = frozenset()

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
        if rule is not None and (rule.triggers or rule.once or rule.protected):
            return False
        return action is Action.REMOVE or self.mode is Reassert.ALWAYS or (rule is not None and rule.inert)

    def is_fresh(self, known: ContactState) -> bool:
        """Whether a contact was observed recently enough to add to it again."""
        return (
            self.mode is not Reassert.NEVER and known.observed_at is not None and known.observed_at >= self.fresh_since
        )

    def repeatable_adds(self, present: Collection[Tag], contact: Managed, rules: Mapping[Tag, TagRule]) -> TagSet:
        """What may be added again to a contact that was observed recently enough: `present` is desired."""
        if contact.observed is None:
            return NONE
        return self.repeatable_tags(Action.ADD, contact.observed.intersection(present) - contact.doubt, rules)

    def repeatable_removes(self, removable: Collection[Tag], contact: Managed, rules: Mapping[Tag, TagRule]) -> TagSet:
        """What may be removed again from a contact: `removable` would be removed, were it there."""
        if contact.observed is None:
            return NONE
        return self.repeatable_tags(Action.REMOVE, frozenset(removable) - contact.observed - contact.doubt, rules)


NO_REASSERTION = Reassertion(Reassert.NEVER)


def leaving_pairs(known: Managed, present: TagSet) -> TagSet:
    """The pairs of a contact that leave the ledger where `present` is desired: known to be gone, or to be kept."""
    undesired = known.ledger - present - known.doubt
    gone = NONE if known.observed is None else not_among(undesired - known.observed, known.observed)
    return gone | (undesired & known.kept)


def owned_tags(
    desired: Desired, observed: ContactStates, *, tags: TagSet = NONE, contacts: Container[ContactId] | None = None
) -> TagSet:
    """`tags`, `contacts`: what a plan is narrowed to; no tags are all, and so is None."""
    used = set(observed.contacts.values())
    # most patterns lose nothing, whatever is desired: their contacts need not be looked at
    losing = {index for index in used if leaving_pairs(observed.patterns[index], NONE)}
    owned = set(desired.owned).union(*(observed.patterns[index].ledger for index in used - losing))
    cases = {
        (desired.contacts.get(contact, -1) if contacts is None or contact in contacts else None, index)
        for contact, index in observed.contacts.items()
        if index in losing
    }
    for wanted, index in cases:
        known = observed.patterns[index]
        present = frozenset(desired.wants[wanted].present) if wanted is not None and wanted >= 0 else NONE
        gone = NONE if wanted is None else leaving_pairs(known, present)
        owned |= known.ledger - (gone & tags if tags else gone)
    return frozenset(owned)
