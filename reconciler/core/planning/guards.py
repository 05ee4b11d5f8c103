"""Guards: limits on what a run may do to a location, a tag or a contact set.

Rules
1. All requests of a run count, earlier rounds included; a removal on a contact never observed counts as real.
2. Removals asked for by name (reasons absent, renamed) count for `max_removes` only; where they empty a tag, the plan
   warns of it.
3. A percentage is of the pairs observed before; it is judged once more than `PCT_FLOOR` pairs are planned.
4. A holder is a contact observed with the tag: a removal that is blind or sent again takes the tag from no holder.
5. The first apply of a location may follow a lost state: the tags that start automations or are given once, which it
   adds, were maybe given before. One of some sets or tags alone says nothing of the others, and pairs that it adopted
   say nothing of those that are not there. So were those of a state that is a backup, by the runs that it lacks; no
   reading tells, as a workflow takes such a tag off again.
6. Ids that HighLevel cannot have issued do no harm where they join: they come back rejected. Where others lose the
   same tag, they are another column in the place of the ids.
7. A guard is lifted for one guard and, where it has one, one tag or set, with a reason: never as a whole.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, islice

from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import ContactStates
from reconciler.core.model.names import ContactId, SetName, Tag, odd_contact_ids
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Guard
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.changes import Change, Delta, count_changes

NO_REASON = "no reason given"
CREATE_STATE = "--create-state"
"""The option that declares a first run: it lifts `max_first_adds`, and needs no reason."""
# of a small set, one contact more or less is a large share
SIZE_FLOOR = 10
# the manifest names the tag that is to go, so that its removal is no surprise
BY_NAME = (Reason.ABSENT, Reason.RENAMED)


@dataclass(frozen=True, slots=True)
class Allowance:
    """A reviewed exception: this guard does not refuse (on this tag or set; empty: on the location as a whole)."""

    guard: Guard
    scope: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{_quote_flag(self.guard, self.scope)}: {self.reason or NO_REASON}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One guard held against a plan."""

    guard: Guard
    scope: str
    """A tag, a set's name, or empty for the location as a whole."""
    limit: float
    """In the guard's unit, as the measure: pairs, percent, holders, requests."""
    measure: float
    refused: bool
    numerator: int = 0
    """Of a percentage the part that it is of `denominator`; the messages name both."""
    denominator: int = 0
    allowed: str = ""
    """The reason with which a person lifted the guard."""
    warned: bool = False
    """Whether the guard let a removal pass because it is asked for by name, of which a person should know."""

    @property
    def flag(self) -> str:
        """The value of --allow that lifts the guard, as typed in a shell."""
        return _quote_flag(self.guard, self.scope)

    @property
    def option(self) -> str:
        """The option that lifts it."""
        return CREATE_STATE if self.guard is Guard.MAX_FIRST_ADDS else f"--allow {self.flag}"

    @property
    def lift(self) -> str:
        """The whole option as typed, with its reason."""
        return self.option if self.option == CREATE_STATE else f'{self.option} --reason "…"'

    @property
    def is_share(self) -> bool:
        return self.guard.endswith("_pct")


def was_lifted(guard: Guard, scope: str, exceptions: Iterable[str]) -> bool:
    """Whether the guard was lifted there by one of these exceptions, as the journal of a run has them."""
    flag = f"{_quote_flag(guard, scope)}: "
    return any(exception.startswith(flag) for exception in exceptions)


def _quote_flag(guard: Guard, scope: str) -> str:
    return shlex.quote(f"{guard}:{guard.scopes[-1]}={scope}" if scope else guard.value)


@dataclass(frozen=True, slots=True)
class Counts:
    """The changes of a run, as pairs per tag, and its requests."""

    adds: Counter[Tag] = field(default_factory=Counter)
    removes: Counter[Tag] = field(default_factory=Counter)
    unnamed: Counter[Tag] = field(default_factory=Counter)
    """Of the removes, those that no manifest asks for by name."""
    again: Counter[Tag] = field(default_factory=Counter)
    """Of the adds, those that are sent again though the contact carries the tag."""
    restored: Counter[Tag] = field(default_factory=Counter)
    """Of the adds, those that put a pair back that others removed."""
    lost: Counter[Tag] = field(default_factory=Counter)
    """Of the removes, those from contacts that were observed with the tag."""
    odd: Counter[Tag] = field(default_factory=Counter)
    """Of the adds, those to contacts never observed whose ids HighLevel cannot have issued."""
    requests: int = 0

    def __add__(self, more: Counts) -> Counts:
        sums = {counter.name: getattr(self, counter.name) + getattr(more, counter.name) for counter in fields(self)}
        return Counts(**sums)


@dataclass(frozen=True, slots=True)
class Before:
    """The state before the run: observed holders and pairs of the ledger per tag, set sizes at the last apply."""

    holders: Counter[Tag]
    sizes: Mapping[SetName, int]
    ledger: Counter[Tag] = field(default_factory=Counter)
    is_backup: bool = False
    """Whether it is a backup that was put back: runs that it does not know were maybe the first to add a pair."""
    exceptions: frozenset[str] = frozenset()
    """The guards that were lifted for runs of a location of which no apply of everything is known."""

    @property
    def pairs(self) -> int:
        return self.holders.total()

    @property
    def is_first(self) -> bool:
        """Whether no apply of all sets and tags is known, which would have recorded the sizes of the sets."""
        return not self.sizes


def count_pairs(
    deltas: Iterable[Delta], reasserted: Iterable[Reasserted] = (), *, requests: int, observed: ContactStates
) -> Counts:
    """The pairs of the deltas, and those that are sent again: a re-assertion may turn out to be a change.

    `observed`: the state before any of it is sent.
    """
    counts = Counts(requests=requests)
    for again in reasserted:
        for tag in again.tags:
            adding = again.action is Action.ADD
            (counts.adds if adding else counts.removes)[tag] += len(again.contacts)
            counts.again[tag] += len(again.contacts) if adding else 0
    deltas = list(deltas)
    for change, contacts in count_changes(deltas).items():
        _count_change(counts, change, contacts)
    gaining = [delta for delta in deltas if any(change.action is Action.ADD for change in delta.changes)]
    # rule 6: a contact that was observed has an id of HighLevel, however it looks
    odd = frozenset(odd_ids([contact for delta in gaining for contact in delta.contacts], observed))
    for delta in gaining if odd else ():
        counts.odd.update(dict.fromkeys(delta.tags(Action.ADD), len(odd.intersection(delta.contacts))))
    _count_lost(counts, [delta for delta in deltas if delta.tags(Action.REMOVE)], observed)
    return counts


def _count_change(counts: Counts, change: Change, contacts: int) -> None:
    adding = change.action is Action.ADD
    (counts.adds if adding else counts.removes)[change.tag] += contacts
    if not adding and change.reason not in BY_NAME:
        counts.unnamed[change.tag] += contacts
    if change.reason is Reason.RESTORED:
        counts.restored[change.tag] += contacts


def _count_lost(counts: Counts, losing: Sequence[Delta], observed: ContactStates) -> None:
    # looked up at once: a plan has ten thousands of deltas of a few contacts
    indexes = iter(observed.contacts.find_all(chain.from_iterable(delta.contacts for delta in losing), 0))
    for delta in losing:
        removed = delta.tags(Action.REMOVE)
        for index, contacts in Counter(islice(indexes, len(delta.contacts))).items():
            for tag in removed & (observed.patterns[index].observed or frozenset()):
                counts.lost[tag] += contacts


def odd_ids(contacts: Collection[ContactId], observed: ContactStates) -> list[ContactId]:
    """The contacts with ids that HighLevel cannot have issued, but for those that it answered for."""
    return [contact for contact in odd_contact_ids(contacts) if observed[contact].observed is None]


def count_holders(observed: ContactStates) -> Counter[Tag]:
    """Observed holders of every tag."""
    return observed.count_tags(lambda contact: contact.observed or frozenset())


def count_managed(observed: ContactStates) -> Counter[Tag]:
    """The pairs of the ledger per tag."""
    return observed.count_tags(lambda contact: contact.ledger.tags)
