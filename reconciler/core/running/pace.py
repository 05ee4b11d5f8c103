"""Rate-limit arithmetic: a sliding log of our own requests, the limits that the API tells, today's quota. Time is
injected.

Rules of the pace
1. A request in flight holds its place: it is not known yet when the API counts it.
2. One that was answered is counted by the API between its departure and its end. A part of that time every request
   takes, the same for all; what goes beyond may lie before the counting as well as after it. So a place is free one
   window after the end, less what every recent request took: nothing is wasted where latencies are equal, and no
   window holds more than the limit where they differ.
3. The limits that the API tells rule over those configured. Where it counts more requests than are ours, others are at
   work: their requests hold places too.
4. The reserve is left to others, of each window and of the day.
5. A 429 is waited out for as long as `Retry-After` says, or for one window; where that was too short, for one window
   at least, even where the headers say that requests are left. It lasts until a request is let through.

Rules of the day's quota: `assume` and `refuse_overrun` before a run, unless it may spill over into the next day;
`quota_wait_ms` before each request
6. The answers' headers rule; until there was an answer, the configured quota less the requests that the journal has of
   today. Readings are not in the journal: the first answer counts them.
7. A run that fitted when it began goes on until its quota is used up, by itself or by others.
8. A 429 that says that today's quota is used up (QuotaExhausted) is known not applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.core.model.api_limits import DAY_MS, Quota, Rate, next_midnight
from reconciler.core.model.errors import ApiError, NotApplied, QuotaExhausted, RateLimited
from reconciler.core.model.journal import RunRecord
from reconciler.core.model.names import Instant, LocationId, iso

SAMPLES = 100
"""The number of the last answers that tell how long an answer takes."""

MOST_PAUSES = 3
PATIENCE_MS = 120_000
"""A limit that lets nothing through for so many pauses and so long is not waited for any more."""


@dataclass(slots=True)
class _Departure:
    """A request on its way, or one that ended; `answered`: by the API."""

    left: Instant
    ended: Instant | None = None
    answered: bool = False


@dataclass(slots=True)
class Pace:
    """When our requests left and ended, and the limits that the API told.

    Before a request: `wait` (`why` says for what) until it is 0, asking again each time, as requests in flight may hold
    their places; then `leave`. When it came to its end: `heed_quota` with the answer's headers, and `end`. `departed`:
    how many left.
    """

    rate: Rate
    not_before: int = 0
    departed: int = 0
    _log: dict[int, _Departure] = field(default_factory=dict)
    _others: int = 0
    _latencies: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _spread: tuple[int, int] = (0, 0)
    """Of the last answers: the credit that the fastest give, and the time of the slowest; milliseconds."""
    _asked: str = ""
    _pauses: int = 0
    _refused_since: Instant = Instant(0)
    _remaining: int | None = None
    _daily_remaining: int | None = None
    _configured: Rate | None = None
    _left_today: int | None = None
    _resets: Instant = Instant(0)

    def wait(self, now: Instant) -> int:
        """Milliseconds until one more may leave, at the earliest; 0: now."""
        self._forget(now)
        until = self.not_before
        free_at = sorted(free for each in self._log.values() if (free := self._free_at(each, now)) > now)
        if len(free_at) >= self.rate.ours:
            # that many places must be free again until one more request fits
            until = max(until, free_at[len(free_at) - self.rate.ours])
        return max(0, until - now)

    def why(self, now: Instant) -> str:
        """The reason that the next request waits: the header that makes it, where it is not our own count alone."""
        header = self._asked if now < self.not_before else self._limiting_header()
        return f"rate limit: {header}" if header else "rate limit"

    def _limiting_header(self) -> str:
        configured = self._configured or self.rate
        if any(ticket < 0 for ticket in self._log):
            return f"X-RateLimit-Remaining: {self._remaining}"
        if self.rate.per_window < configured.per_window:
            return f"X-RateLimit-Max: {self.rate.per_window}"
        if self.rate.window_ms > configured.window_ms:
            return f"X-RateLimit-Interval-Milliseconds: {self.rate.window_ms}"
        return ""

    def why_today(self) -> str:
        """The reason that a request waits where the day's quota is used up."""
        left = self._daily_remaining
        return "today's quota is used up" + ("" if left is None else f": X-RateLimit-Daily-Remaining: {left}")

    def leave(self, now: Instant) -> int:
        """A request leaves; a ticket, with which it ends."""
        self.departed += 1
        self._log[self.departed] = _Departure(now)
        self._turn_day(now)
        if self._left_today is not None:
            self._left_today -= 1
        return self.departed

    def leave_late(self, ticket: int, now: Instant) -> None:
        """The request leaves only now: its intent took time to be written down, which is none of its answer's."""
        self._log[ticket].left = now

    def take_back(self, ticket: int) -> None:
        """The request did not leave."""
        del self._log[ticket]
        if self._left_today is not None:
            self._left_today += 1

    def end(self, ticket: int, now: Instant, *, answered: bool = False) -> None:
        """It came to its end. `answered`: by the API, so that it tells how long an answer takes."""
        departure = self._log[ticket]
        departure.ended, departure.answered = now, answered
        if answered:
            self._pauses = 0
            self._learn(max(0, now - departure.left))

    def heed_quota(self, quota: Quota, now: Instant) -> None:
        """Takes in the headers of an answer."""
        self._configured = self._configured or self.rate
        known = {"per_window": quota.limit, "window_ms": quota.window_ms, "per_day": quota.daily_limit}
        self.rate = replace(self.rate, **{key: value for key, value in known.items() if value is not None})
        if quota.remaining is not None:
            self._remaining = quota.remaining
            self._forget(now)
            # what it counts and is not ours, at the least: of ours it may not have counted some yet
            for _ in range(self.rate.per_window - quota.remaining - len(self._log)):
                self._others += 1
                self._log[-self._others] = _Departure(now, ended=now)
        if quota.daily_remaining is not None:
            self._daily_remaining = quota.daily_remaining
            # requests in flight may not be counted in the header yet
            self._left_today = quota.daily_remaining - self.in_flight
            self._resets = quota.resets_at(now)

    def assume(self, sent: int, now: Instant) -> None:
        """`sent` requests left today before this process; the day has the configured quota, until the API tells."""
        if self._left_today is None:
            self._left_today, self._resets = self.rate.per_day - sent - self.departed, next_midnight(now)

    def heed(self, error: ApiError, now: Instant) -> int | None:
        """Lets no request leave for as long as the server asks with this error, in milliseconds.

        None where it does not ask, or did already when it turned away a request that left at the same time.
        """
        if not isinstance(error, NotApplied):
            return None
        asked = self._window_asked(error, now) if isinstance(error, RateLimited) else error.retry_after_ms
        if not asked:
            return None
        until = now + asked
        if until > self.not_before:
            self.not_before, self._asked = until, error.asked or "429"
        return asked

    def starved_ms(self, now: Instant) -> int:
        """For how long no request was let through, where that is too long to wait; else 0."""
        lasted = now - self._refused_since
        return lasted if self._pauses > MOST_PAUSES and lasted >= PATIENCE_MS else 0

    def _window_asked(self, error: RateLimited, now: Instant) -> int:
        """Milliseconds; 0 where the pause has begun."""
        if self._pauses and now < self.not_before:
            return 0
        if not self._pauses:
            self._refused_since = now
        self._pauses += 1
        asked = error.retry_after_ms or 0
        # the wait that the header named was too short before: a whole window is the least now
        return asked if asked and self._pauses == 1 else max(asked, self.rate.window_ms)

    def left_today(self, now: Instant) -> int | None:
        """Requests that may still be ours until the daily quota starts anew; None where it is not known."""
        self._turn_day(now)
        if self._left_today is None:
            return None
        return max(0, self._left_today - self.rate.reserve(self.rate.per_day))

    def resets_at(self, now: Instant) -> Instant:
        """When the daily quota starts anew: as the API said, else at the next midnight of UTC."""
        return self._resets if now < self._resets else next_midnight(now)

    def _turn_day(self, now: Instant) -> None:
        # a request in flight over midnight may be counted on the new day
        if self._left_today is not None and now >= self._resets:
            self._left_today, self._resets = self.rate.per_day - self.in_flight, next_midnight(now)

    @property
    def in_flight(self) -> int:
        return sum(each.ended is None for each in self._log.values())

    def _free_at(self, departure: _Departure, now: Instant) -> int:
        """When its place is free; while it is in flight, as far as recent answers tell."""
        window, (credit, slowest) = self.rate.window_ms, self._spread
        if departure.ended is not None:
            return departure.ended + window - (credit if departure.answered else 0)
        # in flight: the API may count it as late as at its end, as far as the slowest answer tells
        return max(now, departure.left + slowest) + window - credit

    def _forget(self, now: Instant) -> None:
        """Places that are free, once no answer on its way can count them any more."""
        # an answer on its way may count a request that ended before it: its place is kept until then
        gone = [
            ticket
            for ticket, each in self._log.items()
            if each.ended is not None and self._free_at(each, now) + self._spread[1] <= now
        ]
        for ticket in gone:
            del self._log[ticket]

    def _learn(self, latency: int) -> None:
        """Learns the time that every answer takes, which is trusted the less, the more answers differ."""
        self._latencies.append(latency)
        least, mean = min(self._latencies), sum(self._latencies) // len(self._latencies)
        self._spread = max(0, least - (mean - least) // 4), max(self._latencies)


SLACK_MS = 2_000
"""How long after the day's turn the next request leaves: clocks differ."""

SHARED = (
    "the limits are shared by whatever else asks for this location: other jobs with this token, other apps, Zapier, n8n"
)
APPLY_LATER = "apply again then, or let the run wait with --quota-spill: what was done is not done again"


def sent_today(runs: Iterable[RunRecord], now: Instant) -> int:
    """Requests of a location's runs since the last midnight of UTC; a run that lasted over it counts whole."""
    # too many is the safe side: a run over midnight is not split
    midnight = now // DAY_MS * DAY_MS
    return sum(run.requests for run in runs if (now if run.ended is None else run.ended) >= midnight)


def refuse_overrun(location: LocationId, requests: int, pace: Pace, now: Instant) -> None:
    """Raises QuotaExhausted where so many requests do not fit into the rest of today's quota."""
    left = pace.left_today(now)
    if left is None or requests <= left:
        return
    day, reserve = pace.rate.per_day, pace.rate.reserve(pace.rate.per_day)
    raise QuotaExhausted(
        f"location {location} needs {requests:,} requests, and today's quota of {day:,} has {left:,} left for this run "
        f"(a reserve of {reserve:,} is for others); it starts anew at {iso(pace.resets_at(now))}",
        hint="--quota-spill lets the run wait for that; or apply a part of it now (--set, --tag)",
        resets=pace.resets_at(now),
    )


def quota_wait_ms(location: LocationId, pace: Pace, now: Instant, *, spill: bool, hint: str = APPLY_LATER) -> int:
    """Milliseconds until today's quota lets one more request leave; raises QuotaExhausted with `hint` where none is
    left, unless the run may `spill` over into the next day."""
    left = pace.left_today(now)
    # the API may never tell of a day: then the rate limit alone rules
    if left is None or left > 0:
        return 0
    resets = pace.resets_at(now)
    if spill:
        return resets - now + SLACK_MS
    raise QuotaExhausted(
        f"today's quota of location {location} is used up: {pace.rate.per_day:,} requests, of which "
        f"{pace.rate.reserve(pace.rate.per_day):,} are left to others; it starts anew at {iso(resets)}",
        hint=f"{hint}; {SHARED}",
        resets=resets,
    )


def refuse_starved(location: LocationId, pace: Pace, error: RateLimited, now: Instant) -> None:
    if lasted := pace.starved_ms(now):
        limit = f"{pace.rate.per_window:,} requests in {pace.rate.window_ms / 1000:g} s"
        raise QuotaExhausted(
            f"the rate limit of location {location} ({limit}) let no request through for {lasted // 1000:,} s: "
            f"{error.message}",
            hint=f"{SHARED}; see which of them is at work, and run it again then",
        )
