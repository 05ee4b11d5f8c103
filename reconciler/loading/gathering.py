"""What is gathered while a contact file is read, whatever its format: ids with their lines, and faults.

Rule: every fault is counted, at most `LISTED` of each kind are listed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from reconciler.core.errors import InvalidInput, Problem, Severity
from reconciler.core.names import ContactId
from reconciler.core.source import Source

LISTED = 5
DEFAULT_COLUMNS = ("contact_id", "id")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a manifest asks of a file. `path`: the file as a person names it; `source`: where the manifest asks."""

    path: str
    source: Source
    column: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """The ids of a file in its order, the line of each, and what is worth knowing (infos only)."""

    ids: tuple[ContactId, ...]
    lines: array[int]
    problems: tuple[Problem, ...]


class Gathering:
    """The ids found so far, and the faults: kept apart by kind, the first few with their line."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.lines = array("L")
        self._seen: dict[str, None] = {}
        self._double: tuple[int, str] | None = None
        self._double_count = 0
        self._faults: dict[str, list[tuple[int, str]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, text: object, line: int) -> None:
        """One row's id; anything but text is a fault."""
        if not isinstance(text, str):
            self.fault("empty-id", line, "a row without an id" if text is None else "an id that is not text")
            return
        contact = text.strip()
        if contact in self._seen:
            self._double_count += 1
            self._double = self._double or (line, contact)
        elif not contact:
            self.fault("empty-id", line, "a row without an id")
        elif not contact.isprintable():
            self.fault("contact-id", line, f"an id with characters that cannot be seen: {contact[:80]!r}")
        else:
            self._seen[contact] = None
            self.lines.append(line)

    def fault(self, check: str, line: int, message: str) -> None:
        self._counts[check] = self._counts.get(check, 0) + 1
        listed = self._faults.setdefault(check, [])
        if len(listed) < LISTED:
            listed.append((line, message))

    def stop(self, check: str, line: int, message: str, hint: str = "") -> InvalidInput:
        """The error that ends the reading of this file, with everything found before."""
        return InvalidInput([*self._errors(), Problem(Source(self.wanted.path, line), message, check, hint=hint)])

    def table(self) -> Table:
        errors = list(self._errors())
        if errors:
            raise InvalidInput(errors)
        return Table(tuple(map(ContactId, self._seen)), self.lines, tuple(self._infos()))

    def _errors(self) -> Iterator[Problem]:
        path = self.wanted.path
        for check, listed in self._faults.items():
            more = self._counts[check] - len(listed)
            for place, (line, message) in enumerate(listed, 1):
                rest = f" (and {more:,} more rows like it)" if more and place == len(listed) else ""
                yield Problem(Source(path, line), message + rest, check)

    def _infos(self) -> Iterator[Problem]:
        if self._double is not None:
            line, contact = self._double
            message = repetition(self._double_count, contact)
            yield Problem(Source(self.wanted.path, line), message, "duplicate-id", Severity.INFO)


def repetition(count: int, example: str) -> str:
    """What is said of ids that were given before."""
    many = f"{count:,} ids are" if count > 1 else "an id is"
    return f"{many} given again and counted once, for example {example!r}"


def find_column(names: list[str], gathering: Gathering, *, line: int = 1) -> str:
    """The column of the ids, after checking that each wanted column is there exactly once."""
    wanted = gathering.wanted
    column = wanted.column or next((name for name in DEFAULT_COLUMNS if name in names), None)
    missing = [name for name in (column, *wanted.where) if name is not None and name not in names]
    if column is None or missing:
        what = repr(missing[0]) if missing else "'contact_id' or 'id'"
        hint = _column_hint(names, missing[0] if missing else DEFAULT_COLUMNS[0])
        raise gathering.stop("column", line, f"no column {what}; the columns are {_listing(names)}", hint)
    double = [name for name in (column, *wanted.where) if names.count(name) > 1]
    if double:
        raise gathering.stop("column", line, f"column {double[0]!r} is there more than once")
    return column


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(repr(name[:60]) for name in names[:20]) + more


def _column_hint(names: list[str], wanted: str) -> str:
    if len(names) == 1 and (separator := next((char for char in ";\t|," if char in names[0]), "")):
        return f"the file looks separated by {separator!r}: .csv is separated by commas, .tsv by tabs"
    plain = {name.lower().replace(" ", "_").replace("-", "_"): name for name in names}
    close = get_close_matches(wanted.lower(), list(plain), n=1, cutoff=0.8)
    return f"name it in the manifest: column: {plain[close[0]]}" if close else ""
