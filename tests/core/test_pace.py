"""The rate limit: never more than the limit in any window, whatever arrives when; and how long a plan takes at it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.names import Instant
from reconciler.core.pace import Pace, Rate, duration
from tests.build import NOW

gaps = st.lists(st.sampled_from((0, 1, 9, 250, 999, 1_000, 1_001, 30_000)), max_size=60)
rates = st.builds(Rate, per_window=st.integers(1, 6), window_ms=st.sampled_from((1, 10, 1_000, 10_000)))


def departures(pace: Pace, gaps: list[int], *, lasts: int = 0) -> list[int]:
    """Requests that come `gaps` after one another, each noted when it ended."""
    now: int = NOW
    left: list[int] = []
    for gap in gaps:
        now += gap
        now += pace.wait(Instant(now))
        assert pace.wait(Instant(now)) == 0
        now += lasts
        pace.note(Instant(now))
        left.append(now)
    return left


@given(rates, gaps, st.sampled_from((0, 1, 700)))
def test_no_window_holds_more_than_the_limit(rate: Rate, gaps: list[int], lasts: int) -> None:
    left = departures(Pace(rate), gaps, lasts=lasts)
    for first, last in zip(left, left[rate.per_window :], strict=False):
        assert last - first >= rate.window_ms


@given(rates, gaps)
def test_nothing_waits_without_need(rate: Rate, gaps: list[int]) -> None:
    """A request leaves when it comes, or one window after the one that it has to make room for."""
    pace, came = Pace(rate), int(NOW)
    left: list[int] = []
    for gap in gaps:
        came = max(came + gap, left[-1] if left else came)
        wait = pace.wait(Instant(came))
        room = left[-rate.per_window] + rate.window_ms if len(left) >= rate.per_window else 0
        assert came + wait == max(came, room)
        pace.note(Instant(came + wait))
        left.append(came + wait)


def test_requests_noted_without_asking_count_too() -> None:
    pace = Pace(Rate(per_window=2, window_ms=1_000))
    for moment in (NOW, NOW + 100, NOW + 200):
        pace.note(Instant(moment))
    assert pace.wait(Instant(NOW + 300)) == 800


def test_a_pause_asked_for_by_the_server_holds() -> None:
    pace = Pace(Rate())
    pace.back_off(Instant(NOW + 500))
    pace.back_off(Instant(NOW + 200))
    assert [pace.wait(Instant(NOW + after)) for after in (0, 499, 500, 900)] == [500, 1, 0, 0]


@pytest.mark.parametrize(
    ("requests", "milliseconds"), [(0, 0), (1, 0), (100, 0), (101, 10_000), (200, 10_000), (201, 20_000)]
)
def test_how_long_requests_take_at_the_limit(requests: int, milliseconds: int) -> None:
    assert duration(requests, Rate()) == milliseconds


@given(rates, st.integers(0, 60))
def test_a_plan_takes_as_long_as_was_said(rate: Rate, requests: int) -> None:
    left = departures(Pace(rate), [0] * requests)
    assert duration(requests, rate) == (left[-1] - NOW if left else 0)
