"""Time for tests, and the values that tests of the shell share."""

from __future__ import annotations

import asyncio
import math
import selectors
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.lease import Holder
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.observing.refresh_rules import Method, RefreshRequest, RefreshResult
from reconciler.core.running.pace import Pace
from reconciler.journalled_run import HeldLease, acquire_lease
from reconciler.ports import Clock, StartWorker, StateStore
from reconciler.refresh import Keep, ReadServices, keep_nothing, refresh
from reconciler.request_gate import NoLease, RequestGate
from reconciler.system import SystemClock
from tests.build import HERE

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")
START = Instant(1_795_000_000_000)
MEMORY = Path("/dev/shm")
ROOM = 1 << 28
"""A container may have a /dev/shm of a few megabytes: too small for what tests write."""


@contextmanager
def directory_in_memory() -> Iterator[Path]:
    """A directory in memory where the system has such a place: durable writes, some ten thousand, take their time."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    with tempfile.TemporaryDirectory(dir=MEMORY if has_room else None) as directory:
        yield Path(directory).resolve()


@dataclass
class Beat:
    """Something that is due again and again."""

    due: int
    every: int
    call: Callable[[], Awaitable[None]]


class InPlace:
    """A Worker that does all at once, where it is asked: the same order every time."""

    async def __call__(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return work(*arguments)

    async def close(self) -> None:
        return


class SlowWorker:
    """A Worker whose calls take time on a clock, `takes_ms` in all: a part before the work is done, a part after it."""

    def __init__(self, clock: Clock, takes_ms: Callable[[], tuple[int, int]]) -> None:
        self._clock, self._takes_ms = clock, takes_ms
        self._turn = asyncio.Lock()

    async def __call__(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        async with self._turn:
            before, after = self._takes_ms()
            await self._clock.sleep(before)
            result = work(*arguments)
            await self._clock.sleep(after)
            return result

    async def close(self) -> None:
        async with self._turn:
            return


class FakeClock:
    """Time that passes only when somebody sleeps, or a test says so; to add to `ms` is to be paused meanwhile.

    Inside `run` many tasks may sleep at once: time goes on to whatever is due first. Elsewhere a sleep is over at once.
    """

    def __init__(self, start: int = START) -> None:
        self.ms = int(start)
        self._beats: list[Beat] = []

    def now(self) -> Instant:
        return Instant(self.ms)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, in a loop whose time is this clock's: as quick as it can be, the same every time."""
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(self)) as runner:
            return runner.run(work)

    async def sleep(self, milliseconds: int) -> None:
        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            await asyncio.sleep(milliseconds / 1000)
            return
        end = self.ms + milliseconds
        while due := [each for each in self._beats if each.due <= end]:
            first = min(due, key=lambda each: each.due)
            self.ms = first.due
            first.due += first.every
            await first.call()
        self.ms = end

    async def sleep_seconds(self, seconds: float) -> None:
        await self.sleep(round(seconds * 1000))

    async def during(self, work: Awaitable[T], beat: Callable[[], Awaitable[None]], *, every_ms: int) -> T:
        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            return await SystemClock().during(work, beat, every_ms=every_ms)
        beating = Beat(self.ms + every_ms, every_ms, beat)
        self._beats.append(beating)
        try:
            return await work
        finally:
            self._beats.remove(beating)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that moves a clock on instead of waiting, where nothing but time would make a task go on."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Skipping(clock))
        self._clock = clock
        # whatever is due within the millisecond is due
        self._clock_resolution = 0.0005

    def time(self) -> float:
        return self._clock.ms / 1000


class _Skipping(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._fake = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if not (ready := super().select(0)):
            self._fake.ms += math.ceil(timeout * 1000 - 0.01)
        return ready


def a_holder(name: str = "one", *, host: str = "elsewhere", pid: int = 4_242, operation: str = "apply") -> Holder:
    """A holder on another machine: alive as far as anybody here can tell."""
    return Holder(
        id=f"lease-{name}",
        who=name,
        operation=operation,
        host=host,
        pid=pid,
        version="1.2.3",
        created=START,
        run_url="https://ci.example/7",
    )


async def hold(
    store: StateStore, clock: FakeClock, start_worker: StartWorker = InPlace, *, lock_timeout_ms: int = 0
) -> HeldLease:
    return await acquire_lease(
        HERE,
        a_holder(),
        store=store,
        start_worker=start_worker,
        clock=clock,
        report=lambda event: None,
        lock_timeout_ms=lock_timeout_ms,
    )


def a_gate(location: LocationId, pace: Pace | None = None) -> RequestGate:
    """A gate that lets everything through for which its pace, by default a wide one, has a place."""
    clock = FakeClock()
    return RequestGate(location, pace or Pace(Rate(100_000)), clock, lambda event: None, NoLease(clock))


def keeping(kept: list[ObservedContacts]) -> Keep:
    """Appends each lot that was read to a list."""

    async def keep(lot: tuple[ObservedContacts, ...]) -> None:
        kept.extend(lot)

    return keep


async def read_contacts(
    contacts: Sequence[ContactId], reading: ReadServices, keep: Keep = keep_nothing
) -> RefreshResult:
    """Each of the contacts, one request a contact, some at once."""
    return await refresh(RefreshRequest(Method.GET, tuple(contacts)), reading, keep)
