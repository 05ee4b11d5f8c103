"""Few contacts first, ten times as many then; shares that stop a run."""

from __future__ import annotations

import pytest

from reconciler.core.model.batch import Reason
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Change, Delta
from reconciler.core.running.stop_conditions import Canary, Rates, StopOn, plan_canary_steps, restrict_to_step
from tests.build import ids

CHANGE = (Change(Action.ADD, Tag("x"), Reason.DECLARED),)
CROWD = tuple(sorted(ids(" ".join(f"p{nth:03}" for nth in range(120)))))


@pytest.mark.parametrize(
    ("canary", "sizes"),
    [
        (Canary(1), [1, 10, 100, None]),
        (Canary(5, percent=True), [6, 60, None]),
        (Canary(0.1, percent=True), [1, 10, 100, None]),
        (Canary(120), [None]),
        (Canary(500), [None]),
        (Canary(100, percent=True), [None]),
    ],
)
def test_steps_grow_until_they_are_everybody(canary: Canary, sizes: list[int | None]) -> None:
    found = list(plan_canary_steps([Delta(CHANGE, CROWD[60:]), Delta(CHANGE, CROWD[:60])], canary))
    assert [None if each is None else len(each) for each in found] == sizes
    assert all(each is None or each == frozenset(CROWD[: len(each)]) for each in found)


def test_a_step_has_its_contacts_only() -> None:
    deltas = (Delta(CHANGE, CROWD[:3]), Delta(CHANGE, CROWD[3:5]))
    assert restrict_to_step(deltas, frozenset(CROWD[1:3])) == (Delta(CHANGE, CROWD[1:3]),)


@pytest.mark.parametrize(
    ("rows", "misplaced", "wrong"),
    [(400, 20, False), (399, 20, True), (20, 19, False), (20, 20, True), (500, 25, False)],
)
def test_more_than_a_twentieth_and_at_least_twenty(rows: int, misplaced: int, wrong: bool) -> None:
    assert Rates(rows=rows, misplaced=misplaced).looks_wrong is wrong


@pytest.mark.parametrize(
    ("rates", "few", "said"),
    [
        (Rates(rows=19, errors=19), 20, ""),
        (Rates(rows=19, errors=19), 1, "error_rate is 100.0 % (19 of 19), limit 10 %"),
        (Rates(rows=20, errors=2), 20, ""),
        (Rates(rows=20, errors=3), 20, "error_rate is 15.0 % (3 of 20), limit 10 %"),
        (Rates(rows=50, compared=20, surprised=11), 20, "surprise_rate is 55.0 % (11 of 20), limit 50 %"),
        (Rates(), 1, ""),
    ],
)
def test_a_limit_is_passed_where_there_is_enough_to_judge(rates: Rates, few: int, said: str) -> None:
    assert rates.over(StopOn(errors=10, surprises=50), few=few) == said
    assert rates.over(StopOn(), few=few) == ""
