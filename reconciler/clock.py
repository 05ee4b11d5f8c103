"""The real clock: the only place that asks the operating system for the time."""

from __future__ import annotations

import asyncio
import time

from reconciler.core.names import Instant


class SystemClock:
    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000_000)

    async def sleep(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)
