"""A plan file as a proposal: what of it is needed now, and what it has besides. Pure.

Rules
1. Nobody vouches for a file: its digests have no key. What is sent is in the plan that was made now and in the file.
2. The file narrows: changes, deferrals and doubts count as far as it has them too. It widens nothing: what was
   observed, which guards are lifted, what is tried once more are of the plan that was made now.
3. Where both come to the same change digest, the plan that was made now is sent as it is, with what it sends again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactStates
from reconciler.core.model.names import ContactId, LocationId, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.approved_scope import ceiling, within
from reconciler.core.planning.changes import Change, Delta, Diff, demands_from_deltas, sorted_deltas
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, PlanOptions, change_digest, plan_of
from reconciler.core.planning.repeats import NO_REASSERTION

Pairs = frozenset[tuple[Action, Tag]]
NOTHING: Pairs = frozenset()
NONE: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class Rest:
    """What the file and the plan made now do not share.

    `besides`: what the file has besides and may be done by now. `foreign`: the changes it has besides that no plan
    by these manifests would have had, or that stand on what nobody could look at. `lacking`: how many pairs are needed
    and not in it.
    """

    besides: tuple[Delta, ...] = ()
    foreign: tuple[Delta, ...] = ()
    lacking: int = 0


NO_REST = Rest()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan file, and per location how it differs from the plan that was made now."""

    plan: Plan
    rests: Mapping[LocationId, Rest] = field(default_factory=dict)

    def of(self, location: LocationId) -> LocationPlan | None:
        """What the file has for a location."""
        return next((each for each in self.plan.locations if each.location == location), None)


def called_as(state: LocationState, plan: LocationPlan) -> LocationState:
    """The state in the spellings of a plan: it may have been made before the location's own were known."""
    named = {change.tag for delta in plan.deltas for change in delta.changes}
    named |= {tag for deferral in plan.deferrals for tag in deferral.tags}
    named |= {tag for held in plan.held for tag in held.tags} | {tag for again in plan.reasserted for tag in again.tags}
    spelling = state.spelling.calling(named)
    if spelling is state.spelling:
        return state
    return replace(state, spelling=spelling, observed=spelling.observed(state.observed))


def narrowed(
    fresh: LocationPlan, proposed: LocationPlan, desired: Desired, state: LocationState, options: PlanOptions
) -> LocationPlan:
    """The part of the plan made now, `fresh`, that is in the proposed one too."""
    if change_digest((fresh,)) == change_digest((proposed,)):
        return fresh
    deltas, _ = within(fresh.deltas, ceiling(proposed))
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
    # what would be sent again was proposed beside other changes
    once = replace(options, reassertion=NO_REASSERTION)
    return plan_of(found, desired, state, once, observations=fresh.observations)


def contacts_that_differ(one: Iterable[Delta], other: Iterable[Delta]) -> frozenset[ContactId]:
    """The contacts to which the two lists do not do the same."""
    left, right = _sent(one), _sent(other)
    return frozenset(
        contact for contact in left.keys() | right.keys() if left.get(contact, NOTHING) != right.get(contact, NOTHING)
    )


def besides(proposed: tuple[Delta, ...], planned: tuple[Delta, ...]) -> tuple[Delta, ...]:
    """The changes of the one that the other does not have, whatever their reasons and places."""
    if proposed == planned:
        return ()
    sent = _sent(planned)
    return _filtered(
        proposed,
        lambda contact, change: (change.action, change.tag) not in sent.get(contact, NOTHING),
    )


def _sent(deltas: Iterable[Delta]) -> dict[ContactId, Pairs]:
    """What is done to each contact, whatever the reasons and places."""
    found: dict[ContactId, Pairs] = {}
    for delta in deltas:
        pairs = frozenset((change.action, change.tag) for change in delta.changes)
        for contact in delta.contacts:
            before = found.get(contact)
            found[contact] = pairs if before is None else before | pairs
    return found


def called_for(
    deltas: Iterable[Delta],
    desired: Desired,
    observed: ContactStates,
    *,
    removed: Mapping[ContactId, TagSet],
    unread: Container[ContactId],
) -> tuple[Delta, ...]:
    """Those changes that a plan by these manifests may have had: additions of what is desired, removals of what is not
    and is owned, or was `removed` by an earlier run of the file. `unread`: of whom that cannot be told."""
    owned = desired.owned.union(*(observed.patterns[known].ledger for known in set(observed.contacts.values())))

    def is_called_for(contact: ContactId, change: Change) -> bool:
        if contact in unread:
            return False
        present = change.tag in desired.want(contact).present
        if change.action is Action.ADD:
            return present
        return not present and (change.tag in owned or change.tag in removed.get(contact, NONE))

    return _filtered(deltas, is_called_for)


def unmet(deltas: Iterable[Delta], observed: ContactStates) -> tuple[Delta, ...]:
    """Those changes whose effect is not there already, as far as is known."""

    def is_unmet(contact: ContactId, change: Change) -> bool:
        known = observed[contact]
        if known.observed is None or change.tag in known.doubt:
            return True
        return (change.action is Action.ADD) != (change.tag in known.observed)

    return _filtered(deltas, is_unmet)


def _filtered(deltas: Iterable[Delta], takes: Callable[[ContactId, Change], bool]) -> tuple[Delta, ...]:
    found: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    for contact, changes in _by_contact(deltas):
        if taken := tuple(change for change in changes if takes(contact, change)):
            found[taken].append(contact)
    return sorted_deltas(found)


def _by_contact(deltas: Iterable[Delta]) -> Iterator[tuple[ContactId, tuple[Change, ...]]]:
    return ((contact, delta.changes) for delta in deltas for contact in delta.contacts)
