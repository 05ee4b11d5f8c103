"""The signals that end a process, told to whoever has something to end in order. Law: knows nothing of what that is."""

from __future__ import annotations

import asyncio
import signal
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
