"""What the rows of several runs tell beside one another."""

from __future__ import annotations

from reconciler.core.model.names import Tag
from reconciler.core.observing.attribution import compute_trend
from tests.render.documents import some_logs


def test_others_are_told_from_us_and_holders_are_counted() -> None:
    """Between the second and the third run somebody took vip from anna and gave her trial."""
    found = compute_trend(some_logs())
    second, third = (log.record.header.started for log in some_logs()[1:3])
    assert found.changed == ((second, 2), (third, 3))
    assert found.drifted == ((second, 0), (third, 2))
    assert found.holders[Tag("vip")] == ((second, 2), (third, 3))
    assert found.holders[Tag("trial")] == ((third, 1),)


def test_runs_that_were_answered_nothing_have_no_point() -> None:
    first, *_, last = some_logs()
    assert compute_trend([first, last]).changed == ()
