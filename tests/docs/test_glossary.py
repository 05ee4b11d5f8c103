"""The glossary has the words that the program shows, and no page has another word for one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.core.model.batch import Reason
from reconciler.core.model.manifest import Authority
from reconciler.core.model.outcome import Outcome
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md"])

OTHER_WORDS = {
    r"labels?": "tag",
    r"subaccounts?": "location",
    r"contact (?:lists?|groups?|segments?)": "contact set",
    r"blast radius": "guard",
    r"tombstones?": "released",
    r"blacklisted|banned": "quarantined",
    r"mutex": "lease",
}
"""Words that are not used, and the word of the glossary for each."""


@pytest.mark.parametrize(
    "words", [list(Reason), list(Authority), list(Outcome)], ids=["reasons", "authority", "outcomes"]
)
def test_it_has_the_words_that_the_program_shows(words: list[str]) -> None:
    assert [word for word in words if word.replace("_", " ") not in GLOSSARY] == []


def test_no_word_is_explained_twice() -> None:
    explained = [word.strip() for row in re.findall(r"^\| ([^|]+) \|", GLOSSARY, re.M) for word in row.split(",")]
    explained = [word for word in explained if word not in ("word", "---")]
    assert len(explained) == len(set(explained)) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_another_word_for_a_thing(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`|\([^)\s]+\)", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    used = {word: right for word, right in OTHER_WORDS.items() if re.search(rf"\b{word}\b", prose, re.I)}
    assert used == {}
