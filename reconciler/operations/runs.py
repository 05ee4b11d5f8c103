"""The runs of the history: listed, found by id, told in full, and undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.model.errors import UsageError
from reconciler.core.model.journal import RunLog, RunRecord
from reconciler.core.model.lease import judge_by_lease
from reconciler.core.model.names import LocationId
from reconciler.core.observing.attribution import Trend, compute_trend
from reconciler.core.planning.make_plan import plan_revert
from reconciler.core.planning.plan import combine_plans
from reconciler.core.planning.revert import Reversal, read_reversal
from reconciler.operations.current_state import find_current
from reconciler.operations.plan import PlanResult
from reconciler.operations.plan_options import EVERYTHING_STORED, PlanRequest, make_plan_options
from reconciler.operations.stored_state import choose_locations, list_leases
from reconciler.operations.workspace import Workspace, open_session
from reconciler.ports import Clock, StateReader
from reconciler.store import open_reader

SHORTEST = 4
"""So many characters of an id tell a run."""
LAST = "last"
UNTRACED = (
    "what run {run} put under management without a change is not known: it ran before that was written down, or it is "
    "older than what history_keep keeps; that stays under management, and the next plan removes what nobody declares"
)


@dataclass(frozen=True, slots=True, repr=False)
class HistoryResult:
    """The runs of each location, the oldest first."""

    runs: dict[LocationId, Sequence[RunRecord]]
    trends: dict[LocationId, Trend]
    """How much the runs changed, by the rows that are kept; empty unless asked for."""
    state: str
    """Where the state is."""


def list_history(workspace: Workspace, locations: Sequence[str] = (), *, with_trends: bool = False) -> HistoryResult:
    """The runs of these locations (empty: all that have state); reads every row `with_trends`."""
    settings = workspace.load_state_settings()
    with open_reader(settings.state) as reader:
        runs = {
            location: list_runs(reader, location, workspace.clock)
            for location in choose_locations(reader, locations, settings)
        }
        trends = {
            location: compute_trend(read_log(reader, record) for record in records if not record.is_pruned)
            for location, records in (runs if with_trends else {}).items()
        }
    return HistoryResult(runs, trends, settings.state)


def find_log(workspace: Workspace, run: str) -> RunLog:
    """All that is kept of a run; `run` as for `find_run`."""
    with open_reader(workspace.load_state_settings().state) as reader:
        return read_log(reader, find_run(reader, run, workspace.clock))


def list_runs(reader: StateReader, location: LocationId, clock: Clock) -> Sequence[RunRecord]:
    """The runs of a location; the lease tells whether one that has not ended is under way, or was killed."""
    state = reader.at(location)
    lease = state.read_lease(clock.now())
    # a run that never ended and has no lease was killed
    return [judge_by_lease(record, lease) for record in state.read_runs()]


def find_run(reader: StateReader, run: str, clock: Clock, *, undoing: bool = False) -> RunRecord:
    """The run with this id, the only one with an id that begins so, or, for `last`, the one that began last.

    `undoing`: of the runs that sent a request, or put a tag under management without one.
    """
    records = [record for location in reader.list_locations() for record in list_runs(reader, location, clock)]
    if run == LAST:
        # runs that began at one instant: in any order, but always the same
        newest = sorted(records, key=lambda record: (record.header.started, record.id), reverse=True)
        last = next((record for record in newest if not undoing or _changed_anything(reader, record)), None)
        if last is None:
            nothing = "no run has sent anything, or put anything under management, yet"
            raise UsageError(nothing if records else "there is no run yet")
        return last
    matches = [record for record in records if record.id == run or (len(run) >= SHORTEST and record.id.startswith(run))]
    if len(matches) != 1:
        count = "more than one run begins" if matches else "no run begins"
        raise UsageError(f"{count} with {run!r}", hint="`reconciler history` lists the runs")
    return matches[0]


def _changed_anything(reader: StateReader, record: RunRecord) -> bool:
    return bool(record.requests or reader.at(record.header.location).read_adopted(record.id))


def read_log(reader: StateReader, run: RunRecord) -> RunLog:
    state = reader.at(run.header.location)
    return RunLog(run, tuple(state.read_batches(run.id)), state.read_adopted(run.id), state.read_ending(run.id))


async def make_revert_plan(workspace: Workspace, run: str, request: PlanRequest = EVERYTHING_STORED) -> PlanResult:
    """A plan that undoes a run; `run` as for `find_run`.

    Raises UsageError where no such run is, or its rows are given up, and the errors of `make_plan`.
    """
    with open_reader(workspace.load_state_settings().state) as reader:
        reversal, location = _reverse_run(reader, run, workspace.clock)
        session = open_session(workspace, [location], unpulled=True)
        # contacts of the run alone, and at this moment: an index that lags cannot verify
        ((current,), _) = await find_current(session, reader, request.scope, request.reading, contacts=reversal.moved)
        leases = list_leases(reader, [location], workspace.clock.now())
    plan = plan_revert(
        reversal,
        session.desired[location],
        current.state,
        current.add_to(make_plan_options(session, location, request)),
        observations=current.observations,
    )
    return PlanResult(
        combine_plans([plan], as_of=session.now, manifests=str(workspace.directory)),
        session,
        request,
        notes=() if reversal.traced else (UNTRACED.format(run=reversal.run),),
        leases=leases,
        reversals={location: reversal},
    )


def _reverse_run(reader: StateReader, run: str, clock: Clock) -> tuple[Reversal, LocationId]:
    record = find_run(reader, run, clock, undoing=True)
    if record.is_pruned:
        raise UsageError(
            f"what run {record.id} changed is no longer known: its rows were given up",
            hint="the setting history_keep says how many runs keep their rows",
        )
    location = record.header.location
    records = reader.at(location).read_runs()
    # changes that later runs made are left alone
    later = records[[logged.id for logged in records].index(record.id) + 1 :]
    return read_reversal(read_log(reader, record), (read_log(reader, later_record) for later_record in later)), location
