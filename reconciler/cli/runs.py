"""A run by its id, or by the beginning of it."""

from __future__ import annotations

from reconciler.core.errors import UsageError
from reconciler.core.journal import RunLog, RunRecord
from reconciler.ports import StateReader

SHORTEST = 4


def find_run(reader: StateReader, given: str) -> RunRecord:
    """The run with this id, or the only one whose id begins so."""
    every = [run for location in reader.locations() for run in reader.runs(location)]
    found = [run for run in every if run.id == given or (len(given) >= SHORTEST and run.id.startswith(given))]
    if len(found) != 1:
        what = "more than one run begins" if found else "no run begins"
        raise UsageError(f"{what} with {given!r}", hint="`reconciler history` lists the runs")
    return found[0]


def read_log(reader: StateReader, run: RunRecord) -> RunLog:
    return RunLog(run, tuple(reader.batches(run.id)), reader.adopted(run.id))
