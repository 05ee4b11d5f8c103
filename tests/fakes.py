"""Time for tests, and the values that tests of the shell share."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reconciler.core.lease import Holder
from reconciler.core.names import Instant

T = TypeVar("T")
START = Instant(1_795_000_000_000)
MEMORY = Path("/dev/shm")


@contextmanager
def directory_in_memory() -> Iterator[Path]:
    """A directory in memory where the system has such a place: durable writes, some ten thousand, take their time."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


@dataclass
class Beat:
    """Something that is due again and again."""

    due: int
    every: int
    call: Callable[[], None]


class FakeClock:
    """Time that passes only when somebody sleeps, or a test says so; to add to `ms` is to be paused meanwhile."""

    def __init__(self, start: int = START) -> None:
        self.ms = int(start)
        self._beats: list[Beat] = []

    def now(self) -> Instant:
        return Instant(self.ms)

    async def sleep(self, milliseconds: int) -> None:
        end = self.ms + milliseconds
        while due := [each for each in self._beats if each.due <= end]:
            first = min(due, key=lambda each: each.due)
            self.ms = first.due
            first.due += first.every
            first.call()
        self.ms = end

    async def sleep_seconds(self, seconds: float) -> None:
        await self.sleep(round(seconds * 1000))

    async def during(self, work: Awaitable[T], beat: Callable[[], None], *, every_ms: int) -> T:
        beating = Beat(self.ms + every_ms, every_ms, beat)
        self._beats.append(beating)
        try:
            return await work
        finally:
            self._beats.remove(beating)


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
