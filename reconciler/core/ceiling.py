"""What a reviewer approved, as a ceiling on every later request: nothing outside it is ever sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from reconciler.core.diff import Change, Delta
from reconciler.core.names import ContactId, TagSet
from reconciler.core.outcome import Action
from reconciler.core.plan import LocationPlan

NONE: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The approved tags of each contact, per action."""

    adds: dict[ContactId, TagSet]
    removes: dict[ContactId, TagSet]

    def allows(self, contact: ContactId, change: Change) -> bool:
        approved = self.adds if change.action is Action.ADD else self.removes
        return change.tag in approved.get(contact, NONE)


def ceiling(plan: LocationPlan) -> Ceiling:
    """Its changes, and what its deferrals may at most become."""
    adds: dict[ContactId, TagSet] = {}
    removes: dict[ContactId, TagSet] = {}
    for delta in plan.deltas:
        _raise(adds, delta.contacts, delta.tags(Action.ADD))
        _raise(removes, delta.contacts, delta.tags(Action.REMOVE))
    for deferral in plan.deferrals:
        _raise(removes, deferral.contacts, frozenset(deferral.tags))
    return Ceiling(adds, removes)


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
        adds = sum(change.action is Action.ADD for change in delta.changes)
        for contact in delta.contacts:
            wanted = [change for change in delta.changes if change.action is Action.ADD or contact not in failed]
            changes = tuple(change for change in wanted if limit.allows(contact, change))
            if adds and len(changes) < len(wanted):
                changes = _with_their_adds(changes, adds)
            outside += len(wanted) - len(changes)
            if changes:
                kept[changes].append(contact)
    return tuple(Delta(changes, tuple(sorted(contacts))) for changes, contacts in sorted(kept.items())), outside


def _with_their_adds(allowed: tuple[Change, ...], adds: int) -> tuple[Change, ...]:
    """What is left of the allowed changes of a contact that needs so many adds."""
    adding = tuple(change for change in allowed if change.action is Action.ADD)
    return allowed if len(adding) == adds else adding
