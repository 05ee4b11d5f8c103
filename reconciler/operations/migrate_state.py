"""A state copied to another place, from which it is used then. Law: under the leases of both places.

Rules
1. The copy arrives complete, or not at all. The old state has an entry in its history that says where it went, and
   counts once the copy has arrived; whoever goes by the old state is refused from then on.
2. A place that a copy reached is not written over by what it has already: later runs may be there.
3. The entries of moves are no runs: a state comes back to a place that has more of them than it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from reconciler.core.formats.integrity import accept
from reconciler.core.formats.state_json import Portable
from reconciler.core.model.errors import StateError, UsageError
from reconciler.core.model.journal import MOVE, MOVED, RunLog, RunStatus, list_moves
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.safe_text import redacted
from reconciler.journalled_run import HeldLease
from reconciler.operations.refresh import begin_run, hold_location
from reconciler.operations.state import pull_location
from reconciler.operations.workspace import Workspace
from reconciler.ports import StateStore
from reconciler.store import open_store, refuse_unlisted


async def migrate_states(workspace: Workspace, url: str, *, lock_timeout_ms: int = 0) -> AsyncIterator[Portable]:
    """Copies the state of one location after the other to another place, and proves that each arrived.

    No run can work on a location while it is copied. The old state stays, with an entry in its history that says where
    it went. A location that was copied there before stays as it is there.
    """
    settings = workspace.load_state_settings()
    if url == settings.state:
        raise UsageError("the state is there already", hint="name another place")
    refuse_unlisted(settings.state)
    with open_store(settings.state) as source, open_store(url) as target:
        for location in source.list_locations():
            async with (
                await hold_location(workspace, source, location, MOVE, lock_timeout_ms) as leaving,
                await hold_location(workspace, target, location, MOVE, lock_timeout_ms) as held,
            ):
                if _is_there(location, source, target):
                    portable = pull_location(target, location)
                else:
                    # its entry counts once it is complete: then the copy has arrived
                    async with begin_run(leaving, f"{MOVED}{redacted(url)}", cancelled=RunStatus.STOPPED):
                        portable = _without_moves(pull_location(source, location), workspace.clock.now())
                        await _copy_location(portable, target, held)
            yield portable


def _is_there(location: LocationId, source: StateStore, target: StateStore) -> bool:
    """Whether the last copy of a state that was left went to this target, and nothing was done in the old one since."""
    runs = source.at(location).read_runs()
    moves = list_moves(runs)
    if not moves or moves[-1].id not in {record.id for record in target.at(location).read_runs()}:
        return False
    # an older reconciler knows no entries of moves, and goes on with what was left
    return all(run.header.operation.startswith(MOVED) for run in runs[runs.index(moves[-1]) :])


async def _copy_location(portable: Portable, target: StateStore, held: HeldLease) -> None:
    location = portable.state.location
    there = pull_location(target, location)
    runs = tuple(log for log in there.runs if not log.record.header.operation.startswith(MOVED))
    accepted = accept(replace(there, runs=runs), portable)
    if accepted is not None:
        replaced = accepted.state, accepted.runs, accepted.snapshots
        await held.call(held.store.replace_state, held.lease, *replaced)
    # the copy is read back: what it would still have to accept did not arrive
    if accept(portable, pull_location(target, location)) is not None:
        raise StateError(f"location {location} did not arrive whole", hint="the old state is untouched")


def _without_moves(portable: Portable, now: Instant) -> Portable:
    """The state as its copy has it: not as one that was left for another place."""
    runs: list[RunLog] = []
    for log in portable.runs:
        record = log.record
        if record.header.operation.startswith(MOVED):
            record = replace(record, header=replace(record.header, operation=MOVE))
        if record.status is RunStatus.RUNNING:
            # the entry of this very copy
            record = replace(record, status=RunStatus.COMPLETE, ended=now)
        runs.append(replace(log, record=record))
    return replace(portable, state=replace(portable.state, moved_to=""), runs=tuple(runs))
