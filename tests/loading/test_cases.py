"""Golden cases: each folder of `cases` holds manifests and, in expected.txt, every problem that they have.

`pytest --bless` rewrites the expected files; read the difference before committing it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.manifests.checks import CHECKS
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import parse_instant
from reconciler.loading import load

HOME = Path(__file__).parent / "cases"
CASES = sorted(path.name for path in HOME.iterdir())
NOW = parse_instant("2026-06-01T00:00:00Z")

# Shown by their own tests: it takes more contacts than a golden folder should hold.
_ELSEWHERE = {"set-size"}


def found() -> tuple[Problem, ...]:
    try:
        return load("manifests", now=NOW).problems
    except InvalidInput as error:
        return error.problems


@pytest.mark.parametrize("name", CASES)
def test_every_problem_is_told_with_its_place(name: str, bless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME / name)
    told = "".join(f"{problem}  [{problem.check}]\n" for problem in found())
    expected = HOME / name / "expected.txt"
    if bless:
        expected.write_text(told, encoding="utf-8")
    assert told == expected.read_text(encoding="utf-8")


def test_every_check_has_a_case() -> None:
    told = "".join((HOME / name / "expected.txt").read_text(encoding="utf-8") for name in CASES)
    assert {check.name for check in CHECKS if f"[{check.name}]" not in told} == _ELSEWHERE
