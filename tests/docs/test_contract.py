"""What code and tests cite of docs/contract.md stands in it, and a test names each of its invariants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
SECTIONS = {int(number) for number in re.findall(r"^## (\d+)\. ", CONTRACT, re.M)}
RULES = re.findall(r"^\*\*(\d+\.\d+)\*\* ", CONTRACT, re.M)
INVARIANTS = [int(number) for number in re.findall(r"^### Invariant (\d+)$", CONTRACT, re.M)]

LIST = r"(\d+(?:(?:, | and |, and )\d+)*)"
SENTENCE = re.compile(rf'"""{LIST}: |f"(\d+): ')
"""In tests/simulation a check, and each violation that it tells, begins with the number of its invariant."""


def _sources(*directories: str) -> Iterator[tuple[Path, str]]:
    """Code and tests without this module, as one line each: a citation may be wrapped."""
    for directory in directories:
        yield from _sources_in(directory)


@cache
def _sources_in(directory: str) -> list[tuple[Path, str]]:
    paths = [path for path in sorted((ROOT / directory).rglob("*.py")) if path != Path(__file__)]
    return [(path.relative_to(ROOT), " ".join(path.read_text(encoding="utf-8").split())) for path in paths]


def _numbers(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


def _invariants_named(text: str) -> set[int]:
    return {number for found in re.findall(rf"\b[Ii]nvariants? {LIST}", text) for number in _numbers(found)}


def test_sections_rules_and_invariants_are_numbered_through() -> None:
    assert sorted(SECTIONS) == list(range(1, 12))
    assert list(range(1, 19)) == INVARIANTS
    for section in SECTIONS - {11}:
        mine = [rule for rule in RULES if rule.startswith(f"{section}.")]
        assert mine == [f"{section}.{number}" for number in range(1, len(mine) + 1)]
        assert mine


@pytest.mark.slow
def test_every_number_that_is_cited_is_there() -> None:
    wrong = []
    for path, text in _sources("reconciler", "tests"):
        wrong += [(path, number) for number in _invariants_named(text) - set(INVARIANTS)]
        for found in re.findall(rf"contract(?:\.md)?`?\)?(?:,| \(its)? sections? {LIST}", text):
            wrong += [(path, number) for number in _numbers(found) - SECTIONS]
        wrong += [(path, rule) for rule in re.findall(r"\bcontract (\d+\.\d+)", text) if rule not in RULES]
    assert wrong == []


def test_every_invariant_is_named_by_a_test() -> None:
    named: set[int] = set()
    for path, text in _sources("tests"):
        named |= _invariants_named(text)
        if path.is_relative_to("tests/simulation"):
            named |= {number for found in SENTENCE.findall(text) for part in found for number in _numbers(part)}
    assert set(INVARIANTS) - named == set()


def test_every_page_that_code_cites_is_there() -> None:
    cited = {
        (path, page) for path, text in _sources("reconciler", "tests") for page in re.findall(r"docs/[\w/-]+\.md", text)
    }
    assert {(path, page) for path, page in cited if not (ROOT / page).is_file()} == set()


def test_formulas_are_cited_where_they_stand() -> None:
    """The letters P, A, O, D are the contract's: the page on the layout of the code never had them."""
    assert [path for path, text in _sources("reconciler", "tests") if "docs/design.md" in text] == []
