"""Each document in each format looks as it did: `pytest --bless` rewrites the files, and the difference is reviewed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.output.document import FORMATS, spell
from reconciler.output.schema import SCHEMAS, published
from reconciler.output.text import render_text
from tests.render.documents import ANSWERS

OURS = re.compile(r"(?<=<style>).*?(?=</style>)|(?<=<script>).*?(?=</script>)|(?<=sha256-)[^&]+", re.DOTALL)
"""Style sheet and script are files of their own; a page's golden is about the page."""

GOLDEN = Path(__file__).parents[1] / "golden"
SUFFIXES = {"text": "txt", "markdown": "md"}


def compare(path: Path, text: str, bless: bool) -> None:
    if bless:
        path.write_text(text, encoding="utf-8", newline="")
    expected = path.read_bytes().decode()
    assert text == expected, "if this is meant: pytest --bless, and review the difference"


@pytest.mark.one_in(6)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_document_looks_as_it_did(name: str, kind: str, bless: bool) -> None:
    text = "".join(spell(ANSWERS[name](), kind, whole=False))
    text = OURS.sub("…", text) if kind == "html" else text
    compare(GOLDEN / f"{name}.{SUFFIXES.get(kind, kind)}", text, bless)


def test_a_long_list_is_folded_and_says_how_to_see_all(bless: bool) -> None:
    compare(GOLDEN / "plan-folded.txt", render_text(ANSWERS["plan"]().view(1)), bless)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_published_schema_says_what_it_did(kind: str, bless: bool) -> None:
    """A change here is a change of the public format: see its version."""
    compare(GOLDEN / f"schema-{kind}.json", published(kind), bless)
