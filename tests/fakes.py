"""Time for tests, and the values that tests of the shell share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.core.lease import Holder
from reconciler.core.names import Instant

START = Instant(1_795_000_000_000)
MEMORY = Path("/dev/shm")


@contextmanager
def directory_in_memory() -> Iterator[Path]:
    """A directory in memory where the system has such a place: durable writes, some ten thousand, take their time."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


class FakeClock:
    """Time that passes only when somebody sleeps, or a test says so."""

    def __init__(self, start: int = START) -> None:
        self.ms = int(start)

    def now(self) -> Instant:
        return Instant(self.ms)

    async def sleep(self, milliseconds: int) -> None:
        self.ms += milliseconds

    async def sleep_seconds(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


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
