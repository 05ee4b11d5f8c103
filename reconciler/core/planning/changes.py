"""The differences of desired and observed, as values: changes, deltas, deferrals, entries of the ledger; and how two
lists of deltas differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.model.batch import Demand, Reason
from reconciler.core.model.names import ContactId, Instant, SetName, Source, Tag, TagSet
from reconciler.core.model.outcome import Action

IN_DOUBT = "in doubt"
FLAPPING = "flapping: put back less than 7 days ago"
SAFE = "protected or ignored"
KEPT = "kept on leaving"
GIVEN = "once: given before"
UNCONFIRMED = "once: its add was in doubt, and it was not there when it was looked for"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One tag to add or remove, why, and where that was asked for."""

    action: Action
    tag: Tag
    reason: Reason
    sources: tuple[Source, ...] = ()

    def __hash__(self) -> int:
        # the others seldom tell two changes apart: a hundred thousand groups of contacts are found by theirs
        return hash(self.tag)


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes that a group of contacts shares, sorted; the contacts sorted too."""

    changes: tuple[Change, ...]
    contacts: tuple[ContactId, ...]

    def tags(self, action: Action) -> TagSet:
        return frozenset(change.tag for change in self.changes if change.action is action)


def sorted_deltas(grouped: Mapping[tuple[Change, ...], Iterable[ContactId]]) -> tuple[Delta, ...]:
    """The contacts by the changes that they share, in the order of every plan."""
    known = find_distinct(grouped)
    # compared by their rank, a number, as many groups have as many contacts; one object each in all deltas
    ordered = sorted(set(known.values()))
    rank = {change: place for place, change in enumerate(ordered)}
    rank_of = {key: rank[change] for key, change in known.items()}
    groups = [
        (tuple(map(rank_of.__getitem__, map(id, changes))), tuple(sorted(contacts)))
        for changes, contacts in grouped.items()
    ]
    # the most contacts first: a reviewer reads the weightiest change before all others
    groups.sort(key=lambda group: (-len(group[1]), *group[0]))
    return tuple(Delta(tuple(map(ordered.__getitem__, ranks)), contacts) for ranks, contacts in groups)


def find_distinct(changes: Iterable[tuple[Change, ...]]) -> dict[int, Change]:
    """The changes by their identity: nearly every one is one object for all contacts, and is hashed once by it."""
    return {id(change): change for group in changes for change in group}


def count_changes(deltas: Sequence[Delta]) -> Counter[Change]:
    """How many contacts each change is made to."""
    known = find_distinct(delta.changes for delta in deltas)
    # by identity: each change is hashed once, not once for each delta that has it
    counted = dict.fromkeys(known, 0)
    for delta in deltas:
        contacts = len(delta.contacts)
        for key in map(id, delta.changes):
            counted[key] += contacts
    totals: Counter[Change] = Counter()
    for key, change in known.items():
        totals[change] += counted[key]
    return totals


@dataclass(frozen=True, slots=True)
class Demands:
    """Per action, the contacts by the tags that they need and that they may be sent."""

    adds: tuple[Demand, ...] = ()
    removes: tuple[Demand, ...] = ()


WAITS_UNTIL = "waits until "
"""How the reason begins for which an addition waits for its pace or its window; a date follows."""


class DeferralReason(StrEnum):
    """Why a removal is known to be needed, or to be possible, and is not in this plan."""

    UNTIL_OBSERVED = "runs once the answer tells the contact's tags"
    EXACT = "exact authority: its tags are not known before the answer"
    OPEN = "exact authority: whatever else the answer shows is removed in the same run"
    NEEDS_REFRESH = "needs a refresh: the contact was never observed"
    UNTIL_SETTLED = "waits until what is in doubt on the contact is settled"
    UNTIL_REPLACED = "waits for the tag that takes its place, which is left out or held"
    EXCLUSIVE = "exclusive: needs a refresh, which searches who else carries it"
    INCOMPLETE = "exclusive: the search was not complete, others may carry it"


@dataclass(frozen=True, slots=True)
class Deferral:
    """Removals that may follow an observation: at most `tags` on `contacts`."""

    reason: DeferralReason
    tags: tuple[Tag, ...]
    """Empty where no ceiling can be named: exact authority removes tags that no answer has shown yet."""
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class LedgerChange:
    """Pairs that enter and leave the ledger of these contacts without a request."""

    adopted: tuple[Tag, ...]
    released: tuple[Tag, ...]
    kept: tuple[Tag, ...]
    """The part of the ledger that, from now on, stays when a contact leaves its sets."""
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class HeldContacts:
    """Contacts with a need that is not planned, and why: a doubt, flapping, the reason of a quarantine."""

    why: str
    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


def count_held(held: Iterable[HeldContacts]) -> int:
    """Their pairs."""
    return sum(len(each.tags) * len(each.contacts) for each in held)


@dataclass(frozen=True, slots=True)
class Tried:
    """Pairs of a plan that an earlier request tried too: an approval of one attempt is none of the next."""

    action: Action
    tags: tuple[Tag, ...]
    at: Instant
    """When the last attempt was made."""
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """All differences of desired and observed, sorted."""

    deltas: tuple[Delta, ...]
    demands: Demands
    """The same changes as the solver takes them, with the pairs that may be sent again."""
    deferrals: tuple[Deferral, ...] = ()
    ledger: tuple[LedgerChange, ...] = ()
    held: tuple[HeldContacts, ...] = ()
    quarantined: tuple[HeldContacts, ...] = ()
    spared: tuple[HeldContacts, ...] = ()
    unobserved: int = 0
    given: tuple[HeldContacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a plan that a person asked for."""

    sets: frozenset[SetName] = frozenset()
    """Empty: all sets."""
    tags: TagSet = frozenset()
    """Empty: all tags."""
    retry_held: bool = False
    retry_rejected: bool = False
    apply_deferrals: bool = False
    """Whether, under exact authority, further tags that an answer shows are removed in the same run."""
    again: TagSet = frozenset()
    """`once` tags that are given again to contacts that were given them before."""

    @property
    def is_part(self) -> bool:
        """Whether it leaves out sets or tags: the plan then proves nothing for all of them."""
        return bool(self.sets or self.tags)

    def takes(self, tag: Tag) -> bool:
        return not self.tags or tag in self.tags


EVERYTHING = Selection()


def sort_reasons(tags_by_reason: Iterable[tuple[str, TagSet]]) -> tuple[tuple[str, tuple[Tag, ...]], ...]:
    """The reasons that have tags, each with these."""
    return tuple((why, tuple(sorted(tags))) for why, tags in tags_by_reason if tags)


def demands_from_deltas(deltas: Collection[Delta]) -> Demands:
    """The pairs of these deltas, and none that may be sent again."""
    demands = {
        action: tuple(Demand(tags, tags, delta.contacts) for delta in deltas if (tags := delta.tags(action)))
        for action in Action
    }
    return Demands(demands[Action.ADD], demands[Action.REMOVE])


def contacts_by_tag(deltas: Iterable[Delta]) -> dict[tuple[Action, Tag], list[ContactId]]:
    """The contacts of each change, sorted."""
    contacts_of: defaultdict[tuple[Action, Tag], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        for change in delta.changes:
            contacts_of[change.action, change.tag].extend(delta.contacts)
    return {key: sorted(contacts) for key, contacts in sorted(contacts_of.items())}


Pairs = frozenset[tuple[Action, Tag]]
NOTHING: Pairs = frozenset()


def list_unapproved(needed: Iterable[Delta], approved: Iterable[Delta]) -> tuple[Delta, ...]:
    """The changes of `needed` that are not among the approved ones."""
    sent = {contact: delta.changes for delta in approved for contact in delta.contacts}
    return keep_changes(needed, lambda contact, change: change not in sent.get(contact, ()))


def contacts_that_differ(first: Iterable[Delta], second: Iterable[Delta]) -> frozenset[ContactId]:
    """The contacts to which the two lists do not do the same."""
    before, after = _pairs_by_contact(first), _pairs_by_contact(second)
    return frozenset(
        contact
        for contact in before.keys() | after.keys()
        if before.get(contact, NOTHING) != after.get(contact, NOTHING)
    )


def list_additions(proposed: tuple[Delta, ...], planned: tuple[Delta, ...]) -> tuple[Delta, ...]:
    """The proposed changes that are not planned; their reasons and places do not count."""
    # the usual case, found without a table of all pairs
    if proposed == planned:
        return ()
    sent = _pairs_by_contact(planned)
    return keep_changes(
        proposed,
        lambda contact, change: (change.action, change.tag) not in sent.get(contact, NOTHING),
    )


def _pairs_by_contact(deltas: Iterable[Delta]) -> dict[ContactId, Pairs]:
    """The changes of each contact, without reasons and places."""
    pairs_of: dict[ContactId, Pairs] = {}
    for delta in deltas:
        pairs = frozenset((change.action, change.tag) for change in delta.changes)
        for contact in delta.contacts:
            # the contacts of a delta share one set: a million of them have a few thousand
            before = pairs_of.get(contact)
            pairs_of[contact] = pairs if before is None else before | pairs
    return pairs_of


def keep_changes(deltas: Iterable[Delta], takes: Callable[[ContactId, Change], bool]) -> tuple[Delta, ...]:
    """The changes that `takes` takes, contact by contact."""
    # contacts of one delta may keep different changes, and those of two deltas the same: grouped anew
    kept: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        for contact in delta.contacts:
            if changes := tuple(change for change in delta.changes if takes(contact, change)):
                kept[changes].append(contact)
    return sorted_deltas(kept)
