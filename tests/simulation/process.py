"""One run of the program in a world: it may die or stand still at every point where it touches anything.

Rules
1. After its death a process touches nothing any more: neither its state, nor the network, nor the clock.
2. A process that stands still (stopped, swapped out, a laptop asleep) goes on later as if no time had passed; its
   heartbeats are missed, and what it was waiting for has come or gone meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reconciler.core.model.batch import Batch
from reconciler.core.model.names import Instant, LocationId
from tests.simulation.virtual import VirtualClock

T = TypeVar("T")
BEFORE, AFTER = "before", "after"


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Dies `side` of the `nth` time (from 0) that it does `what`, a method of its state or `send`; or stands still
    for `frozen_ms` there.
    """

    what: str
    side: str
    nth: int
    frozen_ms: int = 0


@dataclass
class Process:
    """A process as others see it: its name, its token, and whether it lives."""

    name: str
    clock: VirtualClock
    fate: Fate | None = None
    alive: bool = True
    met_its_fate: bool = False
    frozen_until: int = 0
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    intents: list[Batch] = field(default_factory=list)
    """What its state was told that it is about to send."""
    death: asyncio.Event = field(default_factory=asyncio.Event)

    def at(self, what: str, side: str) -> None:
        """It is about to do something, or has just done it."""
        if not self.alive:
            raise Killed
        nth = self.counts.get((what, side), 0)
        self.counts[what, side] = nth + 1
        if self.fate is None or (self.fate.what, self.fate.side, self.fate.nth) != (what, side, nth):
            return
        self.met_its_fate = True
        if self.fate.frozen_ms:
            self.frozen_until = self.clock.now() + self.fate.frozen_ms
        else:
            self.die()

    def die(self) -> None:
        self.alive = False
        self.death.set()
        raise Killed

    async def thaw(self) -> None:
        """Returns when it runs again; who cancels it meanwhile is heard when it does."""
        cancelled: asyncio.CancelledError | None = None
        while self.clock.now() < self.frozen_until:
            try:
                await self.clock.sleep(self.frozen_until - self.clock.now())
            except asyncio.CancelledError as error:
                cancelled = error
        if not self.alive:
            raise Killed
        if cancelled is not None:
            raise cancelled

    async def live(self, work: Awaitable[T]) -> T | None:
        """What `work` comes to, None where the process died of it."""
        body, death = asyncio.ensure_future(work), asyncio.ensure_future(self.death.wait())
        await asyncio.wait({body, death}, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if self.alive:
            return body.result()
        body.cancel()
        await asyncio.wait({body})
        if not body.cancelled():
            body.exception()
        return None


class ProcessClock:
    """The clock as a process sees it."""

    def __init__(self, process: Process) -> None:
        self._process, self._clock = process, process.clock

    def now(self) -> Instant:
        return self._clock.now()

    async def sleep(self, milliseconds: int) -> None:
        try:
            await self._clock.sleep(milliseconds)
        finally:
            await self._process.thaw()

    async def during(self, work: Awaitable[T], beat: Callable[[], Awaitable[None]], *, every_ms: int) -> T:
        async def alive() -> None:
            if self._process.alive and self._clock.now() >= self._process.frozen_until:
                await beat()

        return await self._clock.during(work, alive, every_ms=every_ms)


class MortalStore:
    """A state store in the hands of a process: whatever it is asked is a point where the process may die."""

    def __init__(self, store: Any, process: Process) -> None:
        self._store, self._process = store, process

    def at(self, location: LocationId) -> MortalStore:
        return MortalStore(self._store.at(location), self._process)

    @contextmanager
    def connect(self, location: LocationId) -> Iterator[MortalStore]:
        with self._store.connect(location) as store:
            yield MortalStore(store, self._process)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*arguments: Any, **more: Any) -> Any:
            self._process.at(name, BEFORE)
            found = method(*arguments, **more)
            if name == "record_intent":
                self._process.intents += [each for each in arguments if isinstance(each, Batch)]
            self._process.at(name, AFTER)
            return found

        return call
