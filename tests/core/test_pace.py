"""The rate limit: never more than the limit in any window, whatever arrives when; and how long a plan takes at it.

The oracle is pyrate-limiter's sliding log, which lets exactly the limit through in a window.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrate_limiter import InMemoryBucket, RateItem
from pyrate_limiter import Rate as OracleRate

from reconciler.core.model.api_limits import DAY_MS, Quota, Rate, duration
from reconciler.core.model.errors import InDoubt, NotApplied
from reconciler.core.model.names import Instant
from reconciler.core.running.pace import Pace
from tests.build import NOW

gaps = st.lists(st.sampled_from((0, 1, 9, 250, 999, 1_000, 1_001, 30_000)), max_size=60)
rates = st.builds(Rate, per_window=st.integers(1, 6), window_ms=st.sampled_from((2, 10, 1_000, 10_000)))


def departures(pace: Pace, gaps: list[int], *, lasts: int = 0) -> list[int]:
    """Requests that come `gaps` after one another, one at a time; when each of them ended."""
    now: int = NOW
    ended: list[int] = []
    for gap in gaps:
        now += gap
        while wait := pace.wait(Instant(now)):
            now += wait
        ticket = pace.leave(Instant(now))
        now += lasts
        pace.end(ticket, Instant(now))
        ended.append(now)
    return ended


@given(rates, gaps, st.sampled_from((0, 1, 700)))
def test_no_window_holds_more_than_the_limit(rate: Rate, gaps: list[int], lasts: int) -> None:
    ended = departures(Pace(rate), gaps, lasts=lasts)
    for first, last in zip(ended, ended[rate.per_window :], strict=False):
        assert last - first >= rate.window_ms


@given(rates, st.lists(st.sampled_from((0, 1, 3, 9, 10, 250, 999, 1_000, 1_001)), max_size=80))
def test_the_oracle_lets_through_the_same_requests_at_no_latency(rate: Rate, gaps: list[int]) -> None:
    """Each request that comes is let through or turned away, by both alike; its windows have both their ends."""
    pace, oracle = Pace(rate), InMemoryBucket([OracleRate(rate.per_window, rate.window_ms - 1)])
    now = int(NOW)
    for gap in gaps:
        now += gap
        ours = pace.wait(Instant(now)) == 0
        assert bool(oracle.put(RateItem("request", now))) == ours
        if ours:
            pace.end(pace.leave(Instant(now)), Instant(now), answered=True)


def run_through(
    pace: Pace, latencies: list[int], *, in_flight: int, share: float, answered: bool = True
) -> tuple[list[int], int]:
    """Sends as fast as it may, `in_flight` at most; when the API counted each, and when the last one ended.

    The API counts a request when the `share` of what it takes is over.
    """
    now, under_way, counted = int(NOW), list[tuple[int, int]](), list[int]()
    for latency in latencies:
        while True:
            while under_way and under_way[0][0] <= now:
                end, ticket = heappop(under_way)
                pace.end(ticket, Instant(end), answered=answered)
            wait = pace.wait(Instant(now))
            if not wait and len(under_way) < in_flight:
                break
            ends = [under_way[0][0]] if under_way else []
            now = min([now + wait, *ends] if wait else ends)
        ticket = pace.leave(Instant(now))
        heappush(under_way, (now + latency, ticket))
        counted.append(now + round(latency * share))
    return sorted(counted), max(end for end, _ in under_way)


def most_in_a_window(counted: list[int], window_ms: int) -> int:
    first, most = 0, 0
    for last, moment in enumerate(counted):
        while moment - counted[first] >= window_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("latency", [20, 2_000, 15_000])
def test_latency_costs_nothing_where_it_does_not_vary(latency: int, share: float) -> None:
    """2,000 requests at 100 in 10 s: 95 % of the rate and more, wherever in its course the API counts a request."""
    pace = Pace(Rate(reserve_pct=3))
    needed = max(20, 12 * latency // 1_000)
    counted, end = run_through(pace, [latency] * 2_000, in_flight=needed, share=share)
    assert most_in_a_window(counted, 10_000) <= 97
    assert 2_000 / (end - latency - NOW) >= 0.95 * 100 / 10_000


@given(st.integers(0, 10_000), st.sampled_from((0.0, 0.5, 1.0)), st.integers(2, 8), st.booleans())
def test_no_window_of_the_api_holds_more_whatever_lasts_how_long(
    seed: int, share: float, limit: int, answered: bool
) -> None:
    """Latencies differ by far; what the quickest answer takes, every request takes."""
    random = Random(seed)
    latencies = [300, *(random.choice((300, 310, 700, 2_000, 9_000)) for _ in range(60))]
    pace = Pace(Rate(limit, 1_000))
    counted, _ = run_through(pace, latencies, in_flight=random.randrange(1, 12), share=share, answered=answered)
    assert most_in_a_window(counted, 1_000) <= limit


@pytest.mark.slow
def test_jittered_latencies_cost_what_they_differ_by() -> None:
    random = Random(7)
    latencies = [2_000 + random.randrange(400) for _ in range(2_000)]
    counted, end = run_through(Pace(Rate()), latencies, in_flight=25, share=1.0)
    assert most_in_a_window(counted, 10_000) <= 100
    assert 2_000 / (end - NOW) >= 0.9 * 100 / 10_000


def test_a_request_in_flight_holds_its_place() -> None:
    pace = Pace(Rate(2, 1_000))
    first, _ = pace.leave(NOW), pace.leave(NOW)
    assert pace.wait(Instant(NOW + 50_000)) == 1_000
    pace.end(first, Instant(NOW + 50_000))
    assert pace.wait(Instant(NOW + 50_999)) == 1
    assert pace.wait(Instant(NOW + 51_000)) == 0


def test_a_request_without_an_answer_counts_from_its_end_and_tells_no_latency() -> None:
    pace = Pace(Rate(1, 1_000))
    pace.end(pace.leave(NOW), Instant(NOW + 100), answered=True)
    pace.end(pace.leave(Instant(NOW + 1_000)), Instant(NOW + 1_001))
    assert pace.wait(Instant(NOW + 1_001)) == 1_000
    pace.end(pace.leave(Instant(NOW + 3_000)), Instant(NOW + 3_100), answered=True)
    assert pace.wait(Instant(NOW + 3_100)) == 900


def test_a_pause_asked_for_by_the_server_holds() -> None:
    pace = Pace(Rate())
    assert pace.heed(NotApplied("", retry_after_ms=500), NOW) == 500
    pace.heed(NotApplied("", retry_after_ms=200), NOW)
    assert pace.heed(InDoubt(""), NOW) is None
    assert [pace.wait(Instant(NOW + after)) for after in (0, 499, 500, 900)] == [500, 1, 0, 0]


def test_a_wait_that_a_header_causes_names_header_and_value() -> None:
    pace = Pace(Rate(10, 1_000))
    assert pace.why(NOW) == "rate limit"
    pace.heed(NotApplied("", retry_after_ms=30_000, asked="Retry-After: 30"), NOW)
    assert [pace.why(Instant(NOW + after)) for after in (0, 29_999, 30_000)] == [
        "rate limit: Retry-After: 30",
        "rate limit: Retry-After: 30",
        "rate limit",
    ]


@pytest.mark.parametrize(
    ("quota", "header"),
    [
        (Quota(limit=10, remaining=2, window_ms=1_000), "X-RateLimit-Remaining: 2"),
        (Quota(limit=1), "X-RateLimit-Max: 1"),
        (Quota(limit=10, window_ms=3_600_000), "X-RateLimit-Interval-Milliseconds: 3600000"),
        (Quota(limit=20, window_ms=500), ""),
    ],
)
def test_a_limit_that_a_header_lowers_is_named(quota: Quota, header: str) -> None:
    pace = Pace(Rate(10, 1_000))
    pace.heed_quota(quota, NOW)
    assert pace.why(NOW) == (f"rate limit: {header}" if header else "rate limit")


def test_a_day_that_a_header_says_to_be_used_up_is_named() -> None:
    pace = Pace(Rate())
    assert pace.why_today() == "today's quota is used up"
    pace.heed_quota(Quota(daily_remaining=0), NOW)
    assert pace.why_today() == "today's quota is used up: X-RateLimit-Daily-Remaining: 0"


def test_what_the_api_says_rules() -> None:
    pace = Pace(Rate(per_window=100, reserve_pct=10))
    pace.heed_quota(Quota(limit=20, window_ms=5_000, daily_limit=1_000), NOW)
    assert pace.rate == Rate(20, 5_000, 1_000, 10)
    assert [pace.wait(NOW) for _ in range(18) if pace.leave(NOW)] == [0] * 17 + [5_000]
    assert Pace(replace(pace.rate, per_window=1, reserve_pct=50)).rate.ours == 1


def test_requests_of_others_take_places() -> None:
    pace = Pace(Rate(10, 1_000))
    ticket = pace.leave(NOW)
    pace.heed_quota(Quota(limit=10, remaining=2), Instant(NOW + 20))
    pace.end(ticket, Instant(NOW + 20), answered=True)
    assert pace.wait(Instant(NOW + 20)) == 0
    pace.leave(Instant(NOW + 20))
    pace.leave(Instant(NOW + 20))
    assert pace.wait(Instant(NOW + 20)) == 980
    # the same seven again are no new ones
    pace.heed_quota(Quota(limit=10, remaining=0), Instant(NOW + 30))
    assert pace.wait(Instant(NOW + 1_000)) == 0


@given(st.lists(st.sampled_from((0, 5, 40, 400)), min_size=30, max_size=60), st.integers(0, 900))
def test_our_own_requests_are_never_taken_for_others(gaps: list[int], latency: int) -> None:
    """The API tells what it had counted when it let the request pass; the answer comes `latency` later."""
    told, untold = Pace(Rate(10, 1_000)), Pace(Rate(10, 1_000))
    counted: list[int] = []
    answers: list[tuple[int, int, int]] = []

    def hear(until: int) -> None:
        while answers and answers[0][0] <= until:
            at, ticket, used = answers.pop(0)
            told.heed_quota(Quota(limit=10, remaining=10 - used), Instant(at))
            for pace in (told, untold):
                pace.end(ticket, Instant(at), answered=True)

    now = int(NOW)
    for gap in gaps:
        now += gap
        hear(now)
        while wait := untold.wait(Instant(now)):
            now = min(now + wait, answers[0][0]) if answers else now + wait
            hear(now)
        assert told.wait(Instant(now)) == 0
        counted = [each for each in counted if now - each < 1_000] + [now]
        answers.append((now + latency, told.leave(Instant(now)), len(counted)))
        untold.leave(Instant(now))


def test_what_is_left_today() -> None:
    pace = Pace(Rate(per_day=1_000, reserve_pct=10))
    assert pace.left_today(NOW) is None
    ticket = pace.leave(NOW)
    pace.heed_quota(Quota(daily_remaining=500, daily_reset=60_000), NOW)
    pace.end(ticket, NOW)
    assert pace.left_today(NOW) == 500 - 1 - 100
    pace.leave(NOW)
    assert pace.left_today(Instant(NOW + 59_999)) == 398
    assert pace.resets_at(NOW) == NOW + 60_000
    # a new day has everything but what is still in flight
    assert pace.left_today(Instant(NOW + 60_000)) == 1_000 - 1 - 100
    pace.heed_quota(Quota(daily_remaining=3), NOW)
    assert pace.left_today(NOW) == 0


def test_what_was_sent_before_counts_until_the_api_knows_better() -> None:
    pace = Pace(Rate(per_day=1_000))
    pace.assume(300, NOW)
    assert pace.left_today(NOW) == 700
    pace.heed_quota(Quota(daily_remaining=20), NOW)
    pace.assume(300, NOW)
    assert pace.left_today(NOW) == 20


@pytest.mark.parametrize(
    ("given", "after"),
    [
        (0, 0),
        (5_000, 5_000),
        (int(NOW) + 7_000, 7_000),
        (int(NOW) - 7_000, DAY_MS - NOW % DAY_MS),
        (DAY_MS * 9, DAY_MS - NOW % DAY_MS),
        (None, DAY_MS - NOW % DAY_MS),
    ],
)
def test_when_the_day_starts_anew(given: int | None, after: int) -> None:
    assert Quota(daily_reset=given).resets_at(NOW) == NOW + after


@pytest.mark.parametrize(
    ("requests", "milliseconds"), [(0, 0), (1, 0), (100, 0), (101, 10_000), (200, 10_000), (201, 20_000)]
)
def test_how_long_requests_take_at_the_limit(requests: int, milliseconds: int) -> None:
    assert duration(requests, Rate()) == milliseconds


@given(rates, st.integers(0, 60))
def test_a_plan_takes_as_long_as_was_said(rate: Rate, requests: int) -> None:
    left = departures(Pace(rate), [0] * requests)
    assert duration(requests, rate) == (left[-1] - NOW if left else 0)
