"""Work beside the event loop, and many locations side by side. Law: sees ports and core.

Rules
1. A location's state is opened, used and closed in one thread: a call that takes its time delays no other location.
2. A call that is cancelled before it began is never made; one that has begun goes on to its end, unheard. Whoever
   leaves a connection waits until its last call has ended.
3. So many locations work at once; the others come in their order, and tell that they wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple, cast

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.events import Queued
from reconciler.core.model.names import LocationId
from reconciler.core.observing.pull_report import PulledLocation
from reconciler.measure import Measure, MeasuredStore
from reconciler.ports import LocationStore, Reporter, StartWorker, StateStore, Worker

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


class ThreadWorker:
    """A Worker in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="location")

    async def __call__(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await asyncio.wrap_future(self._thread.submit(work, *arguments))

    async def close(self) -> None:
        last = self._thread.submit(_do_nothing)
        # the thread takes nothing more, and ends after the last work
        self._thread.shutdown(wait=False)
        await to_the_end(asyncio.wrap_future(last))


def _do_nothing() -> None:
    """The last work of a thread."""


async def to_the_end(work: Awaitable[T]) -> T:
    """The result of `work`; a cancellation is heard only when it has ended."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


@dataclass(frozen=True, slots=True)
class LocationConnection:
    """A location's state over a connection of its own: `await connection.call(connection.store.load_state)`."""

    store: LocationStore
    call: Worker
    """Makes one call after the other, in the thread of the connection."""


@asynccontextmanager
async def connect_location(
    state: StateStore, location: LocationId, start_worker: StartWorker, measure: Measure | None = None
) -> AsyncIterator[LocationConnection]:
    """The connection is open within the context; after it no call is under way. `measure`: for each call's time."""
    worker, opened = start_worker(), ExitStack()
    try:
        store = await worker(opened.enter_context, state.connect(location))
        if measure is not None:
            store = cast(LocationStore, MeasuredStore(store, location, measure))
        yield LocationConnection(store, worker)
    finally:
        try:
            await to_the_end(worker(opened.close))
        finally:
            await worker.close()


@dataclass(slots=True)
class Places:
    """So many places for locations that work at once."""

    most: int | None
    """None: for all of them."""
    report: Reporter
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.most or sys.maxsize)

    @asynccontextmanager
    async def take(self, location: LocationId) -> AsyncIterator[None]:
        """A place, given to those that wait in the order in which they came."""
        if self.most and self._free.locked():
            self.report(Queued(location, self.most))
        async with self._free:
            yield


@dataclass(slots=True)
class Meeting:
    """Where all locations of a pull wait for the last one to be matched: then all is shown, and each goes on."""

    expected: int
    show: Callable[[], None]
    reports: dict[LocationId, PulledLocation] = field(default_factory=dict)
    errors: dict[LocationId, ReconcilerError] = field(default_factory=dict)
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    async def arrive(self, report: PulledLocation) -> None:
        self.reports[report.location] = report
        self._show_if_all()
        await self.shown.wait()

    def fail(self, location: LocationId, error: ReconcilerError) -> None:
        # an error after the meeting leaves the report: it was shown
        self.errors[location] = error
        self._show_if_all()

    def _show_if_all(self) -> None:
        if not self.shown.is_set() and len(self.reports.keys() | self.errors.keys()) == self.expected:
            self.show()
            self.shown.set()
