"""Small worlds in which a tag is given slowly, each decided by its seed: faults, deaths, waits, two at a time. In no
period are more additions than its pace allows, and in the end everybody has the tag. Others, in which sources fail and
waves follow one another: no wave begins before the one before it ended with 0. Others, in which a set is a filter: a
contact leaves it by two complete searches further apart than the lag alone. Each planted bug is noticed.
"""

from __future__ import annotations

import pytest

from tests.planting import ROOT
from tests.simulation.bugs import Bug
from tests.simulation.planted import escapes
from tests.simulation.release.bugs import FILTER_BUGS, SLOW_BUGS, WAVE_BUGS
from tests.simulation.release.playing import play_filtered, play_slowly, play_waves
from tests.simulation.release.waves import FAILURES

BUGS = (*SLOW_BUGS, *WAVE_BUGS, *FILTER_BUGS)
FILTERED = 3
"""A world of a set by filter that is soon played."""
FILTER_CELLS = (
    ("pull", "killed"), ("scan", "complete"), ("scan", "not complete"), ("filter", "changed"), ("contact", "left"),
    ("tag", "add"), ("tag", "remove"),
)  # fmt: skip
CELLS = (("runs", "two at a time"), ("run", "killed"), ("run", "waits"), ("run", "locked"))


@pytest.mark.slow
def test_every_world_keeps_its_pace() -> None:
    """The first of those that the slow test plays."""
    assert sum(play_slowly([3]).values())


@pytest.mark.slow
def test_a_world_of_a_filter_keeps_its_rules() -> None:
    assert play_filtered([FILTERED])["contact", "left"]


def test_each_bug_of_a_slow_release_can_still_be_planted() -> None:
    found = {bug.name: (ROOT / "reconciler" / bug.module).read_text().count(bug.old) for bug in BUGS}
    assert found == dict.fromkeys(found, 1)
    assert len(found) == len(BUGS)


@pytest.mark.slow
def test_many_worlds_of_slow_releases_meet_every_cell() -> None:
    met = play_slowly(range(20))
    assert [cell for cell in CELLS if not met[cell]] == []


@pytest.mark.slow
@pytest.mark.parametrize("bug", SLOW_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_of_a_slow_release_is_noticed(bug: Bug) -> None:
    assert escapes(bug, hunt="tests.simulation.release.playing") == ""


@pytest.mark.slow
def test_many_worlds_of_rollouts_meet_every_failure_of_a_source() -> None:
    met = play_waves(range(12))
    assert [how for how in FAILURES if not met["source", how]] == []
    assert met["apply", "with a lost answer"]


@pytest.mark.slow
@pytest.mark.parametrize("bug", WAVE_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_of_a_rollout_is_noticed(bug: Bug) -> None:
    assert escapes(bug, hunt="tests.simulation.release.hunt_waves") == ""


@pytest.mark.slow
def test_many_worlds_of_sets_by_filter_meet_every_cell() -> None:
    met = play_filtered(range(20))
    assert [cell for cell in FILTER_CELLS if not met[cell]] == []


@pytest.mark.slow
@pytest.mark.parametrize("bug", FILTER_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_of_a_set_by_filter_is_noticed(bug: Bug) -> None:
    assert escapes(bug, hunt="tests.simulation.release.hunt_filters") == ""
