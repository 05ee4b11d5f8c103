"""A sandbox that remembers what it was asked."""

from __future__ import annotations

from collections import Counter
from threading import Event

from reconciler.core.model.names import Instant
from reconciler.sandbox.messages import Delivery, Request
from tests.sandbox.faults import Network


class Listening(Network):
    """A network without faults; `heard`: method and path of each request, ids left out.

    `busy` is set once there were `after` of them, where that is not 0.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.heard: list[str] = []
        self.busy = Event()
        self.after = 0

    def handle(self, request: Request, now: Instant) -> Delivery:
        first, *rest = request.segments
        tail = "/id" if request.method == "GET" and len(rest) == 1 else "".join(f"/{part}" for part in rest)
        self.heard.append(f"{request.method} /{first}{tail}")
        if self.after and len(self.heard) >= self.after:
            self.busy.set()
        return super().handle(request, now)

    def since(self) -> Counter[str]:
        """What was heard since somebody last asked."""
        heard, self.heard = Counter(self.heard), []
        return heard
