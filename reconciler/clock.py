"""The real clock: the only place that asks the operating system for the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.core.model.names import Instant

T = TypeVar("T")


class SystemClock:
    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000_000)

    async def sleep(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def during(self, work: Awaitable[T], beat: Callable[[], None], *, every_ms: int) -> T:
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=every_ms / 1000))[0]:
                beat()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                # whatever it does before it ends is done before anybody goes on
                await asyncio.wait({task})
