"""The machine: the only place that asks it for the time, the one that replaces a file in one step, and phases without
CPython's cyclic collector, which walks every live object again and again while millions are being made.

The event loop is loaded by those who wait: a command that asks nobody begins without it.
"""

from __future__ import annotations

import errno
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: a file that is on disk without its name is lost with the power.

    Does nothing where the file system cannot do that for a folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _write_parts(descriptor: int, parts: Iterable[bytes]) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.writelines(parts)


@dataclass(frozen=True, slots=True)
class FileCalls:
    """The calls of the operating system that bring a file to the disk."""

    make_temporary: Callable[..., tuple[int, str]] = tempfile.mkstemp
    """0600 from the start."""
    write: Callable[[int, Iterable[bytes]], None] = _write_parts
    sync: Callable[[int], None] = os.fsync
    replace: Callable[[str, Path], None] = os.replace
    link: Callable[[str, Path], None] = os.link
    """Gives a file a second name; raises FileExistsError."""
    make_folder: Callable[[Path], None] = Path.mkdir
    sync_folder: Callable[[Path], None] = sync_folder


CALLS = FileCalls()


def replace_file(path: Path, content: bytes | Iterable[bytes], *, calls: FileCalls = CALLS) -> None:
    """Old or new, never half, durable when this returns, and readable by its owner alone.

    Raises OSError, with the old file as it was unless the file system fails behind the rename.
    """
    with _temporary(path, content, calls) as temporary:
        calls.replace(temporary, path)
    calls.sync_folder(path.parent)


def create_file(path: Path, content: bytes, *, calls: FileCalls = CALLS) -> None:
    """Whole or not there, durable when this returns; raises FileExistsError, and other errors of the file system."""
    with _temporary(path, content, calls) as temporary:
        try:
            calls.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # a file system without a second name for a file
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            calls.replace(temporary, path)
    calls.sync_folder(path.parent)


@contextmanager
def _temporary(path: Path, content: bytes | Iterable[bytes], calls: FileCalls) -> Iterator[str]:
    """The name of a file with the content, which is on disk; the name is gone afterwards."""
    # beside its place, since a rename replaces a file in one step only within one file system
    descriptor, temporary = calls.make_temporary(dir=path.parent, prefix=f".{path.name}.")
    try:
        try:
            calls.write(descriptor, [content] if isinstance(content, bytes) else content)
            # on disk before it has its name: after a crash the name must not lead to an empty file
            calls.sync(descriptor)
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)


def make_folders(folder: Path, *, calls: FileCalls = CALLS) -> None:
    """Makes a folder, and those above it that are not there, durably."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        with suppress(FileExistsError):
            calls.make_folder(missing)
        calls.sync_folder(missing.parent)


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
