"""The machine: the only place that asks it for the time, the one that replaces a file in one step, and phases without
CPython's cyclic collector, which walks every live object again and again while millions are being made.

The event loop is loaded by those who wait: a command that asks nobody begins without it.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from reconciler.core.model.names import Instant

T = TypeVar("T")


def wall_clock() -> Instant:
    return Instant(time.time_ns() // 1_000_000)


class SystemClock:
    """Milliseconds since 1970, as `ports.Clock` wants them."""

    def now(self) -> Instant:
        return wall_clock()

    async def sleep(self, milliseconds: int) -> None:
        import asyncio

        await asyncio.sleep(milliseconds / 1000)

    async def during(self, work: Awaitable[T], beat: Callable[[], Awaitable[None]], *, every_ms: int) -> T:
        import asyncio

        async def go_on() -> None:
            while True:
                await asyncio.sleep(every_ms / 1000)
                await beat()

        # a task of its own: the result does not wait for a beat
        task, beating = asyncio.ensure_future(work), asyncio.ensure_future(go_on())
        try:
            await asyncio.wait({task})
            return task.result()
        finally:
            beating.cancel()
            if not task.done():
                task.cancel()
                # its last steps are done before the caller goes on: a request may be under way
                await asyncio.wait({task})


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Old or new, never half, and readable by its owner alone; raises OSError, with the old file as it was."""
    # beside its place, since a rename replaces a file in one step only within one file system; 0600 from the start
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            # on disk before the rename: after a crash the name must not lead to an empty file
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


RARELY = 50_000
"""So many objects more before the collector looks at the youngest; CPython's own number is 700."""


@contextmanager
def rarer_cyclic_gc() -> Iterator[None]:
    """Lets the cyclic collector look seldom: the rows of each request would set it off several times."""
    thresholds = gc.get_threshold()
    gc.set_threshold(RARELY, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def without_cyclic_gc() -> Iterator[None]:
    """Switches the cyclic collector off, and back on where it was on. Our values hold no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
