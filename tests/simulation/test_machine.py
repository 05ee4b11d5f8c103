"""The state machine over the whole product: some steps by default, 500 times 50 in CI, planted bugs that it notices.

`python -m tests.simulation.machine 10000` plays 10,000 examples on two processors; another number behind it chooses
others.
"""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS, Bug
from tests.simulation.lies import LIES
from tests.simulation.machine import play
from tests.simulation.planted import run_with
from tests.sizes import how_many

SHARDS = 10
EXAMPLES = how_many(500, 2_000)
NOTICED = {
    "name a contact twice": 125,
    "send again after a time-out": 125,
    "take 5xx for known not to have had an effect": 125,
    "take no account of a group's other tags": 30,
    "remove what is kept on leaving": 30,
    "remove what is protected or ignored": 30,
    "read what is in doubt before it can have settled": 30,
    "count what was there already as changed": 30,
    "take a lease that somebody holds": 30,
    "send what a plan file says": 30,
}
"""Bugs that it was seen to notice, each among so many examples."""


@pytest.mark.slow
def test_an_example_keeps_the_invariants() -> None:
    play(0, 1, steps=20)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_many_examples_keep_the_invariants(shard: int) -> None:
    play(1 + shard, EXAMPLES // SHARDS)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in (*BUGS, *LIES) if bug.name in NOTICED], ids=lambda bug: bug.name)
def test_a_planted_bug_is_noticed(bug: Bug) -> None:
    done = run_with(bug, "tests.simulation.machine", str(NOTICED[bug.name]), "1")
    complaints = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert done.returncode == 1, f"nothing noticed it{done.stderr}"
    assert complaints & set(bug.caught.split()), done.stdout


def test_ten_bugs_at_least_are_looked_for() -> None:
    assert len([bug for bug in (*BUGS, *LIES) if bug.name in NOTICED]) == len(NOTICED) >= 10
