"""The tests are tested: each of these bugs, planted in a copy of the package, is noticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.lies import LIES
from tests.simulation.planted import ROOT, escapes

EVERY = (*BUGS, *LIES)


def test_there_are_forty_bugs_and_each_can_still_be_planted() -> None:
    assert len({bug.name for bug in EVERY}) == len(EVERY) >= 40
    found = {bug.name: (ROOT / "reconciler" / bug.module).read_text().count(bug.old) for bug in EVERY}
    assert found == dict.fromkeys(found, 1)


@pytest.mark.slow
def test_each_planted_bug_is_noticed() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert [how for how in pool.map(escapes, EVERY) if how] == []
