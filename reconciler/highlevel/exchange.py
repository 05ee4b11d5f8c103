"""An agency token, exchanged for a location token: in memory, and again when that one runs out.

Rules
1. Nothing is asked before the first request needs it, and never twice at the same time.
2. A location token is exchanged a little before its end, and when the API refuses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from reconciler.core.model.names import Instant, LocationId
from reconciler.wire import LocationToken

MARGIN_MS = 60_000
UNKNOWN_MS = 3_600_000
"""How long a token is used whose end the API does not tell; it lasts about a day."""


@dataclass(frozen=True, slots=True)
class Agency:
    """Whose token it is, and for which location it is exchanged."""

    company: str
    location: LocationId


@dataclass(slots=True)
class Exchange:
    """`ask` exchanges. The location token is in use until `renew_at`."""

    ask: Callable[[], Awaitable[LocationToken]]
    now: Callable[[], Instant]
    renew_at: int = 0
    _token: str = field(default="", repr=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def token(self, *, refused: str = "") -> str:
        """A location token, another one than `refused`; raises what `ask` raises."""
        async with self._lock:
            if self._token in ("", refused) or self.now() >= self.renew_at:
                found = await self.ask()
                lasts = UNKNOWN_MS if found.lasts_ms is None else found.lasts_ms
                self._token, self.renew_at = found.token, self.now() + lasts - min(MARGIN_MS, lasts // 10)
            return self._token
