"""docs/invariants.md: each invariant has tests that are there, and planted bugs that are there and are about it."""

from __future__ import annotations

import re

import pytest

from tests.ci.guards import GUARDS
from tests.docs.pages import ROOT
from tests.planted_rules import RULES
from tests.simulation.bugs import BUGS
from tests.simulation.lies import LIES
from tests.simulation.people.bugs import PEOPLE_BUGS
from tests.simulation.release.bugs import FILTER_BUGS, SLOW_BUGS, WAVE_BUGS

PAGE = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \[(\d+)\]\(contract\.md#invariant-\1\)[^|]*\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
ROWS = {int(number): (tests, bugs) for number, tests, bugs in ROW.findall(PAGE)}
WORLDS = {bug.name: bug.caught.split() for bug in (*BUGS, *LIES)}
NOTICED = {bug.name: bug.caught.partition("[")[0] for bug in (*GUARDS, *RULES)}
"""The test that fails of a bug that no world has to notice."""
OTHERS = {bug.name for bug in (*GUARDS, *RULES, *PEOPLE_BUGS, *SLOW_BUGS, *WAVE_BUGS, *FILTER_BUGS)}


def test_every_invariant_of_the_contract_has_a_row() -> None:
    assert list(ROWS) == [int(number) for number in re.findall(r"^### Invariant (\d+)$", CONTRACT, re.M)]


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    assert [test for path, test in named if f"def {test}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("number", ROWS)
def test_an_invariant_has_a_test_and_a_planted_bug_about_it(number: int) -> None:
    tests, bugs = ROWS[number]
    assert "Worlds" in tests or "::" in tests
    named = re.findall(r'"([^"]+)"', bugs)
    assert named
    assert [bug for bug in named if bug not in OTHERS and str(number) not in WORLDS[bug]] == []
    assert [bug for bug in named if bug in NOTICED and f"`{NOTICED[bug]}`" not in tests] == []
