"""The tutorial and the guides are executed, command by command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import BLOCK, ROOT, run

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
SCENE = (ROOT / "tests" / "docs" / "scene.md").read_text(encoding="utf-8")
EXECUTED = [
    page
    for page in [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
    if any(kind == "console" for kind, _, _ in BLOCK.findall(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_every_command_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    scene = SCENE if page.parent.name == "how-to" else ""
    done = run(scene + page.read_text(encoding="utf-8"), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_tutorial_and_most_guides_are_executed() -> None:
    assert DOCS / "tutorial.md" in EXECUTED
    assert len(EXECUTED) >= 6
