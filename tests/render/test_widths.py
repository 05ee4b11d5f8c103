"""Text on a narrow screen: no word is broken, and no command is wrapped."""

from __future__ import annotations

import re

import pytest

from reconciler.output.blocks import Cell, Lines, Section, View
from reconciler.output.text import LONGEST, render_text
from tests.render.documents import ANSWERS

COMMAND = re.compile(r"`[^`]+`|--allow .+$", re.MULTILINE)


@pytest.mark.one_in(27)
@pytest.mark.parametrize("width", [40, 60, 80, 99])
@pytest.mark.parametrize("name", ANSWERS)
def test_no_word_is_broken_on_a_narrow_screen(name: str, width: int) -> None:
    """Until now "unreachable" was "unreachabl" and "e" at 80 columns. Columns go instead, and are named."""
    wide = render_text(ANSWERS[name]().view(None), width=1_000)
    narrow = render_text(ANSWERS[name]().view(None), width=width)
    whole = {word.rstrip(",:") for word in f"{wide} … and there is no room for more columns".split()}
    told = {word.rstrip(",:") for word in narrow.split()}
    long = [word for word in whole if len(word) > LONGEST]
    assert [word for word in told - whole if not any(word in each for each in long)] == []
    assert all(len(line) <= width for line in narrow.splitlines() if not COMMAND.search(line))


@pytest.mark.one_in(17)
@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_command_is_on_one_line(name: str, width: int) -> None:
    """Whoever copies it copies all of it."""
    wide = render_text(ANSWERS[name]().view(None), width=1_000)
    narrow = render_text(ANSWERS[name]().view(None), width=width)
    assert [found for found in COMMAND.findall(wide) if found not in narrow] == []


def test_a_command_that_is_longer_than_the_screen_is_not_wrapped() -> None:
    command = "reconciler state recover /a/very/long/path/to/one.json /and/to/another/that/is/long.json"
    for cell in (Cell(f"hint: once it can be written: {command}"), Cell(f"Do `{command}` next.")):
        view = View("Run", (Section("x", Cell("y"), (Lines("", (cell,)),)),))
        assert any(command in line for line in render_text(view, width=40).splitlines())
