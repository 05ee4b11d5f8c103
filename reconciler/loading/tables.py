"""From a contact file to ids: .csv, .tsv, .jsonl, .txt (one id a line), and .parquet with the extra `[bulk]`.

Rules
1. A row that cannot be trusted is an error with its line (ragged, without an id, not UTF-8, an open quote): an id that
   is silently lost would be pruned, and a shifted column would tag the wrong contact.
2. Blanks around an id do not count, empty lines do not count, an id given twice counts once.
3. Streamed: memory holds the ids and one line. At most `LISTED` rows of each fault are listed, the rest are counted.
"""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import BinaryIO

from reconciler.core.errors import InvalidInput, Problem, Severity
from reconciler.core.names import ContactId
from reconciler.core.source import Source

LISTED = 5
MAX_LINE = 1_048_576
DEFAULT_COLUMNS = ("contact_id", "id")
ENDINGS = (".csv", ".tsv", ".jsonl", ".txt", ".parquet")


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


def read_table(stream: BinaryIO, wanted: Wanted) -> Table:
    """The ids of an open contact file; raises InvalidInput with every fault, each with its line."""
    gathering = Gathering(wanted)
    ending = next((ending for ending in ENDINGS if wanted.path.lower().endswith(ending)), "")
    if ending == ".parquet":
        from reconciler.loading.parquet import read_parquet  # an optional extra, and slow to import

        read_parquet(stream, gathering)
    elif ending in _READERS:
        _READERS[ending](text_lines(stream, gathering), gathering)
    else:
        hint = "known endings: " + ", ".join(ENDINGS)
        raise InvalidInput([Problem(wanted.source, f"not a contact file: {wanted.path}", "contact-file", hint=hint)])
    return gathering.table()


def text_lines(stream: BinaryIO, gathering: Gathering) -> Iterator[str]:
    """The lines of a file with their ends, without its byte order mark."""
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise gathering.stop("size", number, f"a line longer than {MAX_LINE:,} bytes")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
            raise gathering.stop("encoding", number, message, "save the file as UTF-8") from None
        if "\0" in line:
            raise gathering.stop("encoding", number, "a NUL character")
        yield line.removeprefix("\ufeff") if number == 1 else line


def rows(lines: Iterable[str], gathering: Gathering, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of delimited text that are not empty, each with the line it starts on."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise gathering.stop("contact-file", line, f"not a table: {error}") from None


def _delimited(lines: Iterable[str], gathering: Gathering, delimiter: str) -> None:
    table = rows(lines, gathering, delimiter)
    header = [name.strip() for name in next(table, (1, []))[1]]
    if not header:
        raise gathering.stop("column", 1, "the file is empty: its first line must name the columns")
    index = header.index(find_column(header, gathering))
    filters = [(header.index(name), value) for name, value in gathering.wanted.where.items()]
    width, add = len(header), gathering.add
    for line, row in table:
        if len(row) != width:
            gathering.fault("ragged", line, f"a row of {len(row)} fields under a header of {width}")
        elif all(row[at] == value for at, value in filters):
            add(row[index], line)


def _csv(lines: Iterable[str], gathering: Gathering) -> None:
    _delimited(lines, gathering, ",")


def _tsv(lines: Iterable[str], gathering: Gathering) -> None:
    _delimited(lines, gathering, "\t")


def _txt(lines: Iterable[str], gathering: Gathering) -> None:
    wanted = gathering.wanted
    if wanted.column is not None or wanted.where:
        message = f"{wanted.path} has one id a line and no columns: leave `column` and `where` out"
        raise InvalidInput([Problem(wanted.source, message, "column")])
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            gathering.add(line, number)


def _jsonl(lines: Iterable[str], gathering: Gathering) -> None:
    wanted, column, seen = gathering.wanted, gathering.wanted.column, set[str]()
    filters = list(wanted.where.items())
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        row = _json_object(line, number, gathering)
        if row is None:
            continue
        if column is None:
            column = find_column(list(row), gathering, line=number)
        seen.update(name for name, _ in filters if name in row)
        if all(name in row and _as_text(row[name]) == value for name, value in filters):
            gathering.add(row.get(column), number)
    unseen = [name for name, _ in filters if name not in seen]
    if unseen:
        raise gathering.stop("column", 1, f"no row has the key {unseen[0]!r} that `where` asks for")


def _json_object(line: str, number: int, gathering: Gathering) -> dict[str, object] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        gathering.fault("contact-file", number, f"not JSON: {getattr(error, 'msg', 'nested too deeply')}")
        return None
    if not isinstance(row, dict):
        gathering.fault("contact-file", number, "not a JSON object")
        return None
    return row


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


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


_READERS: Mapping[str, Callable[[Iterable[str], Gathering], None]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".txt": _txt,
}
