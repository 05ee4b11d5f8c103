"""The way to change a location's state: under its lease, as a run of the history. Law: sees beside, ports and core.

All changes are made so but some by hand: to push, to recover, to forget a location as a whole and to put a copy in its
place write under the lease and begin no run, and to unlock ends a lease without holding one.

    async with await acquire_lease(location, holder, …) as held, journalled_run(held, header) as run: …

Rules
1. Waiting and heartbeats go by the injected clock.
2. The lease is renewed while a wait or a request lasts, however long. Losing it does not cut a request short: its
   answer is still worth having, though the state will not take it.
3. Before each request the lease is looked at: past its end, or taken over, nothing more is sent. A heartbeat that
   waits behind another call of the state keeps nothing alive.
4. Whoever holds a lease has a connection of its own; each call goes through `HeldLease.call`, beside the event loop.
5. A run ends once. One that is left open is the next run's to settle: it reads the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self, TypeVar, TypeVarTuple

from reconciler.beside import LocationConnection, connect_location, to_the_end
from reconciler.core.model.errors import LockHeld, StateError
from reconciler.core.model.events import Waiting
from reconciler.core.model.journal import RunEnding, RunHeader, RunStatus
from reconciler.core.model.lease import HEARTBEAT_MS, Holder, Lease, lease_ended_error, retry_pauses
from reconciler.core.model.names import Instant, LocationId, SetName
from reconciler.measure import Measure
from reconciler.ports import Clock, LocationStore, Reporter, StartWorker, StateStore

MOST_RENEWALS = 3
"""A state that takes a heartbeat's time for each of so many renewals in a row is waited for no longer."""
SLICE_MS = 5_000
"""A long sleep looks at the lease so often: well within a heartbeat."""
Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


async def acquire_lease(
    location: LocationId,
    holder: Holder,
    *,
    store: StateStore,
    start_worker: StartWorker,
    clock: Clock,
    report: Reporter,
    lock_timeout_ms: int,
) -> HeldLease:
    """The lease on a location, waited for at most `lock_timeout_ms`; raises LockHeld. The caller leaves its context."""
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(
            connect_location(store, location, start_worker, Measure(clock, report))
        )
        taken: list[HeldLease] = []
        # before it is taken: who is cancelled meanwhile leaves no lease behind
        opened.push_async_callback(_release, connection, taken)

        def take() -> None:
            now = clock.now()
            taken.append(HeldLease(connection, clock, connection.store.acquire_lease(holder, now), now))

        ends = clock.now() + lock_timeout_ms
        for pause in retry_pauses(lock_timeout_ms):
            try:
                await connection.call(take)
            except LockHeld as error:
                # each try takes its time, too
                if (left := ends - clock.now()) <= 0:
                    raise
                report(Waiting(location, min(pause, left), error.message))
                await clock.sleep(min(pause, left))
            else:
                break
        else:
            await connection.call(take)
        held = taken[0]
        held.opened = opened.pop_all()
        return held


async def _release(connection: LocationConnection, taken: Sequence[HeldLease]) -> None:
    def release() -> None:
        # asked here: a call that was under way may have taken it
        for held in taken:
            connection.store.release_lease(held.lease)

    # a lease that is lost, or cannot be written, ends by itself
    for _ in range(2):
        with suppress(StateError):
            await to_the_end(connection.call(release))
            return


@dataclass(slots=True)
class HeldLease:
    """A lease that is held, last renewed at `renewed`, and its connection; leaving its context gives both back."""

    connection: LocationConnection
    clock: Clock
    lease: Lease
    renewed: Instant
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.opened.aclose()

    @property
    def store(self) -> LocationStore:
        """Its methods are called by `call` alone."""
        return self.connection.store

    async def call(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """The result of a method of `store`, or of other work that takes its time, made beside the event loop."""
        return await self.connection.call(work, *arguments)

    def refuse_ended(self) -> None:
        """Raises LeaseLost where the lease is over by our clock."""
        now = self.clock.now()
        if now >= self.lease.expires:
            # even if no other holder has it yet: one may take it at any moment, as after a laptop's sleep
            raise lease_ended_error(self.lease, now)

    async def renew(self) -> None:
        """The heartbeat, where it is due; raises LeaseLost where the lease is over."""
        self.refuse_ended()
        if not self._is_due:
            return
        async with self._renewing:
            # while it waited another request may have renewed it; a renewal that took long is due again
            for _ in range(MOST_RENEWALS):
                if not self._is_due:
                    break
                await self._renew_now()
        self.refuse_ended()

    @property
    def _is_due(self) -> bool:
        return self.clock.now() - self.renewed >= HEARTBEAT_MS

    async def _renew_now(self) -> None:
        def renew() -> tuple[Lease, Instant]:
            # dated here: it may have waited for calls before it, and what is left of a lease counts from its date
            self.refuse_ended()
            now = self.clock.now()
            return self.store.renew_lease(self.lease, now), now

        self.lease, self.renewed = await self.call(renew)

    async def during(self, work: Awaitable[T]) -> T:
        """The result of `work`, with heartbeats while it lasts."""
        return await self.clock.during(work, self._beat, every_ms=HEARTBEAT_MS)

    async def sleep(self, milliseconds: int) -> None:
        """A wait, with heartbeats."""
        until = self.clock.now() + milliseconds
        while milliseconds > 0:
            await self.clock.sleep(min(milliseconds, SLICE_MS))
            await self.renew()
            # heartbeats take their time; a clock that was put back makes no wait longer
            milliseconds = min(milliseconds - SLICE_MS, until - self.clock.now())

    async def _beat(self) -> None:
        # the request under way is not cut short: the look before the next one raises
        with suppress(StateError):
            await self.renew()


@dataclass(slots=True)
class JournalledRun:
    """A run of the history that has begun."""

    id: str
    held: HeldLease
    is_over: bool = False
    """Whether it has ended, or was left open: nothing ends it any more."""

    async def end(
        self, status: RunStatus, *, set_sizes: Mapping[SetName, int] | None = None, ending: RunEnding | None = None
    ) -> None:
        """Writes down how it ended; `set_sizes` and `ending` are those of `LocationStore.end_run`."""
        self.is_over = True
        held = self.held
        end = partial(held.store.end_run, set_sizes=set_sizes, ending=ending)
        await held.call(end, held.lease, self.id, status, held.clock.now())

    def leave_open(self) -> None:
        """Ends nothing: the journal is the truth, and the next run settles by it."""
        self.is_over = True


@asynccontextmanager
async def journalled_run(
    held: HeldLease, header: RunHeader, *, cancelled: RunStatus | None = RunStatus.INTERRUPTED
) -> AsyncIterator[JournalledRun]:
    """A run from its begin to its end: complete, stopped by an error, `cancelled` by anything else that ends it early.

    `cancelled` is None where to be cancelled is to be killed: that leaves the run open.
    """
    run = JournalledRun(await held.call(held.store.begin_run, held.lease, header), held)
    try:
        yield run
    except BaseException as error:
        status = RunStatus.STOPPED if isinstance(error, Exception) else cancelled
        if status is not None and not run.is_over:
            # the error on its way says more than a failure to write the run's end would
            with suppress(StateError):
                await run.end(status)
        raise
    if not run.is_over:
        await run.end(RunStatus.COMPLETE)
