"""How the outside asks runs to send nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.core.errors import Interrupted

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
