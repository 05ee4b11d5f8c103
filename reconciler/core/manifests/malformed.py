"""The reasons for which a row of people has no value that can be one of a person. No reason repeats a value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.core.model.people import ValueKind

_SHOWN_NUMBER = re.compile(r"\d+([.,]\d+)?[eE][+-]?\d+")


@dataclass(frozen=True, slots=True)
class MalformedRows:
    """Rows that are malformed for one reason, and the line of the first."""

    reason: str
    rows: int
    first: int


@dataclass(frozen=True, slots=True)
class MalformedBook:
    """Counts the malformed rows of a file by their reasons while it is read."""

    _by_reason: dict[str, MalformedRows] = field(default_factory=dict)

    def add(self, line: int, cells: Iterable[tuple[ValueKind, str]]) -> None:
        """Takes in a malformed row: the texts of its cells, in the order of the keys."""
        reason = explain_malformed(cells)
        seen = self._by_reason.get(reason)
        self._by_reason[reason] = MalformedRows(reason, 1 + (seen.rows if seen else 0), seen.first if seen else line)

    def list_reasons(self) -> tuple[MalformedRows, ...]:
        """The most frequent first."""
        return tuple(sorted(self._by_reason.values(), key=lambda rows: (-rows.rows, rows.first)))


def explain_malformed(cells: Iterable[tuple[ValueKind, str]]) -> str:
    """The reason that the first cell with a text gives; an empty line of a spreadsheet has none."""
    for kind, cell in cells:
        if text := cell.strip():
            return _explain_text(kind, text)
    return "empty"


def _explain_text(kind: ValueKind, text: str) -> str:
    if _SHOWN_NUMBER.fullmatch(text):
        return "a number as a spreadsheet shortens it (4.93E+12)"
    if kind is ValueKind.EMAIL:
        return _explain_email(text)
    if kind is ValueKind.PHONE:
        return "letters in a phone number" if any(map(str.isalpha, text)) else "no whole phone number"
    return "characters that cannot be shown"


def _explain_email(text: str) -> str:
    if "＠" in text:
        return "a full-width ＠ in an address"
    if "@" not in text:
        return "an address without @"
    if text.count("@") > 1:
        return "several addresses in one cell"
    return "a name around an address" if text.endswith(">") else "no whole address"
