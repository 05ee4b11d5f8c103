"""The one spelling under which values of people are compared, and the fingerprints that stand for them.

Rules
1. A value is normalised before it has a fingerprint, of a file as of the CRM: else the same person is not recognised.
2. Nothing is mended: a text that cannot be an address or a number is malformed, and None.
3. No error and no `repr` of this module holds a value or a key.

Pure. Source of the longest address: RFC 5321, 4.5.3.1.3, less its brackets. Phone numbers are read by a function that
the caller brings, since their rules are a library's.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from reconciler.core.model.people import Fingerprint, ValueKind

LONGEST_EMAIL = 254
FINGERPRINT_BYTES = 16
NO_VALUE = Fingerprint(bytes(FINGERPRINT_BYTES))
"""Stands in `PeopleRows` where a row has no sound value."""

ReadPhone = Callable[[str, str], str | None]
"""From a phone number and a region to E.164; None where it is no number there."""
MakeFingerprint = Callable[[str], Fingerprint]

_ASCII_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
"""Two parts of visible ASCII without a blank, with a single @ between them."""


def normalise_email(text: str) -> str | None:
    """The address trimmed, in Unicode's form NFC and lower case; None where it cannot be one."""
    text = text.strip()
    # most addresses are ASCII, which has a single form
    if text.isascii():
        sound = _ASCII_EMAIL.fullmatch(text) is not None and len(text) <= LONGEST_EMAIL
        return text.lower() if sound else None
    text = _fold(text)
    local, _, domain = text.partition("@")
    sound = bool(local) and bool(domain) and "@" not in domain and len(text) <= LONGEST_EMAIL
    return text if sound and text.isprintable() and not any(map(str.isspace, text)) else None


def normalise_field(text: str) -> str | None:
    """The value of a custom field trimmed, in form NFC and lower case; None where it is empty or cannot be printed."""
    text = _fold(text.strip())
    return text if text and text.isprintable() else None


def _fold(text: str) -> str:
    # again after the case: a small letter may compose with a mark that its capital does not compose with
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Normalises values by their kind; `region` is the country of phone numbers that are written without one."""

    read_phone: ReadPhone | None = field(default=None, repr=False)
    """None where no phone number is asked for: all are malformed."""
    region: str = ""

    def normalise(self, kind: ValueKind, text: str) -> str | None:
        """The one spelling of a value; None where it is malformed."""
        if kind is ValueKind.EMAIL:
            return normalise_email(text)
        if kind is ValueKind.PHONE:
            return self.read_phone(text, self.region) if self.read_phone else None
        return normalise_field(text)


class Fingerprinter:
    """Makes the fingerprints of normalised values under a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def key_check(self) -> str:
        """Tells this key from another one, and nothing else of it."""
        return hmac.digest(self._key, b"reconciler: the key of an index of people", "sha256").hex()[:16]

    def of(self, kind: ValueKind, value: str, custom_field: str = "") -> Fingerprint:
        """The fingerprint of a normalised value; `custom_field` is the field's id, for a value of one."""
        return self.for_kind(kind, custom_field)(value)

    def for_kind(self, kind: ValueKind, custom_field: str = "") -> MakeFingerprint:
        """The function from normalised values of one kind to their fingerprints."""
        key, prefix = self._key, f"{kind}\0{custom_field}\0".encode(errors="surrogatepass")

        def make_fingerprint(value: str) -> Fingerprint:
            digest = hmac.digest(key, prefix + value.encode(errors="surrogatepass"), "sha256")
            return Fingerprint(digest[:FINGERPRINT_BYTES])

        return make_fingerprint


@dataclass(frozen=True, slots=True)
class PeopleRows:
    """The rows of a matched file, without their values.

    Arrays and bytes, not objects: a file may have a million rows.
    """

    lines: array[int]
    """The line of each row; of Parquet, its number from 1."""
    fingerprints: tuple[bytes, ...] = field(repr=False)
    """By key of the match: `FINGERPRINT_BYTES` for each row, `NO_VALUE` where the row has no sound value."""

    def __len__(self) -> int:
        return len(self.lines)

    def by_row(self) -> Iterator[tuple[Fingerprint, ...]]:
        """The fingerprints of each row by the keys in their order, `NO_VALUE` where it has no sound value."""
        return zip(*map(_split, self.fingerprints), strict=True)


def _split(fingerprints: bytes) -> Iterator[Fingerprint]:
    for start in range(0, len(fingerprints), FINGERPRINT_BYTES):
        yield Fingerprint(fingerprints[start : start + FINGERPRINT_BYTES])
