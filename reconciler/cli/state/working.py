"""Changing a state by hand: under the lease, and written into the history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from reconciler.cli.console import Console
from reconciler.clock import SystemClock
from reconciler.core.formats.state_json import Portable
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import LocationId
from reconciler.journalled_run import acquire_lease
from reconciler.operations.identity import current_holder
from reconciler.operations.runs import read_log
from reconciler.ports import StateReader, StateStore


@dataclass(frozen=True, slots=True)
class Hands:
    """On the state of one location, as long as the lease lasts."""

    store: StateStore
    lease: Lease


@contextmanager
def locked(
    store: StateStore, location: LocationId, *, operation: str, console: Console, options: Mapping[str, Any]
) -> Iterator[Hands]:
    """The lease on a location."""
    timeout_ms = round(1000 * options["lock_timeout"])
    waiting = acquire_lease(
        location,
        current_holder(operation),
        store=store,
        clock=SystemClock(),
        report=console,
        lock_timeout_ms=timeout_ms,
    )
    tenure = asyncio.run(waiting)
    try:
        yield Hands(store, tenure.lease)
    finally:
        tenure.release()


@contextmanager
def journalled(hands: Hands, operation: str) -> Iterator[None]:
    """A run of the history, which ends as stopped where something goes wrong."""
    holder, clock = hands.lease.holder, SystemClock()
    run = hands.store.begin_run(hands.lease, RunHeader(hands.lease.location, operation, holder.who, clock.now()))
    try:
        yield
    except BaseException:
        with suppress(StateError):
            hands.store.end_run(hands.lease, run, RunStatus.STOPPED, clock.now(), set_sizes=None)
        raise
    hands.store.end_run(hands.lease, run, RunStatus.COMPLETE, clock.now(), set_sizes=None)


def whole(reader: StateReader, location: LocationId) -> Portable:
    """All there is of a location."""
    runs = tuple(read_log(reader, run) for run in reader.read_runs(location))
    return Portable(reader.load_state(location), runs)
