"""Markdown for a comment: never too long, and what matters stays."""

from __future__ import annotations

from functools import cache

import pytest

from reconciler.core.view.blocks import Cell, Column, Lines, Section, Style, Table, View, table, totals
from reconciler.render.markdown import LIMIT, render_markdown
from tests.render import judges

DIGEST = Cell("Change digest sha256:abc", Style.FAINT)


def a_section(number: int, rows: int, *, text: str = "contact") -> Section:
    columns = (Column("contact"), Column("pairs", right=True))
    guards = Lines("Guards", (Cell("guard max_adds refuses", Style.BAD),), key=True)
    tags = table("Tags", columns, [(Cell(f"tag {row}"), Cell("1")) for row in range(5)], most=None, key=True)
    verdict = Cell(f"verdict {number}", Style.STRONG)
    return Section(f"Location {number}", verdict, (guards, tags, samples(rows, text)), totals(("adds", 7, Style.ADD)))


@cache
def samples(rows: int, text: str) -> Table:
    columns = (Column("contact"), Column("pairs", right=True))
    return table("Samples", columns, [(Cell(f"{text} {row}"), Cell("1")) for row in range(rows)], most=None)


def size(text: str) -> int:
    return len(text.encode())


@pytest.mark.parametrize("rows", [0, 10, 500, 5_000, 100_000])
def test_only_detail_is_cut_and_it_is_told(rows: int) -> None:
    text = render_markdown(View("Plan", (a_section(1, rows),), (DIGEST,)))
    assert size(text) <= LIMIT
    for part in ("**verdict 1**", "guard max", "| adds |", "| 7 |", "<code>tag 4</code>", "Change digest"):
        assert part in text
    shown = text.count("<code>contact ")
    assert (f"{shown:,} of {rows:,} rows shown" in text) == (shown < rows)


@pytest.mark.parametrize("sections", [2, 40, 300, 3_000])
def test_of_many_sections_as_many_as_there_is_room_for(sections: int) -> None:
    text = render_markdown(View("Plan", tuple(a_section(each, 100) for each in range(sections)), (DIGEST,)))
    assert size(text) <= LIMIT
    shown = text.count("**verdict ")
    assert shown == sections or f"{shown:,} of {sections:,} sections shown" in text
    assert shown >= min(sections, 80)
    assert text.count("guard max") == shown
    assert text.endswith("Change digest sha256&#58;abc\n")


@pytest.mark.parametrize("text", ["é" * 5_000, "@" * 70_000, "<" * 300_000])
def test_a_text_of_any_length_does_not_make_it_longer(text: str) -> None:
    section = Section(text, Cell(text), (Lines(text, tuple(Cell(text) for _ in range(50)), key=True),))
    shown = render_markdown(View("Plan", (section,), (Cell(text), DIGEST)))
    assert size(shown) <= LIMIT
    assert "Change digest" in shown


def test_a_mark_that_calls_people_stands_in_code() -> None:
    shown = render_markdown(View("Plan", (Section("@everyone #1", Cell("@team"), ()),)))
    judged = judges.of_markdown(shown)
    assert judged.texts == ["Plan", "@everyone #1", "@team"]
    assert "@" not in shown
    assert shown.count("<code>&#64;</code>") == 2
