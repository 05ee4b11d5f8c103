"""What the settings of a location may choose: how fast, what is refused, what is repeated, what counts as drift."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


class Reassert(StrEnum):
    """Which tags may be added again where that saves a request."""

    INERT = "inert"
    ALWAYS = "always"
    NEVER = "never"


PCT_FLOOR = 5


class Guard(StrEnum):
    MAX_ADDS = "max_adds"
    MAX_REMOVES = "max_removes"
    MAX_ADDS_PCT = "max_adds_pct"
    MAX_REMOVES_PCT = "max_removes_pct"
    MAX_RESTORED_PCT = "max_restored_pct"
    MAX_FIRST_ADDS = "max_first_adds"
    EMPTIES_TAG = "empties_tag"
    MIN_HOLDERS = "min_holders"
    ODD_IDS = "odd_ids"
    MAX_REQUESTS = "max_requests"
    SHRINK_PCT = "shrink_pct"
    GROW_PCT = "grow_pct"
    PROTECTED = "protected"

    @property
    def scopes(self) -> tuple[str, ...]:
        """What it holds for, and may be lifted on: the location as a whole (empty), a tag, a set."""
        return _SCOPES.get(self, ("", "tag"))


_SCOPES = {
    Guard.MAX_REQUESTS: ("",),
    Guard.MAX_RESTORED_PCT: ("tag",),
    Guard.MAX_FIRST_ADDS: ("tag",),
    Guard.EMPTIES_TAG: ("tag",),
    Guard.MIN_HOLDERS: ("tag",),
    Guard.ODD_IDS: ("tag",),
    Guard.PROTECTED: ("tag",),
    Guard.SHRINK_PCT: ("set",),
    Guard.GROW_PCT: ("set",),
}


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The limits of a location; None: no limit. Limits on a single tag are in its rule."""

    max_adds: int | None = None
    max_removes: int | None = None
    max_adds_pct: float | None = None
    max_removes_pct: float | None = 30.0
    max_restored_pct: float | None = 30.0
    max_first_adds: int | None = PCT_FLOOR
    empties_tag: bool = True
    min_holders: int | None = None
    odd_ids: bool = True
    max_requests: int | None = None
    shrink_pct: float | None = 50.0
    grow_pct: float | None = 100.0


class DriftClass(StrEnum):
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    PENDING = "pending"
    UNREACHABLE = "unreachable"
    FLAPPING = "flapping"
    HELD = "held"
    TOLERATED = "tolerated"
    FOREIGN = "foreign"
    STALE = "stale"
    UNOBSERVED = "unobserved"
