"""Pauses: bounded, never shorter than asked for, spread over all of their ceiling."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from reconciler.request_gate import Backoff

backoffs = st.builds(Backoff, st.integers(1, 5_000), st.integers(5_000, 60_000), st.integers(0, 12))
chances = st.floats(0, 1, exclude_max=True)


@given(backoffs, st.integers(0, 1_000), chances, st.none() | st.integers(0, 3_600_000))
def test_a_pause_is_bounded_and_no_shorter_than_asked_for(
    backoff: Backoff, attempt: int, chance: float, asked: int | None
) -> None:
    pause = backoff.pause(attempt, chance, asked_ms=asked)
    if attempt >= backoff.retries:
        assert pause is None
    else:
        assert pause is not None
        assert (asked or 0) <= pause <= (asked or 0) + backoff.most_ms


def test_ceilings_double_up_to_the_highest() -> None:
    assert [Backoff(1_000, 9_000).ceiling(nth) for nth in range(6)] == [1_000, 2_000, 4_000, 8_000, 9_000, 9_000]
    assert Backoff().ceiling(10**9) == 30_000


def test_pauses_are_spread_over_all_of_the_ceiling() -> None:
    random = Random(1)
    tenths = {Backoff().pause(2, random.random()) // 400 for _ in range(1_000)}  # type: ignore[operator]
    assert tenths == set(range(10)) | ({10} & tenths)


def test_the_same_chance_gives_the_same_pauses() -> None:
    drawn = [[Backoff().pause(attempt, random.random()) for attempt in range(6)] for random in (Random(3), Random(3))]
    assert drawn[0] == drawn[1]
    assert drawn[0][-1] is None
