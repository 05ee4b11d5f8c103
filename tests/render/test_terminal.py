"""What a real terminal makes of our text: pyte, an emulator that is not ours. Colours are on, as on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.safe_text import printable
from reconciler.output.text import render_text
from tests.render import judges
from tests.render.hostile import HOSTILE
from tests.render.test_sinks import DOCUMENTS
from tests.sizes import how_many

pytestmark = pytest.mark.extras
pyte = pytest.importorskip("pyte", reason="pyte is not installed: pip install pyte")

PLAIN, LINES = "plain", 60


def on_screen(text: str, columns: int) -> list[tuple[str, list[str]]]:
    """The lines of the screen, each with the colours in it; nothing else of the terminal may have changed."""
    screen = pyte.Screen(columns, LINES)
    fresh = set(screen.mode)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    assert screen.mode == fresh, "a mode was changed"
    assert (screen.title, screen.icon_name, screen.margins) == ("", "", None)
    assert screen.cursor.y == text.count("\n"), "the cursor is where it should not be"
    # the buffer holds only what was written: `display` looks at every place of the screen, for most of the time
    lines = (screen.buffer[number] for number in range(LINES))
    return [(_text(cells), _colours(cells)) for cells in lines]


def _text(cells: Mapping[int, Any]) -> str:
    # behind a wide character is a cell without one
    places = range(max(cells, default=-1) + 1)
    return "".join(cells[place].data if place in cells else " " for place in places).rstrip()


def _colours(cells: Mapping[int, Any]) -> list[str]:
    found = {(cell.fg, cell.bg, cell.bold, cell.reverse) for cell in cells.values() if cell.data.strip()}
    return sorted(f"{fg} {bg} {bold} {reverse}" for fg, bg, bold, reverse in found)


def check(texts: Iterable[str], name: str) -> None:
    made = DOCUMENTS[name]
    plain = on_screen(render_text(made(PLAIN).view(None), colour=True, width=300), 300)
    for text in texts:
        columns = 300 + 4 * len(printable(text))
        shown = on_screen(render_text(made(text).view(None), colour=True, width=columns), columns)
        lines = zip(shown, plain, strict=True)
        # blanks have no colour that anybody could see
        assert all(mine == theirs or (not mine and text.isspace()) for (_, mine), (_, theirs) in lines), ascii(text)
        found = "\n".join(line for line, _ in shown)
        assert text in judges.recovered(found) or not _is_narrow(text)


def _is_narrow(text: str) -> bool:
    """Whether the emulator keeps every character: it merges what combines, and drops what has no width."""
    return text.isascii()


def part(texts: Sequence[str], name: str, parts: int) -> Sequence[str]:
    """The part of the texts that stands in this kind of document: the emulator is slow."""
    step = how_many(parts, 1)
    return texts[list(DOCUMENTS).index(name) % step :: step]


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_text_of_ours_changes_a_terminal(name: str) -> None:
    check(part(HOSTILE, name, 3), name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_text_of_others_changes_a_terminal(name: str, corpora: Path) -> None:
    groups = json.loads((corpora / "hostile-tags.json").read_text(encoding="utf-8"))
    check(part(list(dict.fromkeys(text for group in groups.values() for text in group)), name, len(DOCUMENTS)), name)
