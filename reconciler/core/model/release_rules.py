"""How slowly a tag is given: at most so many additions in any period, and at which hours. Pure.

Rules
1. A window opens and closes by the clocks of its zone: where these are moved, it moves with them.
2. One that closes before it opens goes over midnight, and belongs to the day on which it opens.
3. Law: in no period of the pace's length are more additions released than it allows, whatever was sent before, and
   when: at any moment all is counted that came to be within the period before it, or may have.
4. Additions with periods that end shortly after one another are released together: else slices would fall into ever
   smaller ones.
5. Who goes first is told by a hash of tag and contact: the same in every run, and without regard to who they are.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from heapq import nsmallest
from zoneinfo import ZoneInfo

from reconciler.core.model.names import ContactId, Instant, Tag

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = tuple(range(len(DAYS)))
MINUTE_MS = 60_000
SHORTEST_MS, LONGEST_MS = MINUTE_MS, 30 * 24 * 60 * MINUTE_MS
"""The periods that a pace may have."""
_UNITS = (("d", 24 * 60), ("h", 60), ("m", 1))
_NEXT = 17
"""Days within which each window opens: of one day a week, on which the clocks may be put forward over it."""


@dataclass(frozen=True, slots=True)
class TagPace:
    """At most `adds` contacts are given the tag in any period of this length."""

    adds: int
    per_ms: int

    def __str__(self) -> str:
        return f"{self.adds:,} in {describe_period(self.per_ms)}"


@dataclass(frozen=True, slots=True)
class TagWindow:
    """The hours in which the tag is given: days of the week from 0, Monday; minutes of the day."""

    days: tuple[int, ...]
    opens: int
    closes: int
    zone: str

    def __str__(self) -> str:
        return f"{_describe_days(self.days)} {_clock(self.opens)}-{_clock(self.closes)} {self.zone}"

    def find_opening(self, at: Instant) -> tuple[Instant, Instant]:
        """When it is open next: the hours that hold `at`, or those that come first after it."""
        today = datetime.fromtimestamp(at / 1000, _zone(self.zone)).date()
        for offset in range(-1, _NEXT):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                opens, closes = self._hours(day)
                # where the clocks are put forward, hours may be left out altogether
                if closes > at and closes > opens:
                    return opens, closes
        raise AssertionError(f"a window that does not open: {self}")

    def _hours(self, day: date) -> tuple[Instant, Instant]:
        # a day has 23 or 25 hours where the clocks are moved: its times are asked for, not reckoned
        ends = day + timedelta(days=1) if self.closes <= self.opens else day
        return _instant(day, self.opens, self.zone), _instant(ends, self.closes, self.zone)


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """Additions of a tag that came to be, or may have: at the latest at this moment."""

    at: Instant
    adds: int


@dataclass(frozen=True, slots=True)
class Slice:
    """So many additions may be sent from then on."""

    at: Instant
    adds: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The slices in which additions are sent: the first ones, the number of all, and when the last one begins.

    `last`: None where that is too far away to be told; then `number` is of those that were counted.
    """

    first: tuple[Slice, ...] = ()
    number: int = 0
    last: Instant | None = None


@dataclass(frozen=True, slots=True)
class ReleaseRule:
    """A pace, a window, or both."""

    pace: TagPace | None = None
    window: TagWindow | None = None

    def __str__(self) -> str:
        return ", ".join(str(part) for part in (self.pace, self.window) if part is not None)

    @property
    def zone(self) -> str:
        """The zone in which its times are told."""
        return "UTC" if self.window is None else self.window.zone

    def used(self, sent: Iterable[Sent], now: Instant) -> int:
        """How many additions of the period before now count; all that is dated later counts, too."""
        pace = self.pace
        # all later than that counts, too: a clock may have been put back
        return 0 if pace is None else sum(each.adds for each in sent if each.at + pace.per_ms > now)

    def room(self, wanted: int, sent: Iterable[Sent], now: Instant) -> int:
        """How many of the wanted additions may be sent now."""
        if self.window is not None and not self.is_open(now):
            return 0
        return wanted if self.pace is None else max(0, min(wanted, self.pace.adds - self.used(sent, now)))

    def is_open(self, now: Instant) -> bool:
        """Whether the window is open."""
        return self.window is None or self.window.find_opening(now)[0] <= now

    def next_room(self, sent: Iterable[Sent], now: Instant) -> Instant:
        """When some addition may be sent: now, or later."""
        return self.forecast(1, sent, now).first[0].at

    def forecast(self, wanted: int, sent: Iterable[Sent], now: Instant) -> Forecast:
        """The slices in which the wanted additions are sent, if each is sent as soon as it may."""
        return _Forecaster(self, sorted(sent)).run(wanted, now)


SHOWN = 5
MOST_SLICES = 100_000
_FARTHEST = 250_000_000_000_000
"""A moment, in the year 9892, beyond which nothing is told."""
_TOGETHER = 20
"""The part of a period within which what becomes free is waited for."""


@dataclass(slots=True)
class _Forecaster:
    rule: ReleaseRule
    counted: list[Sent]
    """Those of the period, sorted: what is in doubt may be dated after now."""
    opening: tuple[int, int] = (0, 0)

    def run(self, wanted: int, now: Instant) -> Forecast:
        pace = self.rule.pace
        first: list[Slice] = []
        number, at, last = 0, now, now
        while wanted and number < MOST_SLICES and (at := self._open_from(at)) < _FARTHEST:
            free = wanted if pace is None else pace.adds - self._used(pace, at)
            if pace is not None and free <= 0:
                at = self._next_free(pace)
                continue
            room = min(wanted, free)
            number, wanted, last = number + 1, wanted - room, at
            insort(self.counted, Sent(at, room))
            if len(first) < SHOWN:
                first.append(Slice(at, room))
        return Forecast(tuple(first), number, None if wanted else last)

    def _used(self, pace: TagPace, at: Instant) -> int:
        while self.counted and self.counted[0].at + pace.per_ms <= at:
            del self.counted[0]
        return sum(each.adds for each in self.counted)

    def _next_free(self, pace: TagPace) -> Instant:
        """When there is room by the pace, and for as many as become free shortly afterwards."""
        used, free_at, latest = sum(each.adds for each in self.counted), 0, 0
        for each in self.counted:
            # counted from the first that leaves room: the wait stays short
            frees_at = each.at + pace.per_ms
            if used < pace.adds and frees_at > free_at + pace.per_ms // _TOGETHER:
                break
            used, latest = used - each.adds, frees_at
            if not free_at and used < pace.adds:
                free_at = frees_at
        return Instant(latest)

    def _open_from(self, at: Instant) -> Instant:
        window = self.rule.window
        if window is None or at >= _FARTHEST:
            return at
        # asked for once an opening: it may have many slices
        if not self.opening[0] <= at < self.opening[1]:
            self.opening = window.find_opening(at)
        return Instant(max(at, self.opening[0]))


def describe_period(milliseconds: int) -> str:
    """`1h`, `90m`: in the largest unit that divides it."""
    minutes, rest = divmod(milliseconds, MINUTE_MS)
    if rest:
        return f"{milliseconds // 1000}s"
    return next(f"{minutes // size}{unit}" for unit, size in _UNITS if minutes % size == 0)


def _describe_days(days: tuple[int, ...]) -> str:
    """`mon-fri`, `mon,wed`."""
    first, last = days[0], days[-1]
    # a range reads better than its days
    if len(days) > 1 and days == tuple(range(first, last + 1)):
        return f"{DAYS[first]}-{DAYS[last]}"
    return ",".join(DAYS[day] for day in days)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _instant(day: date, minutes: int, zone: str) -> Instant:
    moment = datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, tzinfo=_zone(zone))
    return Instant(round(moment.astimezone(UTC).timestamp() * 1000))


def local_time(instant: Instant, zone: str) -> str:
    """`2026-12-01 14:00Z`, or with the name of its zone; rounded up to a minute: who waits does not come too early."""
    # minutes are enough for a person
    rounded = -(-instant // MINUTE_MS) * MINUTE_MS
    text = f"{datetime.fromtimestamp(rounded / 1000, _zone(zone)):%Y-%m-%d %H:%M}"
    return f"{text}Z" if zone == "UTC" else f"{text} {zone}"


def choose_first(contacts: Sequence[ContactId], tag: Tag, number: int) -> Sequence[ContactId]:
    """So many of the contacts: the first ones by a hash of tag and contact."""
    if number >= len(contacts):
        return contacts

    def place(contact: ContactId) -> bytes:
        return sha256(f"{tag}\0{contact}".encode()).digest()

    # not sorted as a whole: of a million contacts a few hundred go
    return nsmallest(number, contacts, key=place) if number else ()
