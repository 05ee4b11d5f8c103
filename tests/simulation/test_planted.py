"""The tests are tested: each of these bugs, planted in a process of its own, is noticed."""

from __future__ import annotations

import pytest

from tests.planting import ROOT
from tests.simulation.bugs import BUGS, Bug
from tests.simulation.first_seen import FIRST_SEEN
from tests.simulation.lies import LIES
from tests.simulation.people.bugs import PEOPLE_BUGS
from tests.simulation.planted import escapes
from tests.simulation.release.bugs import FILTER_BUGS, SLOW_BUGS, WAVE_BUGS

EVERY = (*BUGS, *LIES)


def test_there_are_forty_bugs_and_each_can_still_be_planted() -> None:
    assert len({bug.name for bug in EVERY}) == len(EVERY) >= 40
    found = {bug.name: (ROOT / "reconciler" / bug.module).read_text().count(bug.old) for bug in EVERY}
    assert found == dict.fromkeys(found, 1)


def test_what_is_played_first_is_played_for_a_bug_that_there_is() -> None:
    planted = (*EVERY, *PEOPLE_BUGS, *SLOW_BUGS, *WAVE_BUGS, *FILTER_BUGS)
    assert FIRST_SEEN.keys() <= {bug.name for bug in planted}


@pytest.mark.slow
@pytest.mark.parametrize("bug", EVERY, ids=lambda bug: bug.name)
def test_a_planted_bug_is_noticed(bug: Bug) -> None:
    assert escapes(bug) == ""
