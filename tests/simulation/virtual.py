"""Time that jumps: an event loop for many tasks in which nothing is ever waited for, and a clock on it.

Rules
1. Where no task can go on, time moves to the next timer at once; where there is none either, that is a deadlock.
2. Same coroutines, same order of steps: there are no threads, no sockets and no real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from reconciler.core.model.names import Instant
from tests.fakes import START

T = TypeVar("T")
RESOLUTION_S = 1e-6


class Deadlock(Exception):
    """Everybody waits for somebody."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop, and the selector that it asks for events: there are none, only time."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0
        self._selector = self
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self.passed_s

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock
        self.passed_s += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else could be asleep."""


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """The result of `main`, and every other task ended; the loop can be used again, later in its time."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_alone(main))
    finally:
        asyncio.set_event_loop(None)


async def _alone(main: Coroutine[Any, Any, T]) -> T:
    try:
        return await main
    finally:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class VirtualClock:
    """The Clock of a world; `start` is the instant at which its loop began."""

    def __init__(self, loop: VirtualLoop, start: int = START) -> None:
        self.loop = loop
        self.start = int(start)

    def now(self) -> Instant:
        return Instant(self.start + round(self.loop.passed_s * 1000))

    async def sleep(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def during(self, work: Awaitable[T], beat: Callable[[], Awaitable[None]], *, every_ms: int) -> T:
        beating = asyncio.ensure_future(self._beats(beat, every_ms))
        try:
            return await work
        finally:
            beating.cancel()

    async def _beats(self, beat: Callable[[], Awaitable[None]], every_ms: int) -> None:
        while True:
            await self.sleep(every_ms)
            await beat()
