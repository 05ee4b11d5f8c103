"""How the outside asks runs to send nothing more, and how what waits is ended by that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.core.model.errors import Interrupted

T = TypeVar("T")
Listener = Callable[[Interrupted], None]


class Halted(Exception):
    """No further request may leave: unwinds what waits for its turn. Never leaves the package."""


@dataclass(slots=True)
class Stop:
    """Told of a signal; tells the runs that listen, those that begin to listen later too."""

    interrupted: Interrupted | None = None
    _listeners: list[Listener] = field(default_factory=list)

    def ask(self, signum: int) -> None:
        """Runs send nothing more from now on; what is under way ends."""
        if self.interrupted is None:
            self.interrupted = Interrupted(signum)
            for listener in tuple(self._listeners):
                listener(self.interrupted)

    async def wait(self) -> None:
        """Until somebody asks."""
        asked = asyncio.Event()

        def listener(_: Interrupted) -> None:
            asked.set()

        self.listen(listener)
        try:
            await asked.wait()
        finally:
            self.forget(listener)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
        if self.interrupted is not None:
            listener(self.interrupted)

    def forget(self, listener: Listener) -> None:
        self._listeners.remove(listener)


async def until(stopped: Callable[[], Awaitable[object]], work: Awaitable[T]) -> T | None:
    """The result of `work`, or None where `stopped` came first."""
    stopping, working = asyncio.ensure_future(stopped()), asyncio.ensure_future(work)
    try:
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for each in (stopping, working):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({each})
