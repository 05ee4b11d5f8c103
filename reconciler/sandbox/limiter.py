"""The rate limit of a location: so many requests in an interval, so many a day.

Rules
1. In no interval of its length are more requests let through than the limit, unless `interval_slides` is off.
2. The day is a day of UTC.
3. Requests of all integrations of the location share the limit: `spend` takes from it without a request.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from reconciler.core.model.names import Instant
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.message import Headers

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """S: 100 requests in 10 s and 200,000 a day; F: sandbox accounts 25 and 10,000."""

    requests: int = 100
    interval_ms: int = 10_000
    requests_per_day: int = 200_000

    def __post_init__(self) -> None:
        if min(self.requests, self.interval_ms, self.requests_per_day) < 1:
            raise ValueError("a rate limit below 1 lets nothing through")


class Limiter:
    """The only state is when requests were let through."""

    def __init__(self, limits: Limits, assumptions: Assumptions) -> None:
        self.limits = limits
        self._rules = assumptions
        self._recent: deque[Instant] = deque()
        self._day = 0
        self._today = 0

    def admit(self, now: Instant) -> bool:
        """Whether a request may pass at `now`; if so it counts."""
        self._forget(now)
        allowed = self._left() > 0 and self._left_today() > 0
        if allowed or self._rules.refused_requests_count:
            self._count(now)
        return allowed

    def spend(self, requests: int, *, now: Instant) -> None:
        """What another integration used up."""
        self._forget(now)
        for _ in range(requests):
            self._count(now)

    def headers(self, now: Instant) -> Headers:
        """What every answer tells of the limit, this request already counted."""
        self._forget(now)
        found: Headers = (
            ("X-RateLimit-Limit-Daily", str(self.limits.requests_per_day)),
            ("X-RateLimit-Daily-Remaining", str(self._left_today())),
            ("X-RateLimit-Interval-Milliseconds", str(self.limits.interval_ms)),
            ("X-RateLimit-Max", str(self.limits.requests)),
            ("X-RateLimit-Remaining", str(self._left())),
        )
        if self._rules.daily_reset_header:
            found += (("X-RateLimit-Daily-Reset", str(DAY_MS - now % DAY_MS)),)
        return found

    def wait_ms(self, now: Instant) -> int:
        """How long a request that is refused at `now` had better wait."""
        self._forget(now)
        if self._left_today() <= 0:
            return DAY_MS - now % DAY_MS
        if self._left() > 0:
            return 0
        if not self._rules.interval_slides:
            return self.limits.interval_ms - now % self.limits.interval_ms
        return self._recent[len(self._recent) - self.limits.requests] + self.limits.interval_ms - now

    def _count(self, now: Instant) -> None:
        self._recent.append(now)
        self._today += 1

    def _left(self) -> int:
        return max(0, self.limits.requests - len(self._recent))

    def _left_today(self) -> int:
        return max(0, self.limits.requests_per_day - self._today)

    def _forget(self, now: Instant) -> None:
        if now // DAY_MS > self._day:
            self._day, self._today = now // DAY_MS, 0
        length = self.limits.interval_ms
        horizon = now - length if self._rules.interval_slides else now // length * length - 1
        while self._recent and self._recent[0] <= horizon:
            self._recent.popleft()
