"""The limits of requests: as the settings say, as an answer's headers say, and as earlier runs learnt them.

A header that makes no sense counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.core.model.names import Instant, Tag

DAY_MS = 86_400_000
LIMITS_MS = 7 * 86_400_000
"""So long a size is believed that a refusal told."""

TRIAL_MS = 86_400_000
"""After this time one request of a run tries whether a larger size is taken."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The limits that the settings give, until an answer's headers say otherwise."""

    per_window: int = 100
    """Requests in any `window_ms` milliseconds."""
    window_ms: int = 10_000
    per_day: int = 200_000
    reserve_pct: float = 0
    """The percentage of both limits that is left to other integrations."""

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
    """The limits by the headers of one answer; None where a header is missing, or makes no sense."""

    limit: int | None = None
    """Requests of an interval of `window_ms`, and how many of them remain."""
    remaining: int | None = None
    window_ms: int | None = None
    daily_limit: int | None = None
    daily_remaining: int | None = None
    daily_reset: int | None = None
    """Milliseconds, either until the day's quota starts anew or since 1970: no document says which."""

    def resets_at(self, now: Instant) -> Instant:
        """When the daily quota starts anew; the next midnight of UTC where that is not said."""
        given = self.daily_reset
        # a number of a day or less cannot be a time since 1970
        if given is not None and given <= DAY_MS:
            return Instant(now + given)
        # a time further off than a day is no turn of the day: it is not believed
        if given is not None and now < given <= now + DAY_MS:
            return Instant(given)
        return next_midnight(now)


def next_midnight(now: Instant) -> Instant:
    """The midnight of UTC after `now`."""
    return Instant((now // DAY_MS + 1) * DAY_MS)


LONGEST_PAUSE_MS = 3_600_000
"""An answer asks for no longer pause, whatever its header says."""


def read_date(headers: Mapping[str, str]) -> Instant | None:
    """The server's time when it answered, to the second; None where it does not say."""
    return _parse_date({name.lower(): value for name, value in headers.items()}.get("date", ""))


def read_quota(headers: Mapping[str, str]) -> Quota:
    """The limits in the headers of an answer; None for each that is missing or no sensible number."""
    given = {name.lower(): value for name, value in headers.items()}
    limit = _read_number(given, "X-RateLimit-Max", least=1, most=1_000_000)
    daily_limit = _read_number(given, "X-RateLimit-Limit-Daily", least=1, most=1_000_000_000)
    return Quota(
        limit=limit,
        remaining=_read_number(given, "X-RateLimit-Remaining", most=limit or 1_000_000),
        window_ms=_read_number(given, "X-RateLimit-Interval-Milliseconds", least=1, most=3_600_000),
        daily_limit=daily_limit,
        daily_remaining=_read_number(given, "X-RateLimit-Daily-Remaining", most=daily_limit or 1_000_000_000),
        daily_reset=_read_number(given, "X-RateLimit-Daily-Reset", most=10_000_000_000_000),
    )


def read_pause(headers: Mapping[str, str], now: Instant) -> int | None:
    """Milliseconds that `Retry-After` asks for, an hour at most; None where it is missing or makes no sense.

    A date is taken by the server's own clock where the answer tells it.
    """
    given = {name.lower(): value for name, value in headers.items()}
    text = given.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(int(text) * 1000, LONGEST_PAUSE_MS)
    # a clock that is wrong by minutes would make the pause negative, or last an hour: prefer the server's own
    until, sent = _parse_date(text), _parse_date(given.get("date", ""))
    if until is None:
        return None
    return max(0, min(until - (now if sent is None else sent), LONGEST_PAUSE_MS))


def _read_number(given: Mapping[str, str], name: str, *, least: int = 0, most: int) -> int | None:
    text = given.get(name.lower(), "").strip()
    # the length is checked before int(): Python refuses to convert thousands of digits
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    return int(text) if least <= int(text) <= most else None


def _parse_date(text: str) -> Instant | None:
    """A date as HTTP writes it."""
    # it loads sockets and more, which a command that asks the API nothing need not wait for
    from email.utils import parsedate_to_datetime

    try:
        return Instant(round(parsedate_to_datetime(text).timestamp() * 1000)) if text.isascii() else None
    except (ValueError, OverflowError):
        return None


Alias = tuple[Tag, Tag]
"""The spelling that was sent, and the one that came back."""


class TrialVerdict(StrEnum):
    """How an assumption stands to the answers of a trial."""

    AS_ASSUMED = "as assumed"
    OTHERWISE = "other than assumed"
    OPEN = "not settled"


@dataclass(frozen=True, slots=True)
class TriedRow:
    """An assumption that `doctor --try` looked at. `found`: the answer in words."""

    name: str
    verdict: TrialVerdict
    found: str
    at: Instant


@dataclass(frozen=True, slots=True)
class LocationFacts:
    """A location's habits, as earlier runs learnt them; None: not known so far."""

    moves_updated: bool | None = None
    """Whether a write of tags moves a contact's `dateUpdated`."""
    max_contacts: int | None = None
    """How many contacts a request may hold, as a refusal told; and so `max_tags`."""
    max_tags: int | None = None
    aliases: tuple[Alias, ...] = ()
    """Sorted, one a sent spelling."""
    limits_at: Instant | None = None
    """When a refusal last told a size."""
    tried: tuple[TriedRow, ...] = ()
    """The assumptions that a trial of a contact looked at, sorted by their names."""

    def believes_limits(self, now: Instant) -> bool:
        """Whether the limits are to be heeded: not where they are old, or of an unknown age."""
        return self.limits_at is not None and now < self.limits_at + LIMITS_MS

    def doubts_limits(self, now: Instant) -> bool:
        """Whether it is time to try out whether the limits still hold."""
        return self.limits_at is not None and now >= self.limits_at + TRIAL_MS

    def limited(self, contacts: int | None, tags: int | None, now: Instant) -> LocationFacts:
        """These facts with the limits that a refusal told now; limits that are not heeded any more are given up."""
        kept = self if self.believes_limits(now) else self.without_limits()
        most = contacts or kept.max_contacts, tags or kept.max_tags
        return replace(kept, max_contacts=most[0], max_tags=most[1], limits_at=now if any(most) else None)

    def without_limits(self) -> LocationFacts:
        return replace(self, max_contacts=None, max_tags=None, limits_at=None)

    def with_aliases(self, aliases: Iterable[Alias]) -> LocationFacts:
        """These facts with the spellings that just came back; the last answer about a spelling rules."""
        new = dict(aliases)
        # a spelling that came back is in use itself: it stands for no other any more
        kept = {sent: back for sent, back in self.aliases if sent not in new.values()}
        return replace(self, aliases=tuple(sorted((kept | new).items())))

    def with_tried(self, rows: Iterable[TriedRow]) -> LocationFacts:
        """These facts with the rows of a trial; one that it did not settle leaves what an earlier one settled."""
        kept = {row.name: row for row in self.tried}
        for row in rows:
            if row.verdict is not TrialVerdict.OPEN or row.name not in kept:
                kept[row.name] = row
        return replace(self, tried=tuple(row for _, row in sorted(kept.items())))


NO_FACTS = LocationFacts()
