"""docs/assumptions.md has a row for each switch of the sandbox, with its default and the mark of its docstring."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

from reconciler.core.observing.trial_rows import TRIAL_ROWS
from reconciler.sandbox import assumptions
from reconciler.sandbox.assumptions import list_switches

PAGE = Path(__file__).parents[2] / "docs" / "assumptions.md"
WORDS = {"S": "documented", "F": "observed", "A": "assumed", "?": "open"}
HEAD = ["we take for true", "mark", "if it is wrong", "how to look", "switch"]


def read_rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if row != HEAD and not row[0].startswith("---")]


def read_marks() -> dict[str, set[str]]:
    """The marks of each switch, by the letters before the colons of its docstring."""
    tree = ast.parse(Path(assumptions.__file__).read_text(encoding="utf-8"))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Assumptions"]
    marks = {}
    for member, text in pairwise(body):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            letters = re.findall(r"(?<![A-Za-z])([SFA?])(?=[:,) ])", str(text.value.value))
            marks[member.target.id] = {WORDS[letter] for letter in letters}
    return marks


def test_each_row_says_what_happens_if_it_is_wrong_and_how_to_look() -> None:
    rows = read_rows()
    assert len(rows) > 60
    assert all(len(row) == 5 and all(row[:4]) for row in rows)
    assert all(re.match("|".join(WORDS.values()), row[1]) for row in rows)


def test_each_switch_has_its_row_with_its_default() -> None:
    told = [row[4].strip("`") for row in read_rows() if row[4]]
    assert sorted(told) == sorted(f"{switch.name}={switch.default}" for switch in list_switches())


def test_each_row_of_a_trial_settles_one_of_the_page_and_stands_in_the_guide() -> None:
    looks = [name for row in read_rows() for name in re.findall(r"`doctor --try`: \*([\w-]+)\*", row[3])]
    rows = [question.name for question in TRIAL_ROWS]
    assert sorted(looks) == sorted(rows)
    guide = (PAGE.parent / "how-to" / "try-the-api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\*([a-z][\w-]+)\*", guide)) >= set(rows)


def test_each_row_has_the_marks_of_its_switch() -> None:
    marks = read_marks()
    assert set(map(frozenset, marks.values())) - {frozenset()}
    for row in read_rows():
        if row[4]:
            told = {word for word in WORDS.values() if word in row[1]}
            assert told == marks[row[4].strip("`").partition("=")[0]], row
