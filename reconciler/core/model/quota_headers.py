"""What one answer says of the limits of requests."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.names import Instant

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What one answer says of the limits; None where it does not say, or nothing that makes sense.

    Of the interval: `limit`, `remaining`, `window_ms`. Of the day: `daily_limit`, `daily_remaining`, and `daily_reset`
    in milliseconds, either until then or since 1970: no document says which.
    """

    limit: int | None = None
    remaining: int | None = None
    window_ms: int | None = None
    daily_limit: int | None = None
    daily_remaining: int | None = None
    daily_reset: int | None = None

    def resets_at(self, now: Instant) -> Instant:
        """When the daily quota starts anew; the next midnight of UTC where that is not said."""
        given = self.daily_reset
        if given is not None and given <= DAY_MS:
            return Instant(now + given)
        if given is not None and now < given <= now + DAY_MS:
            return Instant(given)
        return next_midnight(now)


def next_midnight(now: Instant) -> Instant:
    """The midnight of UTC after `now`."""
    return Instant((now // DAY_MS + 1) * DAY_MS)
