"""Whether requests fit into today's quota: asked before a run begins, and before each of its requests.

Before a run:      `pace.assume(sent_today(runs, now), now)`, then `refuse(location, requests, pace, now)` unless it may
                   spill over into the next day.
Within a run:      before each request, beside the rate limit:

    while milliseconds := room(location, pace, now, spill=spill): wait so long, with heartbeats

A 429 that says that today's quota is used up (QuotaExhausted) is known not applied. Under `spill` the request goes back
to `room`, which by then knows it, as the answer's headers were heard.

Rules
1. What the answers' headers say rules; until there was an answer, what was configured less what the journal says was
   sent today.
2. The reserve is left to the location's other integrations.
3. A run that fitted when it began goes on until nothing is left for it, however much others use up meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.errors import QuotaExhausted
from reconciler.core.journal import RunRecord
from reconciler.core.names import Instant, LocationId, iso
from reconciler.core.pace import DAY_MS, Pace

SLACK_MS = 2_000
"""How long after the day's turn the next request leaves: clocks differ."""


def sent_today(runs: Iterable[RunRecord], now: Instant) -> int:
    """Requests of a location's runs since the last midnight of UTC; a run that lasted over it counts whole."""
    midnight = now // DAY_MS * DAY_MS
    return sum(run.requests for run in runs if (now if run.ended is None else run.ended) >= midnight)


def refuse(location: LocationId, requests: int, pace: Pace, now: Instant) -> None:
    """Raises QuotaExhausted where so many requests do not fit into what is left of today."""
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


def room(location: LocationId, pace: Pace, now: Instant, *, spill: bool) -> int:
    """Milliseconds until today's quota lets one more request leave; raises QuotaExhausted where none is left, unless
    the run may `spill` over into the next day."""
    left = pace.left_today(now)
    if left is None or left > 0:
        return 0
    resets = pace.resets_at(now)
    if spill:
        return resets - now + SLACK_MS
    raise QuotaExhausted(
        f"today's quota of location {location} is used up: {pace.rate.per_day:,} requests, of which "
        f"{pace.rate.reserve(pace.rate.per_day):,} are left to others; it starts anew at {iso(resets)}",
        hint="apply again then, or let the run wait with --quota-spill: what was done is not done again",
        resets=resets,
    )
