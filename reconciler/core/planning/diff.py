"""diff(desired, observed) -> Diff: what has to change, per group of contacts that need the same.

Per contact: P present, A absent, O observed, D ledger, as contract 5.2 (`docs/contract.md`) defines them.

Rules
1. Observed: add P - O; remove O & (A | (D - P)), under `owned` also O & (owned - P), under `exact` O - P. Owned is
   what the location's manifests name, and what its ledger names (`owned_tags.py`). A pair that is kept on leaving is
   not removed as owned: it stays in the ledger for as long as it would be.
2. Unobserved: add P. With an add, removals are deferred: the add's answer brings O first. Without one, A | (D - P)
   is removed blind, and what `owned` or `exact` would remove waits for that answer. Where nothing is sent it needs a
   refresh.
3. Protected and ignored tags are never removed; a desired tag never is.
4. A pair in doubt is held, whatever was last observed of it; a contact rejected for good is quarantined: listed, not
   planned, until it is seen, joins or leaves a set, or 30 days have passed. A contact's removals wait while an add of
   it is in doubt.
5. A pair whose outcome this run knows already (`spent`) is not planned again.
6. A tag that is `once` is satisfied while its pair is in the ledger and where it was given before, and held while
   nobody saw whether it was added. Another pair of the ledger that others removed is restored, at most once in 7 days:
   after that it is flapping, held.
7. What a group excludes or a new name replaces is not removed while the selection leaves out the tag that takes its
   place, or that is held: such a removal is deferred.
8. An exclusive tag is taken from whoever a search for its holders showed, and from nobody without one.
9. The work is done once per situation of contacts (`situation.py`, `pattern.py`), never per contact and tag.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from reconciler.core.manifests.resolve import NOTHING, Desired
from reconciler.core.model.contact_state import NONE, UNTIMED, ContactState, ContactStates
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.rectangles import Demand
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
from reconciler.core.planning.pattern import Decision, PatternChanges
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


@dataclass(slots=True)
class _Collected:
    """Contacts per thing they need, while the patterns are walked."""

    changes: defaultdict[tuple[Change, ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    demands: defaultdict[tuple[Action, TagSet, TagSet], list[ContactId]] = field(
        default_factory=lambda: defaultdict(list)
    )
    deferred: defaultdict[tuple[DeferralReason, tuple[Tag, ...]], list[ContactId]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ledger: defaultdict[tuple[tuple[Tag, ...], ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    held: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    quarantined: defaultdict[str, list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    spared: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    given: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = field(default_factory=lambda: defaultdict(list))

    def put(self, verdict: PatternChanges, contacts: list[ContactId]) -> None:
        if verdict.changes:
            self.changes[verdict.changes].extend(contacts)
        for action, again in ((Action.ADD, verdict.may_add), (Action.REMOVE, verdict.may_remove)):
            if must := frozenset(change.tag for change in verdict.changes if change.action is action):
                self.demands[action, must, must | again].extend(contacts)
        for deferral in verdict.deferred:
            self.deferred[deferral].extend(contacts)
        if verdict.ledger is not None:
            self.ledger[verdict.ledger].extend(contacts)
        for held in verdict.held:
            self.held[held].extend(contacts)
        for given in verdict.given:
            self.given[given].extend(contacts)
        for spared in verdict.spared:
            self.spared[spared].extend(contacts)
        if verdict.quarantine:
            self.quarantined[verdict.quarantine].extend(contacts)


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
    """What has to change. `spent`: the tags per contact whose outcome the present run knows already.

    Both in one spelling of each tag (`tag_aliases.py`). `now`: without it no quarantine ends and nothing is flapping.
    `owned`: tags that are owned besides, as they were when the run began. `gone`: contacts that are not there, as was
    read for this very plan, and why.
    """
    owned |= owned_in(desired, observed, selection)
    exact = any(want.authority is Authority.EXACT for want in desired.wants)
    context = Context(owned, exact, reassertion, searched, now)
    plan = _Plan(desired, owned, selection, reassertion, searched)
    collected = _Collected()
    unobserved = 0
    away = {contact: each.why for each in gone for contact in each.contacts}
    for case, contacts in _contacts_by_case(desired, observed, selection, context, spent or {}, away).items():
        collected.put(_decision(plan, case).verdict(), contacts)
        if case.want >= 0 and case.situation.observed is None:
            unobserved += len(contacts)
    collected.deferred.update({waits: [] for waits in _unsearched_tags(desired, selection, searched)})
    return _sort_diff(collected, unobserved)


def _unsearched_tags(
    desired: Desired, selection: Selection, searched: Searched
) -> Iterator[tuple[DeferralReason, tuple[Tag, ...]]]:
    """The exclusive tags that others may carry for all we know; a chosen set has no others."""
    tags = NONE if selection.sets else frozenset(filter(selection.takes, exclusive_tags(desired)))
    for why, found in (
        (DeferralReason.EXCLUSIVE, tags - searched.tags),
        (DeferralReason.INCOMPLETE, (tags & searched.tags) - searched.complete),
    ):
        if found:
            yield why, tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What all cases of a plan have in common."""

    desired: Desired
    owned: TagSet
    selection: Selection
    reassertion: Reassertion
    searched: Searched


class _Case(NamedTuple):
    """The contacts of one case get the same plan.

    `want`: the index of what is wanted of them, -1 where nothing is. `spent`: the tags whose outcome the run knows.
    `gone`: why they are not there, empty where they may be.
    """

    want: int
    situation: Situation
    barred: bool
    spent: TagSet
    gone: str


def _decision(plan: _Plan, case: _Case) -> Decision:
    return Decision(
        desired=plan.desired,
        owned=plan.owned,
        want=plan.desired.wants[case.want] if case.want >= 0 else NOTHING,
        situation=case.situation,
        selection=plan.selection,
        reassertion=plan.reassertion,
        spent=case.spent,
        searched=plan.searched,
        barred=case.barred,
        gone=case.gone,
    )


def _contacts_by_case(
    desired: Desired,
    observed: ContactStates,
    selection: Selection,
    context: Context,
    spent: Mapping[ContactId, TagSet],
    gone: Mapping[ContactId, str],
) -> dict[_Case, list[ContactId]]:
    situations = [context.situation_of(known) for known in observed.patterns]
    # a small number is hashed for each contact, and not a situation
    first: dict[Situation, int] = {}
    alike = [first.setdefault(situation, index) for index, situation in enumerate(situations)]
    refused = {index for index, known in enumerate(observed.patterns) if known.quarantined_at is not None}
    wanted, known = desired.contacts, observed.contacts
    groups: defaultdict[tuple[int, int, bool, TagSet, str], list[ContactId]] = defaultdict(list)
    for contact in _planned_contacts(desired, observed, selection):
        want, index = wanted.get(contact, -1), known.get(contact, 0)
        barred = index in refused and _is_barred(desired, observed.patterns[index], want, context.now)
        groups[want, alike[index], barred, spent.get(contact, NONE), gone.get(contact, "")].append(contact)
    return {
        _Case(want, situations[index], barred, done, why): contacts
        for (want, index, barred, done, why), contacts in groups.items()
    }


def _is_barred(desired: Desired, known: ContactState, want: int, now: Instant) -> bool:
    membership = desired.memberships[want] if want >= 0 else NOWHERE
    return known.is_barred(membership, desired.set_names, now)


def _planned_contacts(desired: Desired, observed: ContactStates, selection: Selection) -> Iterable[ContactId]:
    """The contacts that are planned: those declared, and where no set is chosen all others that are known."""
    declared = select_contacts(desired, selection)
    if selection.sets:
        return declared
    return chain(declared, (contact for contact in observed.contacts if contact not in desired.contacts))


def owned_in(desired: Desired, observed: ContactStates, selection: Selection) -> TagSet:
    """The tags that are owned in a plan that is narrowed so."""
    contacts = select_contacts(desired, selection) if selection.sets else None
    return owned_tags(desired, observed, tags=selection.tags, contacts=contacts)


def select_contacts(desired: Desired, selection: Selection) -> Collection[ContactId]:
    """The declared contacts that a selection takes."""
    if not selection.sets:
        return desired.contacts.keys()
    chosen = (each for each in desired.sets if each.name in selection.sets)
    return dict.fromkeys(contact for each in chosen for contact in each.members).keys()


def _sort_diff(collected: _Collected, unobserved: int) -> Diff:
    deferrals = [Deferral(why, tags, tuple(sorted(ids))) for (why, tags), ids in collected.deferred.items()]
    ledger = [
        LedgerChange(adopted, released, kept, tuple(sorted(contacts)))
        for (adopted, released, kept), contacts in collected.ledger.items()
    ]
    held = [HeldContacts(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in collected.held.items()]
    quarantined = [HeldContacts(why, (), tuple(sorted(contacts))) for why, contacts in collected.quarantined.items()]
    given = [HeldContacts(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in collected.given.items()]
    spared = [HeldContacts(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in collected.spared.items()]
    return Diff(
        deltas=sorted_deltas(collected.changes),
        demands=Demands(_sort_demands(Action.ADD, collected), _sort_demands(Action.REMOVE, collected)),
        deferrals=tuple(sorted(deferrals, key=lambda each: (each.reason, each.tags, each.contacts))),
        ledger=tuple(sorted(ledger, key=lambda each: (each.adopted, each.released, each.kept, each.contacts))),
        held=tuple(sorted(held, key=lambda each: (each.why, each.tags))),
        quarantined=tuple(sorted(quarantined, key=lambda each: each.why)),
        spared=tuple(sorted(spared, key=lambda each: (each.tags, each.why))),
        unobserved=unobserved,
        given=tuple(sorted(given, key=lambda each: (each.tags, each.why))),
    )


def _sort_demands(action: Action, collected: _Collected) -> tuple[Demand, ...]:
    found = (
        Demand(must, may, tuple(sorted(contacts)))
        for (kind, must, may), contacts in collected.demands.items()
        if kind is action
    )
    return tuple(sorted(found, key=lambda each: each.contacts))
