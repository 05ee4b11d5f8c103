"""diff(desired, observed) -> Diff: the changes to make, per group of contacts that need the same.

Per contact: P present, A absent, O observed, D ledger, as contract 5.2 (`docs/contract.md`) defines them.

Rules
1. Observed: add P - O; remove O & (A | (D - P)), under `owned` also O & (owned - P), under `exact` O - P. Owned are
   the tags that the location's manifests name, and those of its ledger (`situation.py`). A pair that is kept on leaving
   is not removed as owned: it stays in the ledger for as long as it would be.
2. Unobserved: add P. With an add, removals are deferred: the add's answer brings O first. Without one, A | (D - P)
   is removed blind, and the removals of `owned` or `exact` wait for that answer. Where nothing is sent they need a
   refresh.
3. Protected and ignored tags are never removed; a desired tag never is.
4. A pair in doubt is held, no matter how it was last observed; a contact rejected for good is quarantined: listed, not
   planned, until it is seen, joins or leaves a set, or 30 days have passed. A contact's removals wait while an add of
   it is in doubt.
5. A pair with an outcome in this run already (`spent`) is not planned again.
6. A tag that is `once` is satisfied while its pair is in the ledger and where it was given before, and held while
   no answer shows whether it was added. Another pair of the ledger that others removed is restored, at most once in 7
   days: after that it is flapping, held.
7. A tag that a group excludes or a new name replaces is not removed while the selection leaves out the tag that takes
   its place, or that is held: such a removal is deferred.
8. An exclusive tag is taken from the holders that a search showed, and from none without a search.
9. The work is done once per situation of contacts (`situation.py`, `pattern.py`), never per contact and tag.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import NOTHING
from reconciler.core.model.batch import Demand
from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers, IntegerPair
from reconciler.core.model.contact_state import NONE, UNTIMED, ContactState, ContactStates
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import (
    EVERYTHING,
    Change,
    Deferral,
    DeferralReason,
    Demands,
    Diff,
    HeldContacts,
    LedgerChange,
    Selection,
    sorted_deltas,
)
from reconciler.core.planning.pattern import Decision, DeclareOnce, PatternChanges, is_settled, prune_tag
from reconciler.core.planning.situation import (
    NO_REASSERTION,
    NOT_SEARCHED,
    Context,
    Reassertion,
    Searched,
    Situation,
    exclusive_tags,
    owned_tags,
)

NOWHERE: frozenset[SetName] = frozenset()


_Demanded: TypeAlias = defaultdict[tuple[TagSet, TagSet], list[ContactId]]
"""Contacts by the tags that they need, and those that they may be sent."""


@dataclass(slots=True)
class _Collected:
    """Contacts by need, while the situations are walked."""

    changes: defaultdict[tuple[Change, ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    adds: _Demanded = field(default_factory=lambda: defaultdict(list))
    removes: _Demanded = field(default_factory=lambda: defaultdict(list))
    deferred: defaultdict[tuple[DeferralReason, tuple[Tag, ...]], list[ContactId]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ledger: defaultdict[tuple[tuple[Tag, ...], ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    held: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    quarantined: defaultdict[str, list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    spared: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    given: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = field(default_factory=lambda: defaultdict(list))

    def add_group(self, group: PatternChanges, contacts: list[ContactId]) -> None:
        if group.changes:
            self.changes[group.changes].extend(contacts)
        adding = Action.ADD
        adds = frozenset([change.tag for change in group.changes if change.action is adding])
        if adds:
            self.adds[adds, adds | group.may_add if group.may_add else adds].extend(contacts)
        if len(adds) < len(group.changes):
            removes = frozenset([change.tag for change in group.changes if change.action is not adding])
            self.removes[removes, removes | group.may_remove if group.may_remove else removes].extend(contacts)
        if group.ledger is not None:
            self.ledger[group.ledger].extend(contacts)
        for deferral in group.deferred:
            self.deferred[deferral].extend(contacts)
        for listed, reasons in ((self.held, group.held), (self.given, group.given), (self.spared, group.spared)):
            for reason in reasons:
                listed[reason].extend(contacts)
        if group.quarantine:
            self.quarantined[group.quarantine].extend(contacts)


def diff(
    desired: Desired,
    observed: ContactStates,
    *,
    selection: Selection = EVERYTHING,
    reassertion: Reassertion = NO_REASSERTION,
    spent: Mapping[ContactId, TagSet] | None = None,
    searched: Searched = NOT_SEARCHED,
    now: Instant = UNTIMED,
    owned: TagSet = NONE,
    gone: Iterable[HeldContacts] = (),
) -> Diff:
    """The changes to make. `spent`: the tags per contact that have an outcome in the present run.

    Both in one spelling of each tag (`tag_aliases.py`). `now`: without it no quarantine ends and no tag is flapping.
    `owned`: tags that are owned too, as they were when the run began. `gone`: contacts that are not there, as was
    read for this very plan, and why.
    """
    owned |= owned_in(desired, observed, selection)
    # foreign tags become part of a situation by this: without exact authority there are far fewer situations
    exact = any(want.authority is Authority.EXACT for want in desired.wants)
    context = Context(owned, exact, reassertion, searched, now)
    planned = find_planned(desired, observed, selection)
    pairs = planned.count_pairs()
    # of neither the manifests nor the state: the numbers of contacts are shared
    pairs.pop((ABSENT, ABSENT), None)
    away = {contact: held.why for held in gone for contact in held.contacts}
    cases = _find_cases(desired, observed, context, pairs)
    collected = _Collected()
    # one object for each change of a plan, as deltas are sorted and counted by identity
    declare, prune = DeclareOnce(), cache(prune_tag)
    for case, contacts in _contacts_by_case(planned, cases, spent or {}, away).items():
        decision = Decision(
            desired=desired,
            owned=owned,
            want=desired.wants[case.want] if case.want >= 0 else NOTHING,
            situation=case.situation,
            selection=selection,
            reassertion=reassertion,
            spent=case.spent,
            searched=searched,
            barred=case.barred,
            gone=case.gone,
            declare=declare,
            prune=prune,
        )
        collected.add_group(decision.decide_changes(), contacts)
    # without contacts: which others carry the tag is just what is not known
    collected.deferred.update({waits: [] for waits in _unsearched_tags(desired, selection, searched)})
    return _sort_diff(collected, _count_unobserved(pairs, observed))


def _unsearched_tags(
    desired: Desired, selection: Selection, searched: Searched
) -> Iterator[tuple[DeferralReason, tuple[Tag, ...]]]:
    """The exclusive tags that undeclared contacts may carry, with the reason why that is open."""
    # a selected set has no contacts but its own: a plan of it does not touch other holders
    tags = NONE if selection.sets else frozenset(filter(selection.takes, exclusive_tags(desired)))
    for why, unsure in (
        (DeferralReason.EXCLUSIVE, tags - searched.tags),
        (DeferralReason.INCOMPLETE, (tags & searched.tags) - searched.complete),
    ):
        if unsure:
            yield why, tuple(sorted(unsure))


WantAndState: TypeAlias = IntegerPair
"""The index of a want, and that of a state, or `ABSENT`."""


class Planned(NamedTuple):
    """The contacts that are planned, in columns: the index of the `Want` of each, that of its state, or `ABSENT`."""

    contacts: ContactNumbers
    wants: Sequence[int]
    states: Sequence[int]

    def count_pairs(self) -> Counter[WantAndState]:
        """How many contacts have the same want and the same state."""
        return self.contacts.count_pairs(self.wants, self.states)

    def contacts_of(self, pairs: Iterable[WantAndState]) -> dict[WantAndState, list[ContactId]]:
        """The contacts of each of these pairs."""
        return self.contacts.list_pairs(self.wants, self.states, pairs)


def find_planned(desired: Desired, observed: ContactStates, selection: Selection) -> Planned:
    """A contact that no set has any more is planned too: it may still hold pairs of the ledger, which are pruned."""
    if not selection.sets:
        return Planned(*desired.contacts.beside(observed.contacts))
    chosen = ContactNumbers(select_contacts(desired, selection))
    columns = (column.find_all(chosen.ids, ABSENT) for column in (desired.contacts, observed.contacts))
    return Planned(chosen, *columns)


class _Case(NamedTuple):
    """The contacts of one case get the same plan: it is the key of their group, and all that is passed on."""

    want: int
    """The index of their `Want`, -1 where no set has them."""
    situation: Situation
    barred: bool
    """Whether the API refused them for good, and nothing has changed since."""
    spent: TagSet = NONE
    """The tags with an outcome in the present run."""
    gone: str = ""
    """Why they are not there, empty where they may be."""


def _find_cases(
    desired: Desired, observed: ContactStates, context: Context, pairs: Iterable[WantAndState]
) -> dict[WantAndState, _Case]:
    """The case of each pair that may need something; what this run did with a contact is yet to be added."""
    situations: dict[int, Situation] = {}
    cases: dict[WantAndState, _Case] = {}
    for want, index in pairs:
        state = observed.patterns[max(index, 0)]
        # most contacts: these are not even looked for
        if is_settled(desired.wants[want] if want >= 0 else NOTHING, state) and not context.searched.is_newer_on(state):
            continue
        if index not in situations:
            situations[index] = context.situation_of(state)
        # quarantines have times of their own, which a situation leaves out
        barred = state.quarantine is not None and _is_barred(desired, state, want, context.now)
        cases[want, index] = _Case(want, situations[index], barred)
    return cases


def _contacts_by_case(
    planned: Planned,
    cases: Mapping[WantAndState, _Case],
    spent: Mapping[ContactId, TagSet],
    gone: Mapping[ContactId, str],
) -> dict[_Case, list[ContactId]]:
    groups: defaultdict[_Case, list[ContactId]] = defaultdict(list)
    for pair, contacts in planned.contacts_of(cases).items():
        case = cases[pair]
        # whole lists move then, and no contact is looked at by itself
        if not spent and not gone:
            groups[case] += contacts
            continue
        for contact in contacts:
            groups[case._replace(spent=spent.get(contact, NONE), gone=gone.get(contact, ""))].append(contact)
    return groups


def _count_unobserved(pairs: Mapping[WantAndState, int], observed: ContactStates) -> int:
    """The declared contacts of which no answer ever told the tags."""
    return sum(
        contacts
        for (want, index), contacts in pairs.items()
        if want != ABSENT and observed.patterns[max(index, 0)].observation is None
    )


def _is_barred(desired: Desired, state: ContactState, want: int, now: Instant) -> bool:
    membership = desired.membership_of(want) if want >= 0 else NOWHERE
    return state.is_barred(membership, desired.set_names, now)


def owned_in(desired: Desired, observed: ContactStates, selection: Selection) -> TagSet:
    """The tags that are owned in a plan that is narrowed so."""
    contacts = select_contacts(desired, selection) if selection.sets else None
    return owned_tags(desired, observed, tags=selection.tags, contacts=contacts)


def select_contacts(desired: Desired, selection: Selection) -> Collection[ContactId]:
    """The declared contacts that a selection takes."""
    if not selection.sets:
        return desired.contacts.keys()
    chosen = (contact_set for contact_set in desired.sets if contact_set.name in selection.sets)
    # a dictionary, not a set: it keeps one order in each process
    return dict.fromkeys(contact for contact_set in chosen for contact in contact_set.members).keys()


def _sort_diff(collected: _Collected, unobserved: int) -> Diff:
    deferrals = [Deferral(why, tags, tuple(sorted(ids))) for (why, tags), ids in collected.deferred.items()]
    ledger = [
        LedgerChange(adopted, released, kept, tuple(sorted(contacts)))
        for (adopted, released, kept), contacts in collected.ledger.items()
    ]
    return Diff(
        deltas=sorted_deltas(collected.changes),
        demands=Demands(_sort_demands(collected.adds), _sort_demands(collected.removes)),
        deferrals=tuple(sorted(deferrals, key=attrgetter("reason", "tags"))),
        ledger=tuple(sorted(ledger, key=attrgetter("adopted", "released", "kept"))),
        held=list_held(collected.held, "why", "tags"),
        quarantined=list_held({(why, ()): contacts for why, contacts in collected.quarantined.items()}, "why"),
        spared=list_held(collected.spared, "tags", "why"),
        unobserved=unobserved,
        given=list_held(collected.given, "tags", "why"),
    )


def list_held(
    contacts_of: Mapping[tuple[str, tuple[Tag, ...]], list[ContactId]], *order: str
) -> tuple[HeldContacts, ...]:
    """The contacts by the reason and the tags that they share, in the order of these fields."""
    held = [HeldContacts(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in contacts_of.items()]
    return tuple(sorted(held, key=attrgetter(*order)))


def _sort_demands(demanded: _Demanded) -> tuple[Demand, ...]:
    demands = (Demand(must, may, tuple(sorted(contacts))) for (must, may), contacts in demanded.items())
    return tuple(sorted(demands, key=lambda demand: demand.contacts))
