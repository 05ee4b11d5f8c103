"""The tutorial and the guides are executed, command by command, and what they show is what the commands print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import BLOCK, ROOT, blessed, commands, is_shown, play

DOCS = ROOT / "docs"
SCENE = (ROOT / "tests" / "docs" / "scene.md").read_text(encoding="utf-8")
BEGIN_ANEW = {"tutorial", "people", "many-locations", "one-manifest", "warehouse-table", "google-sheet", "smart-list"}
"""Pages that begin without the scene of the others."""
EXECUTED = [
    page
    for page in [
        DOCS / "tutorial.md",
        DOCS / "people.md",
        DOCS / "data-protection.md",
        *sorted((DOCS / "how-to").glob("*.md")),
    ]
    if any(kind == "console" for kind, _, _ in BLOCK.findall(page.read_text(encoding="utf-8")))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_every_command_does_and_prints_what_the_page_says(page: Path, tmp_path: Path, bless: bool) -> None:
    scene = "" if page.stem in BEGIN_ANEW else SCENE
    text = page.read_text(encoding="utf-8")
    played = play(scene + text, tmp_path)
    assert played.code == 0, played.problem
    printed = played.printed[len(list(commands(scene))) :]
    if bless:
        text = blessed(text, printed)
        page.write_text(text, encoding="utf-8")
    for command, lines in zip(commands(text), printed, strict=True):
        assert not command.shown or is_shown(command.shown, lines), "\n".join(["$ " + command.line, *lines])


def test_the_tutorial_and_most_guides_are_executed_and_show_outputs() -> None:
    assert DOCS / "tutorial.md" in EXECUTED
    assert len(EXECUTED) >= 8
    showing = [page for page in EXECUTED if any(each.shown for each in commands(page.read_text(encoding="utf-8")))]
    assert len(showing) >= 8


def test_an_output_that_is_not_printed_is_noticed() -> None:
    printed = ("Location Acme, run 666a61b0a284", "Done: 3 requests in 2 rounds.", "", "pairs  outcome")
    assert is_shown(("Location Acme, run ef78d768eba4", "Done: 3 requests in 2 rounds.", "…"), printed)
    assert is_shown(("…", "pairs   outcome"), printed)
    assert not is_shown(("Location Acme, run ef78d768eba4", "Done: 4 requests in 2 rounds.", "…"), printed)
    assert not is_shown(printed[:3], printed)
    assert not is_shown(("…", "Location Acme"), printed)


def test_blessing_writes_anew_what_is_shown_and_nothing_else() -> None:
    page = "a\n```console\n$ one\n…\n$ two\n$ three    # exit 5\nold\n…\n$ four\nrun 666a61b0a2\n$ five\n…\nold\n```\n"
    printed = (("x", "y"), ("not shown",), ("new", "more", "most"), ("run 666a61b0a2",), ("a", "b"))
    shown = (
        "a\n```console\n$ one\nx\ny\n$ two\n$ three    # exit 5\nnew\n…\n$ four\nrun 666a61b0a2\n$ five\n…\nb\n```\n"
    )
    assert blessed(page, printed) == shown
