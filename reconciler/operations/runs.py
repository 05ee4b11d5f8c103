"""A run by its id, by the beginning of it, or as the last one."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.clock import SystemClock
from reconciler.core.model.errors import UsageError
from reconciler.core.model.journal import RunLog, RunRecord
from reconciler.core.model.names import LocationId
from reconciler.ports import StateReader

SHORTEST = 4
LAST = "last"


def runs_of(reader: StateReader, location: LocationId) -> Sequence[RunRecord]:
    """The runs of a location; the lease tells whether one that has not ended is under way, or was killed."""
    state = reader.at(location)
    lease = state.read_lease(SystemClock().now())
    return [run.held_under(lease) for run in state.read_runs()]


def find_run(reader: StateReader, given: str, *, undoing: bool = False) -> RunRecord:
    """The run with this id, the only one whose id begins so, or, for `last`, the one that began last.

    `undoing`: of those that sent a request, or put something under management without one.
    """
    every = [run for location in reader.list_locations() for run in runs_of(reader, location)]
    if given == LAST:
        newest = sorted(every, key=lambda run: (run.header.started, run.id), reverse=True)
        last = next((run for run in newest if not undoing or run.requests or _adopted(reader, run)), None)
        if last is None:
            nothing = "no run has sent anything, or put anything under management, yet"
            raise UsageError(nothing if every else "there is no run yet")
        return last
    found = [run for run in every if run.id == given or (len(given) >= SHORTEST and run.id.startswith(given))]
    if len(found) != 1:
        what = "more than one run begins" if found else "no run begins"
        raise UsageError(f"{what} with {given!r}", hint="`reconciler history` lists the runs")
    return found[0]


def _adopted(reader: StateReader, run: RunRecord) -> bool:
    """Whether the run put pairs under management without a request."""
    return bool(reader.at(run.header.location).read_adopted(run.id))


def read_log(reader: StateReader, run: RunRecord) -> RunLog:
    state = reader.at(run.header.location)
    return RunLog(run, tuple(state.read_batches(run.id)), state.read_adopted(run.id), state.read_ending(run.id))
