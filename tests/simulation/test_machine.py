"""The state machine over the whole product: some steps by default, 500 times 50 in CI, planted bugs that it notices.

`python -m tests.simulation.machine 10000` plays 10,000 examples on two processors; another number behind it chooses
others.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulation.bugs import BUGS, Bug
from tests.simulation.lies import LIES
from tests.simulation.machine import PART, play
from tests.simulation.planted import ROOT, planted

SHARDS = 4
EXAMPLES = 500
NOTICED = {
    "say removeAllTags": 1,
    "name a contact twice": 1,
    "send again after a time-out": 1,
    "take 5xx for known not to have had an effect": 1,
    "follow redirects": 1,
    "send the token in a header of its own": 1,
    "say the token in an error": 1,
    "take no account of a group's other tags": 1,
    "remove what is protected or ignored": 1,
    "remove what is kept on leaving": 1,
    "count what was there already as changed": 1,
    "take a lease that somebody holds": 1,
    "send what a plan file says": 1,
}
"""Bugs that it was seen to notice, each with a seed."""


def test_an_example_keeps_the_invariants() -> None:
    play(0, 1, steps=20)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_five_hundred_examples_keep_the_invariants(shard: int) -> None:
    play(1 + shard, EXAMPLES // SHARDS)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in (*BUGS, *LIES) if bug.name in NOTICED], ids=lambda bug: bug.name)
def test_a_planted_bug_is_noticed(bug: Bug) -> None:
    with planted(bug) as environment:
        command = [sys.executable, "-m", "tests.simulation.machine", str(PART), str(NOTICED[bug.name])]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    complaints = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert done.returncode == 1, f"nothing noticed it{done.stderr}"
    assert complaints & set(bug.caught.split()), done.stdout


def test_ten_bugs_at_least_are_looked_for() -> None:
    assert len([bug for bug in (*BUGS, *LIES) if bug.name in NOTICED]) == len(NOTICED) >= 10
