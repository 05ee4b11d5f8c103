"""What a reviewer approved, as a ceiling on every later request: nothing outside it is ever sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from reconciler.core.manifests.resolve import Reason
from reconciler.core.model.names import ContactId, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import IN_DOUBT, Change, DeferralReason, Delta, sorted_deltas
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.summary import pairs_of

NONE: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The approved tags of each contact, per action.

    `open`: contacts from which whatever exact authority removes was approved (`--apply-deferrals`).
    """

    adds: dict[ContactId, TagSet]
    removes: dict[ContactId, TagSet]
    open: frozenset[ContactId] = frozenset()


_OF_ANOTHER_PLAN = (DeferralReason.NEEDS_REFRESH, DeferralReason.UNTIL_REPLACED)


def ceiling(plan: LocationPlan) -> Ceiling:
    """Its changes, what its deferrals may at most become, and what is in doubt, which a reading may settle.

    What needs a refresh, or a tag that is not added here, is of another plan: nothing of it is sent.
    """
    adds: dict[ContactId, TagSet] = {}
    removes: dict[ContactId, TagSet] = {}
    for delta in plan.deltas:
        _raise(adds, delta.contacts, delta.tags(Action.ADD))
        _raise(removes, delta.contacts, delta.tags(Action.REMOVE))
    for deferral in plan.deferrals:
        if deferral.reason not in _OF_ANOTHER_PLAN:
            _raise(removes, deferral.contacts, frozenset(deferral.tags))
    for held in plan.held:
        if held.why == IN_DOUBT:
            _raise(adds, held.contacts, frozenset(held.tags))
            _raise(removes, held.contacts, frozenset(held.tags))
    is_open = (each.contacts for each in plan.deferrals if each.reason is DeferralReason.OPEN)
    return Ceiling(adds, removes, frozenset().union(*is_open))


def meet(one: Ceiling, other: Ceiling) -> Ceiling:
    """What both allow."""
    adds, removes = _both(one.adds, other.adds), _both(one.removes, other.removes)
    return Ceiling(adds, removes, one.open & other.open)


def _both(one: dict[ContactId, TagSet], other: dict[ContactId, TagSet]) -> dict[ContactId, TagSet]:
    return {contact: both for contact, tags in one.items() if (both := tags & other.get(contact, NONE))}


def sends_what_it_says(plan: LocationPlan) -> bool:
    """Whether its batches send its changes and what it lists as sent again, and nothing else."""
    limit = ceiling(replace(plan, deferrals=(), held=()))
    for again in plan.reasserted:
        approved = limit.adds if again.action is Action.ADD else limit.removes
        _raise(approved, again.contacts, frozenset(again.tags))
    for index, batch in enumerate(plan.batches):
        approved, tags = limit.adds if batch.action is Action.ADD else limit.removes, frozenset(batch.tags)
        if not all(tags <= approved.get(contact, NONE) for contact in batch.contacts):
            return False
        if not all(0 <= before < index for before in batch.after):
            return False
    said = pairs_of(plan.deltas) + sum(len(each.tags) * len(each.contacts) for each in plan.reasserted)
    return said == sum(len(batch.tags) * len(batch.contacts) for batch in plan.batches)


def _raise(approved: dict[ContactId, TagSet], contacts: Iterable[ContactId], tags: TagSet) -> None:
    if not tags:
        return
    for contact in contacts:
        before = approved.get(contact)
        approved[contact] = tags if before is None else before | tags


def within(
    deltas: Iterable[Delta], limit: Ceiling, *, failed: Collection[ContactId] = ()
) -> tuple[tuple[Delta, ...], int]:
    """The part of the deltas that the ceiling allows, and how many pairs it does not.

    Where it does not allow one of a contact's adds, the contact's removals wait with it. `failed`: contacts whose
    adds did not end well; their removes are left out.
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
                part = parts[approved] = _part(delta.changes, *approved)
            outside += len(wanted) - len(part)
            if part:
                kept[part].append(contact)
    return sorted_deltas(kept), outside


def _part(changes: tuple[Change, ...], adds: TagSet, removes: TagSet, is_open: bool) -> tuple[Change, ...]:
    """Of a contact's changes those that are approved; its removals only with all of its adds."""
    adding = [change for change in changes if change.action is Action.ADD]
    allowed = tuple(change for change in adding if change.tag in adds)
    if len(allowed) < len(adding):
        return allowed
    removing = (change for change in changes if change.action is Action.REMOVE)
    return allowed + tuple(
        each for each in removing if each.tag in removes or (is_open and each.reason is Reason.EXACT)
    )
