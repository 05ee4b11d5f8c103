"""The picture in the README is what the program prints."""

from __future__ import annotations

import html
import re
from importlib.metadata import version
from xml.etree import ElementTree

import pytest
from rich.text import Text

from tests.docs.picture import COMMAND, ROOT, picture, text

SVG = ROOT / "docs" / "plan.svg"


def _words(drawn: str) -> list[str]:
    """The words of a picture, in reading order."""
    lines = [each for each in ElementTree.fromstring(drawn).iter() if each.tag.endswith("text")]
    found = "\n".join("".join(each.itertext()) for each in lines)
    return found.split()


def test_the_picture_has_the_words_of_the_plan(bless: bool) -> None:
    if bless:
        SVG.write_text(picture(), encoding="utf-8")
    shown = _words(SVG.read_text(encoding="utf-8"))
    assert shown[:2] == ["reconciler", "plan"]
    assert shown[2:] == [*COMMAND.split(), *Text.from_ansi(text(colour=True)).plain.split()]


@pytest.mark.slow
def test_the_picture_is_drawn_anew_byte_by_byte() -> None:
    """Another rich may draw it otherwise: with the pinned one it is the same."""
    pinned = f"rich=={version('rich')} " in (ROOT / ".ci" / "requirements.txt").read_text()
    assert not pinned or SVG.read_text(encoding="utf-8") == picture()


def test_it_loads_nothing() -> None:
    drawn = html.unescape(SVG.read_text(encoding="utf-8"))
    assert set(re.findall(r"https?://[^\s\"')<]+", drawn)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    }
    assert not re.search(r"<(?:image|script|foreignObject|a)\b|url\(['\"]?h", drawn)


def test_the_readme_shows_it() -> None:
    assert "](docs/plan.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_requests_are_those_of_the_benchmarks() -> None:
    """contacts | one a tag | one a group | default | bound, as in docs/benchmarks.md."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+0,000) contacts \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", readme, re.M)
    assert len(rows) == 3
    for contacts, tag, group, ours, bound in rows:
        row = rf"\| {contacts} \| {tag} \| {group} \| [\d,]+ \| [\d,]+ \| [^|]+ \| [^|]+ \| {ours} \| {bound} \|"
        assert re.search(row, measured), contacts
