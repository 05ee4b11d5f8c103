"""The approved plan as a ceiling on every later request; a plan file as a proposal, of which the needed part is sent.

Rules
1. A ceiling comes from a plan. A change that turns out to be needed beyond it is listed, never sent.
2. No key vouches for a plan file, though it has digests. A change is sent where the file and the plan of now have it.
3. The file narrows: changes, deferrals and doubts count as far as it has them too. It widens nothing: observations,
   lifted guards and retries are those of the plan that was made now.
4. Where both come to the same change digest, the plan that was made now is sent as it is, re-assertions included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import NONE, ContactStates
from reconciler.core.model.names import ContactId, LocationId, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import count_change_pairs
from reconciler.core.planning.changes import (
    IN_DOUBT,
    Change,
    DeferralReason,
    Delta,
    Diff,
    demands_from_deltas,
    keep_changes,
    sorted_deltas,
)
from reconciler.core.planning.make_plan import plan_of
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, PlanOptions, change_digest
from reconciler.core.planning.situation import NO_REASSERTION


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The approved tags of each contact, per action."""

    adds: dict[ContactId, TagSet]
    removes: dict[ContactId, TagSet]
    open: frozenset[ContactId] = frozenset()
    """Contacts with an approval of every removal that exact authority asks for (`--apply-deferrals`)."""


# these wait for a refresh, or for a tag that this plan does not add: a later plan decides them
_OF_ANOTHER_PLAN = (DeferralReason.NEEDS_REFRESH, DeferralReason.UNTIL_REPLACED)


def derive_ceiling(plan: LocationPlan) -> Ceiling:
    """The changes of the plan, the most that its deferrals may become, and its doubts, which a reading may settle."""
    adds: dict[ContactId, TagSet] = {}
    removes: dict[ContactId, TagSet] = {}
    for delta in plan.deltas:
        _raise_ceiling(adds, delta.contacts, delta.tags(Action.ADD))
        _raise_ceiling(removes, delta.contacts, delta.tags(Action.REMOVE))
    for deferral in plan.deferrals:
        if deferral.reason not in _OF_ANOTHER_PLAN:
            _raise_ceiling(removes, deferral.contacts, frozenset(deferral.tags))
    for held in plan.held:
        if held.why == IN_DOUBT:
            _raise_ceiling(adds, held.contacts, frozenset(held.tags))
            _raise_ceiling(removes, held.contacts, frozenset(held.tags))
    return Ceiling(adds, removes, _open_contacts(plan))


def _open_contacts(plan: LocationPlan) -> frozenset[ContactId]:
    is_open = (deferral.contacts for deferral in plan.deferrals if deferral.reason is DeferralReason.OPEN)
    return frozenset().union(*is_open)


def intersect_ceilings(first: Ceiling, second: Ceiling) -> Ceiling:
    adds, removes = _intersect_tags(first.adds, second.adds), _intersect_tags(first.removes, second.removes)
    return Ceiling(adds, removes, first.open & second.open)


def _intersect_tags(first: dict[ContactId, TagSet], second: dict[ContactId, TagSet]) -> dict[ContactId, TagSet]:
    return {contact: both for contact, tags in first.items() if (both := tags & second.get(contact, NONE))}


def sends_what_it_says(plan: LocationPlan) -> bool:
    """Whether its batches send its changes and listed re-assertions, and nothing else."""
    limit = derive_ceiling(replace(plan, deferrals=(), held=()))
    for again in plan.reasserted:
        approved = limit.adds if again.action is Action.ADD else limit.removes
        _raise_ceiling(approved, again.contacts, frozenset(again.tags))
    for index, batch in enumerate(plan.batches):
        approved, tags = limit.adds if batch.action is Action.ADD else limit.removes, frozenset(batch.tags)
        if not all(tags <= approved.get(contact, NONE) for contact in batch.contacts):
            return False
        if not all(0 <= before < index for before in batch.after):
            return False
    # every batch stays within the list, so that equal sums mean that the list is sent as a whole
    said = count_change_pairs(plan.deltas) + sum(len(again.tags) * len(again.contacts) for again in plan.reasserted)
    return said == sum(len(batch.tags) * len(batch.contacts) for batch in plan.batches)


def _raise_ceiling(approved: dict[ContactId, TagSet], contacts: Iterable[ContactId], tags: TagSet) -> None:
    if not tags:
        return
    for contact in contacts:
        before = approved.get(contact)
        approved[contact] = tags if before is None else before | tags


def keep_approved(
    deltas: Iterable[Delta], limit: Ceiling, *, failed: Collection[ContactId] = ()
) -> tuple[tuple[Delta, ...], int]:
    """The part of the deltas that the ceiling allows, and how many pairs it does not.

    `failed`: contacts with an add that did not end well; their removes are left out.
    """
    kept: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    outside = 0
    for delta in deltas:
        adding = tuple(change for change in delta.changes if change.action is Action.ADD)
        parts: dict[tuple[TagSet, TagSet, bool], tuple[Change, ...]] = {}
        for contact in delta.contacts:
            ended_badly = contact in failed
            wanted = adding if ended_badly else delta.changes
            removes = NONE if ended_badly else limit.removes.get(contact, NONE)
            approved = limit.adds.get(contact, NONE), removes, contact in limit.open and not ended_badly
            part = parts.get(approved)
            if part is None:
                part = parts[approved] = _approved_part(delta.changes, *approved)
            outside += len(wanted) - len(part)
            if part:
                kept[part].append(contact)
    return sorted_deltas(kept), outside


def _approved_part(changes: tuple[Change, ...], adds: TagSet, removes: TagSet, is_open: bool) -> tuple[Change, ...]:
    """Of a contact's changes those that are approved; its removals only with all of its adds."""
    adding = [change for change in changes if change.action is Action.ADD]
    allowed = tuple(change for change in adding if change.tag in adds)
    # a group would be empty for a while, were the removal of its old tag sent without the add of its new one
    if len(allowed) < len(adding):
        return allowed
    removing = (change for change in changes if change.action is Action.REMOVE)
    return allowed + tuple(
        change for change in removing if change.tag in removes or (is_open and change.reason is Reason.EXACT)
    )


@dataclass(frozen=True, slots=True)
class ProposalDifference:
    """The parts that the file and the plan made now do not share."""

    besides: tuple[Delta, ...] = ()
    """Further changes of the file, which may have been made by now."""
    foreign: tuple[Delta, ...] = ()
    """Changes of the file that no plan by these manifests would have, or on contacts that could not be read."""
    lacking: int = 0
    """The number of needed pairs that the file does not have."""


NO_DIFFERENCE = ProposalDifference()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan file, and per location how it differs from the plan that was made now."""

    plan: Plan
    rests: Mapping[LocationId, ProposalDifference] = field(default_factory=dict)

    def of(self, location: LocationId) -> LocationPlan | None:
        """The location's plan in the file."""
        return next((plan for plan in self.plan.locations if plan.location == location), None)


def respell_state(state: LocationState, plan: LocationPlan) -> LocationState:
    """The state in the spellings of a plan: it may have been made before the location's own were known."""
    named = {change.tag for delta in plan.deltas for change in delta.changes}
    named |= {tag for deferral in plan.deferrals for tag in deferral.tags}
    named |= {tag for held in plan.held for tag in held.tags} | {tag for again in plan.reasserted for tag in again.tags}
    spelling = state.spelling.as_called(named)
    if spelling is state.spelling:
        return state
    return replace(state, spelling=spelling, observed=spelling.spell_states(state.observed))


def narrow_plan(
    fresh: LocationPlan, proposed: LocationPlan, desired: Desired, state: LocationState, options: PlanOptions
) -> LocationPlan:
    """The part of the plan made now, `fresh`, that is in the proposed one too."""
    if change_digest((fresh,)) == change_digest((proposed,)):
        return fresh
    deltas, _ = keep_approved(fresh.deltas, derive_ceiling(proposed))
    if deltas == fresh.deltas and not fresh.reasserted:
        return fresh
    found = Diff(
        deltas=deltas,
        demands=demands_from_deltas(deltas),
        deferrals=fresh.deferrals,
        ledger=fresh.ledger,
        held=fresh.held,
        quarantined=fresh.quarantined,
        spared=fresh.spared,
        unobserved=fresh.summary.unobserved,
        given=fresh.given,
    )
    # the file lists re-assertions beside its own changes: beside fewer ones they may save no request
    once = replace(options, reassertion=NO_REASSERTION)
    return plan_of(found, desired, state, once, observations=fresh.observations)


def keep_called_for(
    deltas: Iterable[Delta],
    desired: Desired,
    observed: ContactStates,
    *,
    removed: Mapping[ContactId, TagSet],
    unread: Container[ContactId],
) -> tuple[Delta, ...]:
    """Those changes that a plan by these manifests may have had: additions of desired tags, removals of tags that are
    not desired and are owned, or were `removed` by an earlier run of the file. `unread`: contacts that could not be
    read, of which nothing is believed."""
    owned = desired.owned.union(*(observed.patterns[index].ledger.tags for index in set(observed.contacts.values())))

    def is_called_for(contact: ContactId, change: Change) -> bool:
        if contact in unread:
            return False
        present = change.tag in desired.want(contact).present
        if change.action is Action.ADD:
            return present
        return not present and (change.tag in owned or change.tag in removed.get(contact, NONE))

    return keep_changes(deltas, is_called_for)


def keep_unmet(deltas: Iterable[Delta], observed: ContactStates) -> tuple[Delta, ...]:
    """Those changes that have not had their effect yet, as far as is observed."""

    def is_unmet(contact: ContactId, change: Change) -> bool:
        state = observed[contact]
        if state.observed is None or change.tag in state.doubtful:
            return True
        return (change.action is Action.ADD) != (change.tag in state.observed)

    return keep_changes(deltas, is_unmet)
