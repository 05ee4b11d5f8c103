"""The names of things, their only normalisation, and the places where they were written.

Every id and tag is text. A tag is compared lower-cased and trimmed, as HighLevel stores it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import NewType

ContactId = NewType("ContactId", str)
LocationId = NewType("LocationId", str)
SetName = NewType("SetName", str)
Tag = NewType("Tag", str)

Instant = NewType("Instant", int)
"""Milliseconds since 1970-01-01T00:00Z."""

TagSet = frozenset[Tag]

_CHOICES = 500
_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_FIREBASE_ID = re.compile(r"[A-Za-z0-9]{20}")
_LOCATION_IN_PROSE = re.compile(r"(?<![-\w])([Ll]ocation(?:(?:'s)? than)? )([\w-]+)")
"""Not the option `--location ID` of a command: there a name would not be the id to type."""

_PLACE = re.compile(r"(.+?):([1-9][0-9]*)(?::([1-9][0-9]*))?", re.DOTALL)


def normalise_tag(text: str) -> Tag:
    """The one spelling under which a tag is compared: trimmed and lower-cased."""
    return Tag(text.strip().lower())


@lru_cache(maxsize=4_096)
def fold_spelling(tag: str) -> str:
    """The tag without its spelling: case, Unicode's forms, white space, invisible characters."""
    text = unicodedata.normalize("NFKC", tag).casefold()
    # a character of the category Cf shows nothing: two tags that differ by one look the same
    shown = "".join(" " if char.isspace() else char for char in text if unicodedata.category(char) != "Cf")
    # once more: a character that case folding made may have another normal form
    return unicodedata.normalize("NFKC", " ".join(shown.split()))


def alike_but_for_spelling(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether each of `some` is one of `others` in another spelling, or in the same."""
    return {fold_spelling(tag) for tag in some} <= {fold_spelling(tag) for tag in others}


ID_LENGTH = 20


def looks_like_contact_id(text: str) -> bool:
    """Whether HighLevel could have issued this id: 20 letters and digits (a Firebase id)."""
    return _FIREBASE_ID.fullmatch(text) is not None


def are_plain(text: str) -> bool:
    """Whether the text, of many ids, is letters and digits of ASCII alone, and not empty."""
    # of bytes, which are told seven times sooner than of characters
    return text.isascii() and text.encode().isalnum()


def odd_contact_ids(ids: Collection[ContactId]) -> list[ContactId]:
    """Those that HighLevel cannot have issued, in their order."""
    # nearly always none: a million ids are told by their lengths and by one look at all their characters
    if not ids or (set(map(len, ids)) == {ID_LENGTH} and are_plain("".join(ids))):
        return []
    return [contact for contact in ids if not looks_like_contact_id(contact)]


def location_label(location: LocationId, name: str) -> str:
    """How a person reads a location: its name, then its id; the id alone where it has no name."""
    return f"{name} ({location})" if name else location


def name_locations(text: str, names: Mapping[LocationId, str]) -> str:
    """The text with the label of each location where it has `location ID`."""
    # most texts name no location: these are spared the search
    if not names or "ocation " not in text:
        return text
    return _LOCATION_IN_PROSE.sub(
        lambda match: match[1] + location_label(place := LocationId(match[2]), names.get(place, "")), text
    )


def closest_name(name: str, known: Collection[str], *, likeness: float = 0.6) -> str:
    """The name that was probably meant; empty where none is close, or there are too many to choose from."""
    # each comparison is slow: among a million contact ids none is looked for
    if len(known) > _CHOICES:
        return ""
    word = name[:100]
    letters = frozenset(word)
    # most names share too few letters to be as alike as that, which is seen at once
    shared = ((other, sum(map(letters.__contains__, other))) for other in known)
    near = [other for other, count in shared if 2 * count / max(1, len(word) + len(other)) >= likeness]
    close = get_close_matches(word, near, n=1, cutoff=likeness) if near else []
    return close[0] if close else ""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A hint with the name that was probably meant; empty where none is close."""
    close = closest_name(name, known)
    return f"did you mean {close!r}?" if close else ""


def read_age(text: str) -> int | None:
    """The milliseconds of an age such as 90s, 24h or 30d; None where the text is none."""
    match = _AGE.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def iso(instant: Instant) -> str:
    """RFC 3339 in UTC with milliseconds, such as `2026-11-23T09:30:00.000Z`."""
    # not strftime: it writes the year 7 as one digit, which nothing reads
    return f"{datetime.fromtimestamp(instant // 1000, UTC).replace(tzinfo=None).isoformat()}.{instant % 1000:03d}Z"


def parse_instant(text: str) -> Instant:
    """The inverse of `iso`; raises ValueError for text without a zone, and outside of the years 1 to 9999 of UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    try:
        # a time just after the first year began may be before it in UTC
        instant = Instant(round(moment.astimezone(UTC).timestamp() * 1000))
    except OverflowError:
        raise ValueError(f"no such time in UTC: {text!r}") from None
    # the last half a millisecond of the last year is rounded into a year that cannot be written
    if instant > _LAST:
        raise ValueError(f"no such time in UTC: {text!r}")
    return instant


_LAST = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z"""


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A place in a file: path as the user would type it, line and column from 1 (0: the whole file)."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"

    @classmethod
    def parse(cls, text: str) -> Source:
        """The inverse of `str` where line and column are given; else a path that ends in `:7` is taken for a line."""
        place = _PLACE.fullmatch(text)
        return cls(place[1], int(place[2]), int(place[3] or 0)) if place else cls(text)
