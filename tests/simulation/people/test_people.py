"""Small worlds of people who are pulled, each decided by its seed: contacts that move, share, merge and go, files that
are edited, an index that lags, flickers and does not end, faults, deaths, rivals. The rules hold in each, and each bug
that is planted is noticed.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.planting import ROOT
from tests.simulation.bugs import Bug
from tests.simulation.people.bugs import PEOPLE_BUGS
from tests.simulation.people.playing import CELLS, play_people
from tests.simulation.planted import escapes
from tests.sizes import how_many

WORLDS = how_many(50, 1_000)
RARE = (54, 56, 63, 64, 66, 67, 70, 75, 85, 91, 97, 98, 145, 158, 436, 492)
"""Worlds that meet what those before them do not: with them all that the first 100 meet, and more."""
HARMLESS = (70_159, 70_222)
"""Worlds in which somebody leaves a set rightly: another had the value while it was pulled; an earlier key decides."""
CHUNK = 11


def test_every_world_of_people_keeps_the_rules() -> None:
    """The first of those that the slow test plays."""
    met = play_people(range(4))
    assert sum(met.values()) > 100


def test_each_bug_of_a_pull_can_still_be_planted() -> None:
    found = {bug.name: (ROOT / "reconciler" / bug.module).read_text().count(bug.old) for bug in PEOPLE_BUGS}
    assert found == dict.fromkeys(found, 1)
    assert len(found) == len(PEOPLE_BUGS)


@pytest.mark.slow
def test_many_worlds_of_people_meet_every_cell() -> None:
    seeds = [*range(WORLDS), *RARE, *HARMLESS]
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        met: Counter[tuple[str, str]] = sum(pool.map(play_people, chunks), Counter())
    assert [cell for cell in CELLS if not met[cell]] == []


@pytest.mark.slow
@pytest.mark.parametrize("bug", PEOPLE_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_of_a_pull_is_noticed(bug: Bug) -> None:
    assert escapes(bug, hunt="tests.simulation.people.playing") == ""
