"""The signals that end a process, told to whoever has something to end in order. Law: knows nothing of what that is."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def listening(ask: Callable[[int], None]) -> Iterator[None]:
    """Tells `ask` of every signal that ends a process."""
    loop = asyncio.get_running_loop()
    # only the main thread, of a system that has them, is told of signals
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for each in SIGNALS:
            loop.add_signal_handler(each, ask, each)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for each in SIGNALS:
                loop.remove_signal_handler(each)


def next_line() -> str:
    """The next line that is typed; empty at the end of input. Ctrl-C is heeded at once, whenever it comes.

    A handler of Python's runs between two steps of Python: a signal that comes just before a read begins would wait
    for a key. So it is the bell that is waited for, beside the line.
    """
    if sys.platform == "win32":  # where only sockets can be waited for
        return sys.stdin.readline()
    with _bell() as bell:
        while sys.stdin not in select.select([sys.stdin, bell], [], [])[0]:
            os.read(bell, 64)
    return sys.stdin.readline()


@contextmanager
def _bell() -> Iterator[int]:
    """A file that can be read as soon as a signal has come."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
