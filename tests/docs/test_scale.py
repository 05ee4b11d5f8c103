"""docs/scale.md: each derived figure is what its formula makes of the given and the measured ones."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<value>[\d,.]+) \|(?: `(?P<formula>[^`]+)` \|)?", re.M)


def compute(text: str, known: Mapping[str, float]) -> float:
    """The value of a formula; KeyError for a name that stands in no row above."""

    def value_of(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name):
                return known[name]
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATIONS[type(op)](value_of(left), value_of(right))
        raise ValueError(f"no formula: {text}")

    return value_of(ast.parse(text, mode="eval").body)


def faults(page: str) -> Iterator[str]:
    """Each figure that is not what its formula makes, to the digits that it is written with."""
    known: dict[str, float] = {}
    for row in ROW.finditer(page):
        name, written = row["name"], row["value"].replace(",", "")
        known[name] = float(written)
        if row["formula"] is not None:
            # exact, before it is written: rounded ones would add up
            known[name] = compute(row["formula"], known)
            if abs(known[name] - float(written)) > 0.5 * 10 ** -len(written.partition(".")[2]):
                yield f"{name}: {row['value']}, and {row['formula']} is {known[name]:g}"


def test_each_derived_figure_follows_from_measured_ones() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert list(faults(page)) == []
    derived = page.partition("## Derived")[2].partition("\n## ")[0]
    assert all(row["formula"] for row in ROW.finditer(derived))
    assert len(ROW.findall(derived)) == derived.count("\n| `") >= 20


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("| `a` | 3 | |\n| `b` | 6.0 | `2 * a` | |", ""),
        ("| `a` | 3 | |\n| `b` | 6.1 | `2 * a` | |", "b: 6.1, and 2 * a is 6"),
    ],
)
def test_a_figure_that_does_not_follow_is_found(page: str, fault: str) -> None:
    assert "".join(faults(page)) == fault
