"""Markdown for a comment: never too long, and what matters stays."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

from reconciler.output.blocks import Cell, Column, Lines, Section, Style, Table, View, table, totals
from reconciler.output.markdown import LIMIT, render_markdown
from tests.render import judges

MARKS = "!\"$%&'()*+,-./:;<=>?[\\]^_`{|}~ a1"
"""What calls people stands in code."""

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


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 10, 500, 5_000, 100_000])
def test_only_detail_is_cut_and_it_is_told(rows: int) -> None:
    text = render_markdown(View("Plan", (a_section(1, rows),), (DIGEST,)))
    assert size(text) <= LIMIT
    for part in ("**verdict 1**", "guard max", "| adds |", "| 7 |", "<code>tag 4</code>", "Change digest"):
        assert part in text
    shown = text.count("<code>contact ")
    assert (f"{shown:,} of {rows:,} rows shown" in text) == (shown < rows)


@pytest.mark.slow
@pytest.mark.parametrize("sections", [2, 40, 300, 3_000])
def test_of_many_sections_as_many_as_there_is_room_for(sections: int) -> None:
    text = render_markdown(View("Plan", tuple(a_section(each, 100) for each in range(sections)), (DIGEST,)))
    assert size(text) <= LIMIT
    shown = text.count("**verdict ")
    assert shown == sections or f"{shown:,} of {sections:,} sections shown" in text
    assert shown >= min(sections, 80)
    assert text.count("guard max") == shown
    assert text.endswith("Change digest sha256:abc\n")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("text", ["é" * 5_000, "@" * 70_000, "<" * 300_000], ids=["é", "@", "<"])
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


PLAIN = (
    "new-lead",
    "vip_2024",
    "a.b",
    "größe-m_2",
    "0.0025 % of a day's quota (fewer are not possible)",
    "nobody with 'spring': 2,394 of 2,394 lose it. Lift it: reconciler apply",
    "2026-11-19 11:06:40Z",
    "sha256:0f51",
    "acme.yaml/contacts/vip.csv, x=1, a+b, well done!",
)
"""Nothing in these can act, wherever a forge finds them in a sentence, a heading or a cell."""

ACTING = (
    *("-x", "1. x", "2) x", "_x_", "a _b", "--x", "a:smile:b", "www.x.com"),
    *("a http://x", "/close", "!x", "=x", "+x", "a::b"),
)


def everywhere(text: str) -> View:
    cells = (Cell(text), Cell(text, Style.BAD))
    blocks = (Lines(text, cells), table(text, [Column("tag")], [cells[:1]]))
    return View(text, (Section(text, cells[1], blocks),), cells)


@pytest.mark.parametrize("text", PLAIN)
def test_what_can_do_nothing_stays_as_it_was_written(text: str) -> None:
    """A reviewer reads the source too, in a mail or a log: until now each `-`, `_` and `.` was an entity there."""
    shown = render_markdown(everywhere(text))
    assert "&#" not in shown
    assert set(judges.of_markdown(shown).texts) == {text, "tag"}


@pytest.mark.parametrize("text", ACTING)
def test_what_could_act_where_it_stands_is_an_entity(text: str) -> None:
    cells = (Cell(text), Cell(text, Style.BAD))
    shown = render_markdown(View(text, (Section(text, cells[1], (Lines(text, cells),)),), cells))
    assert set(judges.of_markdown(shown).texts) == {text}
    assert text not in shown


@pytest.mark.parametrize("text", ["+lead", "-lead", ".5", "/x", "=x"])
def test_a_cell_begins_no_line(text: str) -> None:
    shown = render_markdown(View("Plan", (Section("x", Cell(""), (table("", [Column("tag")], [(Cell(text),)]),)),)))
    assert f"| <code>{text}</code> |" in shown


@pytest.mark.slow
def test_any_two_marks_side_by_side_change_nothing() -> None:
    """Each mark at the beginning, at the end, doubled, within words and beside each other mark."""
    plain = judges.of_markdown(render_markdown(everywhere("x"))).structure
    for first, second in product(MARKS, repeat=2):
        around = f"{first}{second}", f"x{first}{second}y", f"1{first}{second}", f"{first}x{second}"
        for text in (*around, f"x{first} {second}x"):
            if text.strip():
                assert judges.of_markdown(render_markdown(everywhere(text))).structure == plain, text
