"""The real clock: the only place that asks the operating system for the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.core.model.names import Instant

T = TypeVar("T")


class SystemClock:
    """Milliseconds since 1970; see `ports.Clock`."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000_000)

    async def sleep(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def during(self, work: Awaitable[T], beat: Callable[[], None], *, every_ms: int) -> T:
        task = asyncio.ensure_future(work)
        try:
            # `wait` leaves the work running when the time is up; `wait_for` would cancel it
            while not (await asyncio.wait({task}, timeout=every_ms / 1000))[0]:
                beat()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                # its last steps are done before the caller goes on: a request may be under way
                await asyncio.wait({task})
