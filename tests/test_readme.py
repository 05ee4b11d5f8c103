"""The README is executed: its tour runs line by line, its manifest loads, its exit codes are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.core.model.errors import WORST_FIRST, ExitCode
from reconciler.loading import load
from tests.docs.pages import blessed, commands, is_shown, play

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_tour(tmp_path: Path, bless: bool) -> None:
    """Its commands end as it says, and print what it shows."""
    scene = f"```console\n$ cp -r {ROOT / 'manifests'} manifests\n```\n"
    played = play(scene + README, tmp_path)
    assert played.code == 0, played.problem
    printed = played.printed[1:]
    text = README
    if bless:
        text = blessed(README, printed)
        (ROOT / "README.md").write_text(text)
    for command, lines in zip(commands(text), printed, strict=True):
        assert not command.shown or is_shown(command.shown, lines), "\n".join(["$ " + command.line, *lines])


def test_the_file_of_people_is_that_of_the_example() -> None:
    (people,) = _blocks("csv")
    assert (ROOT / "manifests" / "contacts" / "vip.csv").read_text().startswith(people)


def test_the_manifest(tmp_path: Path) -> None:
    (manifest,) = _blocks("yaml")
    (tmp_path / "acme.yaml").write_text(manifest)
    (tmp_path / "contacts").mkdir()
    (tmp_path / "contacts" / "customers.csv").write_text("contact_id\nqFSqySFkVvNzOSqgGqFi\n")
    (tmp_path / "contacts" / "vip.csv").write_text(_blocks("csv")[0])
    loaded = load(tmp_path)
    assert [each.name for each in loaded.manifests[0].sets] == ["vip", "customers"]


def test_the_exit_codes() -> None:
    table = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE) for code in row.split(",")}
    assert table - {129, 130, 143} == {int(code) for code in ExitCode}
    order = re.search(r"in the order ([\d, ]+)\.", README)
    assert order is not None
    assert [int(code) for code in order[1].split(",")] == [int(code) for code in WORST_FIRST]


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
