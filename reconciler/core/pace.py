"""Rate-limit arithmetic: (now, history) -> how long to wait. A sliding log: never more than the limit in any window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from reconciler.core.names import Instant


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_window` requests in any `window_ms` milliseconds, `per_day` a day."""

    per_window: int = 100
    window_ms: int = 10_000
    per_day: int = 200_000


@dataclass(slots=True)
class Pace:
    """When the requests of the last window left.

    `wait` tells the milliseconds until one more may leave; `note` remembers that it did.
    """

    rate: Rate
    sent: deque[Instant] = field(default_factory=deque)
    not_before: int = 0

    def wait(self, now: Instant) -> int:
        while self.sent and now - self.sent[0] >= self.rate.window_ms:
            self.sent.popleft()
        full = len(self.sent) >= self.rate.per_window
        until = self.sent[len(self.sent) - self.rate.per_window] + self.rate.window_ms if full else now
        return max(until, self.not_before) - now if max(until, self.not_before) > now else 0

    def note(self, now: Instant) -> None:
        self.sent.append(now)

    def back_off(self, until: Instant) -> None:
        """Nothing leaves before `until`: the server asked for a pause."""
        self.not_before = max(self.not_before, until)


def duration(requests: int, rate: Rate) -> int:
    """Milliseconds that the rate limit alone makes `requests` take, the first window being free."""
    return max(0, (requests - 1) // rate.per_window) * rate.window_ms
