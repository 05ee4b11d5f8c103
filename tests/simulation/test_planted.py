"""The tests are tested: each of these bugs, planted in a copy of the package, is noticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation.planted import BUGS, escapes, planted


def test_there_are_twenty_bugs_and_each_can_still_be_planted() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20
    for bug in BUGS:
        with planted(bug):
            pass


@pytest.mark.slow
def test_each_planted_bug_is_noticed() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert [why for why in pool.map(escapes, BUGS) if why] == []
