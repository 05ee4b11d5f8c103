"""The tables of a source's SQL: the expressions by which DuckDB reads files, and copies of rows that it would mend.

Rule: what a CSV or TSV file has is text, and is read as a contact file is; DuckDB has a copy of its rows, and guesses
nothing about them. By itself it left out cells that are too many and empty, and made a row of an empty line.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from itertools import islice
from operator import itemgetter
from pathlib import Path
from threading import Event
from typing import BinaryIO

from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.people import RowQuery
from reconciler.core.model.safe_text import quoted
from reconciler.loading.contact_files import read_rows, text_lines
from reconciler.loading.contact_ids import FileFaults, FileRequest

BATCH = 10_000
"""So many rows are copied at once."""


class SqlFailed(Exception):
    """SQL that gave no rows that can be used."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def ended_early(query: RowQuery, stop: Event) -> SqlFailed:
    if stop.is_set():
        return SqlFailed("it was stopped")
    return SqlFailed(f"it did not end within {query.timeout_s} s", hint="`timeout_s` bounds it")


_DELIMITED = (
    "read_csv({path}, auto_detect = false, columns = {{{columns}}}, header = true, delim = ',', quote = '\"', "
    "escape = '\"', comment = '', skip = 0, strict_mode = true, null_padding = false, ignore_errors = false)"
)
# no kind is guessed, and every line is looked at for its keys: a kind or a key by the first lines changes later values
_JSON_LINES = (
    "(SELECT COLUMNS(*) ->> '$' FROM read_json({path}, format = 'newline_delimited', records = true, "
    "maximum_depth = 1, sample_size = -1))"
)
_CELLS = itemgetter(1)
_LINE_END = "\r\n"
"""A cell with either sign is put into quotes: DuckDB takes a lone carriage return for the end of a row."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def is_delimited(file: str) -> bool:
    return file.lower().endswith(tuple(_DELIMITERS))


@dataclass(frozen=True, slots=True)
class RowCopier:
    """Copies the rows of CSV and TSV files, read as contact files are."""

    query: RowQuery
    directory: Path
    """Where the copies stand while the SQL runs."""
    until: float
    """The moment of the monotonic clock at which the source is ended."""
    stop: Event

    def copy_rows(self, file: str, table: BinaryIO) -> BinaryIO:
        """The rows as CSV, to be closed; raises SqlFailed where one of them cannot be trusted."""
        faults = FileFaults(FileRequest(file, self.query.place))
        try:
            place = self.directory / f"{len(list(self.directory.iterdir()))}.csv"
            with place.open("wb") as copied:
                self._write_rows(copied, table, faults)
            faults.raise_errors()
            return place.open("rb")
        except InvalidInput as error:
            problem = error.problems[0]
            raise SqlFailed(f"file {quoted(file)}, line {problem.source.line}: {problem.message}") from None
        except OSError as error:
            raise SqlFailed(f"file {quoted(file)} cannot be copied for DuckDB: {error.strerror}") from None

    def _write_rows(self, copied: BinaryIO, table: BinaryIO, faults: FileFaults) -> None:
        file = faults.request.path
        delimiter = _DELIMITERS[file[-4:].lower()]
        names = _read_header(file, table, delimiter)
        table.seek(0)
        rows = read_rows(text_lines(table, faults), faults, delimiter)
        next(rows)
        copied.write(delimited_bytes([names], _LINE_END))
        for lot in iter(lambda: list(islice(rows, BATCH)), []):
            _refuse_ragged(lot, len(names), faults)
            copied.write(delimited_bytes(map(_CELLS, lot), _LINE_END))
            if self.stop.is_set() or time.monotonic() > self.until:
                raise ended_early(self.query, self.stop)


def delimited_bytes(rows: Iterable[Sequence[object]], line_end: str = "\n") -> bytes:
    # a writer on a file encodes row by row, which takes twice as long
    text = StringIO(newline="")
    csv.writer(text, lineterminator=line_end).writerows(rows)
    return text.getvalue().encode()


def _refuse_ragged(lot: Sequence[tuple[int, list[str]]], width: int, faults: FileFaults) -> None:
    if set(map(len, map(_CELLS, lot))) == {width}:
        return
    line, cells = next(row for row in lot if len(row[1]) != width)
    raise faults.fatal_error("ragged", line, f"a row of {len(cells)} fields under a header of {width}")


def reader_of(file: str, table: BinaryIO) -> str:
    """The expression by which DuckDB reads the file."""
    path = _literal(table.name)
    if file.lower().endswith(".parquet"):
        return f"read_parquet({path})"
    if file.lower().endswith(".jsonl"):
        return _JSON_LINES.format(path=path)
    columns = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in _read_header(file, table, ","))
    return _DELIMITED.format(path=path, columns=columns)


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _read_header(file: str, table: BinaryIO, delimiter: str) -> list[str]:
    table.seek(0)
    text = TextIOWrapper(table, encoding="utf-8-sig", newline="")
    try:
        header = next(csv.reader(text, delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        raise SqlFailed(
            f"file {quoted(file)}: line 1 cannot be read", hint="a table is UTF-8 text, columns first"
        ) from None
    finally:
        text.detach()
    if not any(header):
        raise SqlFailed(f"file {quoted(file)}: line 1 is empty", hint="the first line names the columns")
    # DuckDB compares names without regard to case
    names = [name.lower() for name in header]
    if "" in names or len(set(names)) < len(names):
        raise SqlFailed(f"file {quoted(file)}: line 1 has a column without a name, or two of one name")
    return header
