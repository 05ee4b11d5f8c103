"""Reads the ids of a contact file: .csv, .tsv, .jsonl, .txt (one id a line), and .parquet with the extra `[bulk]`.

Rules
1. A row that cannot be trusted is an error with its line (ragged, without an id, not UTF-8, an open quote): an id that
   is silently lost would be pruned, and a shifted column would tag the wrong contact.
2. Blanks around an id do not count, empty lines do not count, an id given twice counts once.
3. Streamed: memory holds the ids and one line.
4. duckdb is imported only when a manifest names a .parquet file; it reads that one file, from an in-memory database
   that may not load extensions; a row of Parquet has no line, its line is 0.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.loading.contact_ids import ContactTable, FileRequest, IdCollector, RowFilter, find_column
from reconciler.loading.text import (
    END_WITH_LF,
    LFS,
    LFS_ELSEWHERE,
    OLD_LINE_ENDS,
    SAVE_AS_UTF_8,
    UTF_16,
    is_lfs_pointer,
    is_utf_16,
)

MAX_LINE = 1_048_576
ENDINGS = (".csv", ".tsv", ".jsonl", ".txt", ".parquet")
MOST_OF_A_POINTER = 1_024
_BATCH = 50_000


def read_table(stream: BinaryIO, request: FileRequest) -> ContactTable:
    """The ids of an open contact file; raises InvalidInput with every fault, each with its line."""
    collector = IdCollector(request)
    ending = next((ending for ending in ENDINGS if request.path.lower().endswith(ending)), "")
    if ending == ".parquet":
        read_parquet(stream, collector)
    elif ending in _READERS:
        _READERS[ending](text_lines(stream, collector), collector)
    else:
        hint = "known endings: " + ", ".join(ENDINGS)
        raise InvalidInput([Problem(request.source, f"not a contact file: {request.path}", "contact-file", hint=hint)])
    return collector.build_table()


def text_lines(stream: BinaryIO, collector: IdCollector) -> Iterator[str]:
    """The lines of a file with their ends, without its byte order mark."""
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
        # before the checks below, whose messages would not tell that the file is of another kind
        if number == 1:
            _refuse_other_files(raw, collector)
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise collector.fatal_error("size", number, f"a line longer than {MAX_LINE:,} bytes")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
            raise collector.fatal_error("encoding", number, message, SAVE_AS_UTF_8) from None
        if "\0" in line:
            raise collector.fatal_error("encoding", number, "a NUL character")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _refuse_other_files(first: bytes, collector: IdCollector) -> None:
    """Refuses a Git LFS pointer, UTF-16 and old line ends by the first line.

    That is the whole file where lines end otherwise than with a line feed.
    """
    if is_lfs_pointer(first):
        raise collector.fatal_error("git-lfs", 1, LFS, LFS_ELSEWHERE)
    if is_utf_16(first):
        raise collector.fatal_error("encoding", 1, UTF_16, SAVE_AS_UTF_8)
    if b"\r" in first and not first.endswith(b"\n"):
        raise collector.fatal_error("encoding", 1, OLD_LINE_ENDS, END_WITH_LF)


def read_rows(lines: Iterable[str], collector: IdCollector, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of delimited text that are not empty, each with the line it starts on."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise collector.fatal_error("contact-file", line, f"not a table: {error}") from None


def _read_delimited(lines: Iterable[str], collector: IdCollector, delimiter: str) -> None:
    table = read_rows(lines, collector, delimiter)
    header = [name.strip() for name in next(table, (1, []))[1]]
    if not header:
        raise collector.fatal_error("column", 1, "the file is empty: its first line must name the columns")
    if header[0].lower().startswith("sep="):
        hint = "leave that line out; .csv is separated by commas, .tsv by tabs"
        raise collector.fatal_error(
            "contact-file",
            1,
            f"the first line, {delimiter.join(header)[:20]!r}, is for Excel and names no columns",
            hint,
        )
    index = header.index(find_column(header, collector))
    filters = [(row_filter, header.index(row_filter.column)) for row_filter in collector.request.where]
    # looked up once: a file may have millions of rows
    width, add_id, meets_filters = len(header), collector.add_id, collector.meets_filters
    for line, row in table:
        if len(row) != width:
            collector.add_fault("ragged", line, f"a row of {len(row)} fields under a header of {width}")
        elif not filters or meets_filters([(row_filter, row[at]) for row_filter, at in filters], line):
            add_id(row[index], line)


def _read_id_lines(lines: Iterable[str], collector: IdCollector) -> None:
    request = collector.request
    if request.column is not None or request.where:
        message = f"{request.path} has one id a line and no columns: leave `column` and `where` out"
        raise InvalidInput([Problem(request.source, message, "column")])
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            collector.add_id(line, number)


def _read_jsonl(lines: Iterable[str], collector: IdCollector) -> None:
    request, column, seen = collector.request, collector.request.column, set[str]()
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        row = _read_json_line(line, number, collector)
        if row is None:
            continue
        if column is None:
            column = find_column(list(row), collector, line=number)
        seen.update(name for name in request.columns if name in row)
        if _meets_filters(row, collector, number):
            collector.add_id(row.get(column), number)
    # JSON rows leave out keys without a value: only one that no row has is a mistake in the manifest
    unseen = [name for name in request.columns if name not in seen]
    if unseen:
        raise collector.fatal_error("column", 1, f"no row has the key {unseen[0]!r} that `where` asks for")


def _meets_filters(row: Mapping[str, object], collector: IdCollector, number: int) -> bool:
    where = collector.request.where
    # a row without the key does not meet the filter, but its other columns may still be worth a warning
    values = [(row_filter, row[row_filter.column]) for row_filter in where if row_filter.column in row]
    return collector.meets_filters(values, number) and len(values) == len(where)


class _Doubled(ValueError):
    msg = "a key stands twice"


def _refuse_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs; raises where one key would hide another, as Python's reader lets it."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _Doubled
    return row


def _read_json_line(line: str, number: int, collector: IdCollector) -> dict[str, object] | None:
    try:
        row = json.loads(line, object_pairs_hook=_refuse_doubled_keys)
    except (ValueError, RecursionError) as error:
        collector.add_fault("contact-file", number, f"not JSON: {getattr(error, 'msg', 'nested too deeply')}")
        return None
    if not isinstance(row, dict):
        collector.add_fault("contact-file", number, "not a JSON object")
        return None
    return row


_READERS: Mapping[str, Callable[[Iterable[str], IdCollector], None]] = {
    ".csv": partial(_read_delimited, delimiter=","),
    ".tsv": partial(_read_delimited, delimiter="\t"),
    ".jsonl": _read_jsonl,
    ".txt": _read_id_lines,
}


def read_parquet(stream: BinaryIO, collector: IdCollector) -> None:
    """The ids of a Parquet file."""
    if is_lfs_pointer(stream.read(MOST_OF_A_POINTER)):
        raise collector.fatal_error("git-lfs", 1, LFS, LFS_ELSEWHERE)
    stream.seek(0)
    try:
        import duckdb
    except ImportError:
        raise _missing_extra(collector) from None
    with _on_disk(stream) as path, duckdb.connect(":memory:", config=_CONFIG) as database:
        try:
            # its progress bar would go to stdout, in the midst of the command's answer
            database.execute("SET enable_progress_bar = false")
            _select_ids(database, path, collector)
        except duckdb.Error as error:
            raise collector.fatal_error("contact-file", 0, f"not Parquet: {str(error).splitlines()[0]}") from None


_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
}


def _missing_extra(collector: IdCollector) -> InvalidInput:
    request = collector.request
    hint = "install reconciler with the extra [bulk], such as pip install '.[bulk]' in its checkout"
    return InvalidInput([Problem(request.source, f"{request.path} needs the extra [bulk]", "extra", hint=hint)])


def _select_ids(database: Any, path: str, collector: IdCollector) -> None:
    where = collector.request.where
    types = {name: kind for name, kind, *_ in database.execute(_DESCRIBE, [path]).fetchall()}
    column = find_column(list(types), collector, line=0)
    # duckdb filters before we see a row: that a column holds lists is known by its type
    for row_filter in where:
        if types[row_filter.column].endswith("[]") and not row_filter.contains:
            collector.note_list(row_filter, 0)
    tests = "".join(f" AND {_sql_condition(row_filter, types[row_filter.column])}" for row_filter in where)
    query = f"SELECT {_quote_name(column)} FROM read_parquet(?) WHERE true{tests}"
    cursor = database.execute(query, [path, *(row_filter.text for row_filter in where)])
    while batch := cursor.fetchmany(_BATCH):
        for (contact,) in batch:
            collector.add_id(contact, 0)


_DESCRIBE = "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(?))"


def _sql_condition(row_filter: RowFilter, kind: str) -> str:
    """The condition of a filter on a column of that type; its text is the parameter."""
    column = _quote_name(row_filter.column)
    if not row_filter.contains:
        return f"CAST({column} AS VARCHAR) = ?"
    if kind.endswith("[]"):
        return f"list_contains(CAST({column} AS VARCHAR[]), ?)"
    # text with commas or semicolons, parted as `list_items` parts a cell
    return rf"regexp_matches(CAST({column} AS VARCHAR), '(^|[,;])\s*' || regexp_escape(?) || '\s*($|[,;])')"


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _on_disk(stream: BinaryIO) -> Iterator[str]:
    """The file's own path where it has one, a copy's where it is held in memory."""
    name = getattr(stream, "name", None)
    if isinstance(name, str):
        yield name
        return
    # duckdb reads from paths only
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name
