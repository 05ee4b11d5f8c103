"""Plans: `make_plan(session, request) -> PlanResult`. Law: holds no writer, stores nothing.

    session = open_session(Workspace(Path("manifests")))
    planned = await make_plan(session, PlanRequest())

A plan file (`saved_plan.py`) and a run to undo (`revert.py`) give a PlanResult too; `apply.py` sends any of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.core.manifests.checks.loops import find_changed_filters
from reconciler.core.model.errors import GuardRefused, ReconcilerError
from reconciler.core.model.journal import UnknownLocation
from reconciler.core.model.lease import Lease
from reconciler.core.model.measured import HeldCounted, LocationPlanned
from reconciler.core.model.names import LocationId, normalise_tag
from reconciler.core.model.settings import Guard
from reconciler.core.planning.changes import SAFE, count_held
from reconciler.core.planning.make_plan import count_given_and_gone, count_given_anew, plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, combine_plans
from reconciler.operations.current_state import CurrentState, find_current, find_leases
from reconciler.operations.plan_options import PlanRequest, find_allowances, make_plan_options, make_selection
from reconciler.operations.quota import list_quota_notes
from reconciler.operations.stored_state import refuse_missing_state
from reconciler.operations.workspace import Session
from reconciler.output.blocks import counted
from reconciler.store import open_reader
from reconciler.system import without_cyclic_gc

if TYPE_CHECKING:
    from reconciler.core.planning.approved_scope import Proposal
    from reconciler.core.planning.revert import Reversal

LOOP_HINT = (
    "first apply with this set as it was before, or without it where it is new: once the ledger owns the tag no more, "
    "nothing of the manifests changes it"
)
NAMED = 3
"""So many locations with the same error are named."""


@dataclass(frozen=True, slots=True, repr=False)
class PlanResult:
    """A plan, with the session and request that it was made by."""

    plan: Plan
    session: Session
    request: PlanRequest
    """The request that the plan was made by; for a plan file, with the part that the file chose."""
    notes: tuple[str, ...] = ()
    """Lines for a person: locations that the plan leaves alone, contacts that the reading did not find."""
    leases: tuple[Lease, ...] = ()
    """Runs that were under way in the plan's locations."""
    proposal: Proposal | None = None
    """The plan file that this plan was made anew from."""
    reversals: Mapping[LocationId, Reversal] = field(default_factory=dict)
    """The runs that this plan undoes."""
    unknown: Mapping[LocationId, ReconcilerError] = field(default_factory=dict)
    """Locations that could not be planned, and why; of one location alone it is raised."""

    def list_quota_notes(self) -> list[str]:
        """A line for each location where an apply that began now would be refused."""
        return list_quota_notes(self.plan, self.session)


async def make_plan(session: Session, request: PlanRequest) -> PlanResult:
    """A plan of the session's manifests, on its state, with contacts read first where the request asks for that.

    Raises UsageError for a scope that nothing has. A location whose reading or state fails is not planned, and
    `unknown` of the result tells why; of the only location AuthRefused, another ApiError or StateError is raised.
    """
    refuse_missing_state(session, create_state=request.create_state)
    session = session.work_out_beside()
    with open_reader(session.settings.state) as reader:
        current, unknown = await find_current(session, reader, request.scope, request.reading)
        # after the reading, which may outlast a run
        leases, unusable = find_leases(session, reader, [each.state.location for each in current])
        strays = session.list_strays(reader)
    unknown |= unusable
    current = [each for each in current if each.state.location not in unusable]
    notes = [note for location in current for note in location.list_notes()]
    plan = replace(plan_current(session, current, request), unknown=UnknownLocation.list_from(unknown))
    states = {each.state.location: each.state for each in current}
    for location in plan.locations:
        notes += list_rule_notes(location, states[location.location], session, request)
    return PlanResult(plan, session, request, notes=(*strays, *notes), leases=leases, unknown=unknown)


def plan_current(session: Session, current: Iterable[CurrentState], request: PlanRequest) -> Plan:
    """One plan of all locations on their current states."""
    with without_cyclic_gc():
        plans = [_plan_one(session, location, request) for location in current]
        return combine_plans(
            plans,
            # the moment of the manifests: a plan file is valid as of it
            as_of=session.now,
            manifests=str(session.workspace.directory),
            selection=make_selection(session, request.scope),
        )


def _plan_one(session: Session, current: CurrentState, request: PlanRequest) -> LocationPlan:
    location, clock, report = current.state.location, session.workspace.clock, session.workspace.listener
    began = clock.now()
    plan = plan_location(
        session.desired[location],
        current.state,
        current.add_to(make_plan_options(session, location, request)),
        observations=current.observations,
    )
    report(LocationPlanned(location, clock.now() - began))
    report(HeldCounted(location, count_held(plan.held)))
    return plan


def list_rule_notes(plan: LocationPlan, state: LocationState, session: Session, request: PlanRequest) -> Iterator[str]:
    """A line for each rule of a tag that does not do what a reader may expect of it."""
    yield from _list_kept(plan, session, request)
    desired = state.spelling.spell_desired(session.desired[plan.location])
    for (old, new), contacts in count_given_anew(plan, desired, state.observed).items():
        yield (
            f"location {plan.location}: {counted(contacts, 'contact')} had {old!r} before, and would be given {new!r}: "
            "what is `once` is remembered by its name, and a new name is another tag"
        )
    again = state.spelling.read(frozenset(map(normalise_tag, request.scope.again)))
    for tag, contacts in count_given_and_gone(again, desired, state.observed).items():
        yield (
            f"location {plan.location}: {counted(contacts, 'contact')} had {tag!r} and lost it without leaving its "
            "sets: `--again` gives it to those who left and came back, and nothing to them; to give it to them again, "
            "apply once with them out of these sets, and put them back"
        )


def _list_kept(plan: LocationPlan, session: Session, request: PlanRequest) -> Iterator[str]:
    """A line for each protected tag that stays where it would be removed, though its guard is to be lifted."""
    rules = session.desired[plan.location].rules
    allowances = find_allowances(session, plan.location, request.allow, request.reason)
    lifted = {allowance.scope for allowance in allowances if allowance.guard is Guard.PROTECTED}
    kept = Counter(tag for held in plan.spared if held.why == SAFE for tag in held.tags for _ in held.contacts)
    for tag in sorted(kept.keys() & lifted):
        if tag in rules and rules[tag].protected:
            yield (
                f"location {plan.location}: {counted(kept[tag], 'contact')} would lose {tag!r}, which is protected, "
                "and no plan of manifests removes it: the guard is lifted for `revert` alone; to have the tag removed, "
                "take `protected` out of its rule"
            )


def find_filter_loops(planned: PlanResult) -> dict[LocationId, ReconcilerError]:
    """The locations whose plan changes a tag by which a set of theirs is filtered, each with its refusal.

    Of a tag that the manifests name, the check `filter-loop` tells. This one was theirs: the ledger owns it still.
    """
    # what undoes a run is no change of the manifests
    if planned.reversals:
        return {}
    loops: dict[LocationId, ReconcilerError] = {}
    for plan in planned.plan.locations:
        filtered = planned.session.matched.get(plan.location, ())
        changed = {change.tag for delta in plan.deltas for change in delta.changes} if filtered else set()
        refusals = [
            f"contact set {contact_set.name!r} is filtered by tag {tag!r}, and the plan changes it: {condition.source}"
            for contact_set, condition, tag in find_changed_filters(filtered, changed)
        ]
        if refusals:
            loops[plan.location] = GuardRefused(refusals, hints=[LOOP_HINT])
    return loops


def describe_errors(errors: Mapping[LocationId, ReconcilerError]) -> list[str]:
    """A line for each error, with the locations that have it."""
    alike: dict[str, list[LocationId]] = {}
    for location, error in sorted(errors.items()):
        alike.setdefault("; ".join(error.lines), []).append(location)
    return [f"{_name_locations(locations)}: nothing will be sent: {lines}" for lines, locations in alike.items()]


def _name_locations(locations: Sequence[LocationId]) -> str:
    # each with the word before it: a person is shown its name there, too
    named = ", ".join(f"location {location}" for location in locations[:NAMED])
    return f"{named} and {len(locations) - NAMED} more" if len(locations) > NAMED else named
