"""The tests of what files say, of who holds the lock, and of what no world judges are tested: without any one guard one
of them fails.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.ci.guards import GUARDS
from tests.planted_rules import RULES
from tests.planting import ROOT
from tests.simulation.bugs import Bug
from tests.simulation.planted import run_with

PLANTED = (*GUARDS, *RULES)
PYTEST = ("pytest", "-n", "0", "-x", "-m", "", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--tb", "line",
          "-W", "ignore::pytest.PytestAssertRewriteWarning")  # fmt: skip
"""What was imported already, is not rewritten."""


def test_each_guard_can_still_be_taken_away_and_its_test_is_there() -> None:
    assert len({bug.name for bug in PLANTED}) == len(PLANTED) >= 30
    found = {bug.name: (ROOT / "reconciler" / bug.module).read_text().count(bug.old) for bug in PLANTED}
    assert found == dict.fromkeys(found, 1)
    for bug in PLANTED:
        page, _, test = bug.caught.partition("::")
        assert f"def {test.partition('[')[0]}(" in (ROOT / page).read_text(), bug.name


def escapes(bug: Bug) -> str:
    """How the bug got past its test; empty where the test failed, and did not end otherwise."""
    done = run_with(bug, *PYTEST, bug.caught)
    if done.returncode == 1 and re.search(r"^1 failed\b", done.stdout, re.MULTILINE):
        return ""
    return f"{bug.name}: {bug.caught} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.slow
def test_a_test_passes_where_no_guard_is_taken_away() -> None:
    """The bugs are what fails, and not how the tests are run."""
    done = run_with(replace(PLANTED[0], new=PLANTED[0].old), *PYTEST, PLANTED[0].caught)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_guard_is_missed_where_it_is_taken_away(bug: Bug) -> None:
    assert escapes(bug) == ""
