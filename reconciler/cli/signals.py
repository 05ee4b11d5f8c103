"""The signals that end a process, handed to an operation that ends in order."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from reconciler.cli.console import Console
from reconciler.core.model.errors import Interrupted
from reconciler.request_gate import Stop

T = TypeVar("T")
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
KEPT = "what was read until then is kept: with --max-age the next one goes on from there"


@contextmanager
def hear_signals(ask: Callable[[int], None]) -> Iterator[None]:
    """Calls `ask` with every signal that ends a process."""
    loop = asyncio.get_running_loop()
    # only the main thread, of a system that has them, hears of signals
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for signum in SIGNALS:
            loop.add_signal_handler(signum, ask, signum)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for signum in SIGNALS:
                loop.remove_signal_handler(signum)


@contextmanager
def stop_by_signals(console: Console) -> Iterator[Stop]:
    """A Stop that signals ask: the first lets requests under way end, the second ends the process at once."""
    stop = Stop()

    def ask(signum: int) -> None:
        if stop.interrupted is not None:
            # the journal has every intent: an end at once loses nothing
            sys.stderr.flush()
            os._exit(128 + signum)
        stop.ask(signum)
        console.warn("stopping: nothing more is sent; what is under way ends first (once more: at once)")

    with hear_signals(ask):
        yield stop


async def end_by_signals(reading: Awaitable[T]) -> T:
    """The result of a reading, which a signal ends in order: its contacts so far are kept. Raises Interrupted."""
    task, signums = asyncio.current_task(), list[int]()

    def ask(signum: int) -> None:
        signums.append(signum)
        if task is not None:
            task.cancel()

    try:
        with hear_signals(ask):
            return await reading
    except asyncio.CancelledError:
        if signums:
            # cancelled by us: for the caller it is the signal that ended it
            raise Interrupted(signums[0], hint=KEPT) from None
        raise


def read_line() -> str:
    """The next line that is typed; empty at the end of input. Ctrl-C ends it at once, whenever it comes."""
    if sys.platform == "win32":  # where only sockets can be waited for
        return sys.stdin.readline()
    # a handler of Python's runs between two steps of Python: a signal just before a read begins would wait for a key,
    # so that the wait is for the line or the wake-up, whichever comes first
    with _open_wakeup() as wakeup:
        while sys.stdin not in select.select([sys.stdin, wakeup], [], [])[0]:
            os.read(wakeup, 64)
    return sys.stdin.readline()


@contextmanager
def _open_wakeup() -> Iterator[int]:
    """A file that can be read as soon as a signal has come."""
    reading, writing = os.pipe()
    # a handler must not block where the pipe is full
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
