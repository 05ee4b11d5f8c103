"""Outside text made harmless: recoverable, and nothing of it acts on what stands around it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.safe_text import printable, quoted
from tests.render.judges import recovered


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café", "café"),
        ("cafe\u0301", "cafe\u0301"),
        ("\u0301e", "\\u{301}e"),
        ("\u0301\u0302e", "\\u{301}\u0302e"),
        ("\u202eevil", "\\u{202e}evil"),
        ("a\\b\n", "a\\\\b\\u{a}"),
        ("", ""),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lists\\vip.csv", "'lists\\\\vip.csv'"),
        ("it's", '"it\'s"'),
        ("a\\b\n", "'a\\\\\\\\b\\\\n'"),
    ],
    ids=["a path", "a quote", "not printable"],
)
def test_a_text_in_a_sentence_is_escaped_once_where_it_can_be_printed(text: str, shown: str) -> None:
    assert printable(f"file {quoted(text)}") == f"file {shown}"


@given(st.text())
def test_law_it_is_recoverable_and_begins_with_no_mark(text: str) -> None:
    shown = printable(text)
    assert recovered(shown) == text
    assert not unicodedata.category(shown[:1] or "a").startswith("M")
