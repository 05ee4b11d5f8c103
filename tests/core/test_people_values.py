"""The one spelling of values that people are matched by, and the fingerprints that stand for them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.match import (
    FINGERPRINT_BYTES,
    LONGEST_EMAIL,
    Fingerprinter,
    Normaliser,
    normalise_email,
    normalise_field,
)
from reconciler.core.model.people import PersonValue, ValueKind


@pytest.mark.parametrize(
    ("written", "email"),
    [
        ("anna@example.com", "anna@example.com"),
        ("  Anna.Berg@Example.COM\t", "anna.berg@example.com"),
        ("anna+news@example.com", "anna+news@example.com"),
        ('"anna.berg"@example.com', '"anna.berg"@example.com'),
        ("o'hara@example.com", "o'hara@example.com"),
        ("anna@localhost", "anna@localhost"),
        ("anna@[192.0.2.1]", "anna@[192.0.2.1]"),
        ("Jo\u0308rg@Mu\u0308nchen.example", "jörg@münchen.example"),
        ("anna@xn--mnchen-3ya.example", "anna@xn--mnchen-3ya.example"),
        ("\u00a0anna@example.com\u00a0", "anna@example.com"),
        ("a" * 242 + "@example.com", "a" * 242 + "@example.com"),
    ],
)
def test_an_unusual_address_that_is_sound_is_one(written: str, email: str) -> None:
    assert normalise_email(written) == email


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "anna",
        "@example.com",
        "anna@",
        "@",
        "anna@berg@example.com",
        '"an@na"@example.com',
        "anna berg@example.com",
        "anna@example .com",
        "Anna Berg <anna@example.com>",
        "anna@example.com, bea@example.com",
        "anna\t@example.com",
        "anna\n@example.com",
        "anna\x00@example.com",
        "anna\x7f@example.com",
        "änna\u00a0berg@example.com",
        "anna\u200b@example.com",
        "anna\u202e@example.com",
        "anna\ud800@example.com",
        "ä@" + "a" * 253,
        "a" * 243 + "@example.com",
    ],
)
def test_a_text_that_cannot_be_an_address_is_malformed(written: str) -> None:
    assert normalise_email(written) is None


def test_a_field_is_compared_without_its_case() -> None:
    assert normalise_field(" K-007 ") == normalise_field("k-007") == "k-007"
    assert normalise_field("Mu\u0308ller & Co") == "müller & co"
    assert [normalise_field(text) for text in ("", "  ", "a\x07b", "a\nb")] == [None] * 4


@given(st.text(max_size=40) | st.emails())
def test_a_spelling_is_normalised_once(text: str) -> None:
    for normalise in (normalise_email, normalise_field):
        once = normalise(text)
        if once is not None:
            assert normalise(once) == once
            assert normalise(f" {unicodedata.normalize('NFD', once)} ") == once


@given(st.emails())
def test_every_address_of_the_standard_without_quotes_is_one(email: str) -> None:
    if len(email) <= LONGEST_EMAIL:
        assert normalise_email(email) == email.lower() == normalise_email(email.upper())


def test_a_fingerprint_tells_kind_field_value_and_key_apart() -> None:
    first, second = Fingerprinter(b"k" * 32), Fingerprinter(b"l" * 32)
    made = [
        first.of(ValueKind.EMAIL, "a@x"),
        first.of(ValueKind.FIELD, "a@x", "f1"),
        first.of(ValueKind.FIELD, "a@x", "f2"),
        first.of(ValueKind.EMAIL, "b@x"),
        second.of(ValueKind.EMAIL, "a@x"),
    ]
    assert len(set(made)) == len(made)
    assert {len(fingerprint) for fingerprint in made} == {FINGERPRINT_BYTES}
    assert first.of(ValueKind.EMAIL, "a@x") == Fingerprinter(b"k" * 32).for_kind(ValueKind.EMAIL)("a@x") == made[0]
    assert first.key_check != second.key_check
    assert first.key_check == Fingerprinter(b"k" * 32).key_check


def test_a_fingerprint_does_not_change_between_releases() -> None:
    """Else an index would be learnt anew: HMAC-SHA-256 of kind, field and value, parted by NUL, its first 16 bytes."""
    key = Fingerprinter(b"0123456789abcdef")
    assert key.of(ValueKind.EMAIL, "anna@example.com").hex() == "0af09f800957adeb5eb3d9c7d8d64f27"
    assert key.of(ValueKind.FIELD, "k-007", "f1").hex() == "3006ecf816f3dfda2cb316131c726849"
    assert key.key_check == "ea71071d987ceede"


def test_no_value_and_no_key_is_shown() -> None:
    shown = repr([PersonValue(ValueKind.EMAIL, "anna@example.com"), Fingerprinter(b"anna-key"), Normaliser()])
    assert "anna" not in shown
