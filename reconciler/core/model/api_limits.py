"""The limits of requests: as the settings say, as an answer's headers say, and as earlier runs learnt them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.core.model.names import Instant, Tag

DAY_MS = 86_400_000
LIMITS_MS = 7 * 86_400_000
"""So long a size is believed that a refusal told."""

TRIAL_MS = 86_400_000
"""After this time one request of a run tries whether a larger size is taken."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_window` requests in any `window_ms` milliseconds, `per_day` a day; `reserve_pct` percent of both are not
    for us."""

    per_window: int = 100
    window_ms: int = 10_000
    per_day: int = 200_000
    reserve_pct: float = 0

    @property
    def ours(self) -> int:
        """The requests of a window that may be ours: one at least, or nothing would ever be sent."""
        return max(1, self.per_window - self.reserve(self.per_window))

    def reserve(self, limit: int) -> int:
        """The part of a limit that is left to others, rounded up."""
        return -int(-limit * self.reserve_pct // 100)


def duration(requests: int, rate: Rate) -> int:
    """Milliseconds that the rate limit alone makes `requests` take, the first window being free."""
    return max(0, (requests - 1) // rate.ours) * rate.window_ms


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


Alias = tuple[Tag, Tag]
"""The spelling that was sent, and the one that came back."""


@dataclass(frozen=True, slots=True)
class Facts:
    """None: not known so far.

    `moves_updated`: whether a write of tags moves a contact's `dateUpdated`. `max_contacts`, `max_tags`: how much a
    request may hold, as refusals told, the last one at `limits_at`. `aliases`: sorted, one a sent spelling.
    """

    moves_updated: bool | None = None
    max_contacts: int | None = None
    max_tags: int | None = None
    aliases: tuple[Alias, ...] = ()
    limits_at: Instant | None = None

    def believes_limits(self, now: Instant) -> bool:
        """Whether the limits are to be heeded: not where they are old, or of an age that nobody knows."""
        return self.limits_at is not None and now < self.limits_at + LIMITS_MS

    def doubts_limits(self, now: Instant) -> bool:
        """Whether it is time to try out whether the limits still hold."""
        return self.limits_at is not None and now >= self.limits_at + TRIAL_MS

    def limited(self, contacts: int | None, tags: int | None, now: Instant) -> Facts:
        """These facts and what a refusal told now; None: nothing of that. What was not heeded any more is given up."""
        kept = self if self.believes_limits(now) else self.without_limits()
        most = contacts or kept.max_contacts, tags or kept.max_tags
        return replace(kept, max_contacts=most[0], max_tags=most[1], limits_at=now if any(most) else None)

    def without_limits(self) -> Facts:
        return replace(self, max_contacts=None, max_tags=None, limits_at=None)

    def with_aliases(self, found: Iterable[Alias]) -> Facts:
        """These facts and what just came back; the last answer about a spelling rules, and about what came back."""
        new = dict(found)
        kept = {sent: back for sent, back in self.aliases if sent not in new.values()}
        return replace(self, aliases=tuple(sorted((kept | new).items())))


NO_FACTS = Facts()
