"""Changing a state by hand: under the lease, and written into the history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reconciler.cli.console import Console
from reconciler.clock import SystemClock
from reconciler.core.formats.state_json import Portable
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.names import LocationId
from reconciler.journalled_run import HeldLease, acquire_lease, journalled_run
from reconciler.operations.identity import current_holder
from reconciler.operations.runs import read_log
from reconciler.ports import StateReader, StateStore


@contextmanager
def locked(
    store: StateStore, location: LocationId, *, operation: str, console: Console, options: Mapping[str, Any]
) -> Iterator[HeldLease]:
    """The lease on a location."""
    acquiring = acquire_lease(
        location,
        current_holder(operation),
        store=store,
        clock=SystemClock(),
        report=console,
        lock_timeout_ms=round(1000 * options["lock_timeout"]),
    )
    with asyncio.run(acquiring) as held:
        yield held


@contextmanager
def journalled(held: HeldLease, operation: str) -> Iterator[None]:
    """A run of the history, which ends as stopped where something goes wrong."""
    lease, now = held.lease, held.clock.now()
    header = RunHeader(lease.location, operation, lease.holder.who, now)
    with journalled_run(held, header, cancelled=RunStatus.STOPPED):
        yield


def whole(reader: StateReader, location: LocationId) -> Portable:
    """All there is of a location."""
    runs = tuple(read_log(reader, run) for run in reader.at(location).read_runs())
    return Portable(reader.at(location).load_state(), runs)
