"""Whether requests fit into today's quota: asked before a run begins, and before each of its requests; and back-off.

Before a run:      `pace.assume(sent_today(runs, now), now)`, then `refuse(location, requests, pace, now)` unless it may
                   spill over into the next day.
Within a run, or a reading:    before each request, beside the rate limit:

    while milliseconds := room(location, pace, now, spill=spill): wait so long, with heartbeats

After a request that failed and may be sent again: `Tries.pause`, one `Tries` a request.

A 429 that says that today's quota is used up (QuotaExhausted) is known not applied. Under `spill` the request goes back
to `room`, which by then knows it, as the answer's headers told it.

Rules
1. The answers' headers rule; until there was an answer, the configured quota less the requests that the journal has of
   today. Readings are not in the journal: the first answer counts them.
2. The reserve is left to the location's other integrations.
3. A run that fitted when it began goes on until its quota is used up, by itself or by others.
4. A pause before another try is drawn evenly between nothing and a ceiling that doubles with each attempt: many clients
   that were turned away together do not come back together. The wait that the server asks for comes on top of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.model.api_limits import DAY_MS
from reconciler.core.model.errors import InDoubt, NotApplied, NoWay, QuotaExhausted, RateLimited
from reconciler.core.model.journal import RunRecord
from reconciler.core.model.names import Instant, LocationId, iso
from reconciler.core.running.pace import Pace

SLACK_MS = 2_000
"""How long after the day's turn the next request leaves: clocks differ."""

SHARED = (
    "the limits are shared by whatever else asks for this location: other jobs with this token, other apps, Zapier, n8n"
)
APPLY_LATER = "apply again then, or let the run wait with --quota-spill: what was done is not done again"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Milliseconds of the first ceiling and of the highest, and how often a request is tried again."""

    first_ms: int = 1_000
    most_ms: int = 30_000
    retries: int = 5

    def pause(self, attempt: int, chance: float, *, asked_ms: int | None = None) -> int | None:
        """Milliseconds before attempt `attempt` + 1, attempts counting from 0; None where enough was tried.

        `chance`: from 0 to 1, drawn evenly.
        """
        if attempt >= self.retries:
            return None
        # the draw on top: clients that were told the same wait would come back together
        return (asked_ms or 0) + round(chance * self.ceiling(attempt))

    def ceiling(self, attempt: int) -> int:
        # 60 doublings are beyond any ceiling; more would only make large numbers
        return min(self.most_ms, self.first_ms << min(attempt, 60))


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


@dataclass(slots=True)
class Tries:
    """How often one request failed that may be sent again. A 429 is no failure of its own: it is waited out."""

    backoff: Backoff = Backoff(retries=4)
    failed: int = 0

    def pause(
        self, location: LocationId, pace: Pace, error: NotApplied | InDoubt, now: Instant, *, chance: float
    ) -> int | None:
        """Milliseconds before the next try, 0 where the pace alone rules; None where enough was tried.

        Raises QuotaExhausted where the rate limit lets no request through for too long to wait.
        """
        # another try would end alike
        if isinstance(error, NoWay):
            return None
        asked = pace.heed(error, now)
        if isinstance(error, RateLimited):
            _refuse_starved(location, pace, error, now)
            return self.backoff.pause(0, chance, asked_ms=asked) if asked else 0
        self.failed += 1
        return self.backoff.pause(self.failed - 1, chance, asked_ms=asked)


def _refuse_starved(location: LocationId, pace: Pace, error: RateLimited, now: Instant) -> None:
    if lasted := pace.starved_ms(now):
        limit = f"{pace.rate.per_window:,} requests in {pace.rate.window_ms / 1000:g} s"
        raise QuotaExhausted(
            f"the rate limit of location {location} ({limit}) let no request through for {lasted // 1000:,} s: "
            f"{error.message}",
            hint=f"{SHARED}; see which of them is at work, and run it again then",
        )
