"""A workflow that takes its trigger tag away the moment it comes, and a run every day for a month: nobody gets a mail
every day.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Action
from tests.build import plan_options
from tests.fakes import directory_in_memory
from tests.simulation.declared import ONCE, PEOPLE, Declared, Rules, SetText
from tests.simulation.invariants import check
from tests.simulation.place import RUNS, Trouble
from tests.simulation.story import NO_LIMITS
from tests.simulation.town import HERE, Town

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
DAYS = 30


def a_month(directory: Path, *, once: bool) -> dict[str, list[Instant]]:
    """When the tag came to each contact through us, in a month of daily runs that look before they plan."""
    town = Town(directory, random.Random(1))
    town.commit(HERE, Declared((SetText(PEOPLE, tags=(ONCE,)),), Rules(once=once)))
    town.places[HERE].befall(Trouble(consumes_after_ms=0))
    for _ in range(DAYS):
        town.execute(town.new_run(plan_options(limits=NO_LIMITS, now=town.clock.now()), refresh="get"))
        town.pass_ms(DAY_MS)
    check(town)
    log = [each for each in town.places[HERE].crm.transitions if each.by in RUNS and each.action is Action.ADD]
    town.close()
    return {who: [each.at for each in log if each.contact == who] for who in PEOPLE}


@pytest.mark.slow
@pytest.mark.parametrize("once", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_consumed_tag_is_put_back_once_a_week_at_most(*, once: bool) -> None:
    with directory_in_memory() as directory:
        added = a_month(directory, once=once)
    for times in added.values():
        if once:
            assert len(times) == 1
        else:
            restores = times[1:]
            assert 2 <= len(restores) <= 5
            assert all(after - before >= WEEK_MS for before, after in pairwise(restores))
