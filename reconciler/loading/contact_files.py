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


def read_table(stream: BinaryIO, wanted: FileRequest) -> ContactTable:
    """The ids of an open contact file; raises InvalidInput with every fault, each with its line."""
    gathering = IdCollector(wanted)
    ending = next((ending for ending in ENDINGS if wanted.path.lower().endswith(ending)), "")
    if ending == ".parquet":
        read_parquet(stream, gathering)
    elif ending in _READERS:
        _READERS[ending](text_lines(stream, gathering), gathering)
    else:
        hint = "known endings: " + ", ".join(ENDINGS)
        raise InvalidInput([Problem(wanted.source, f"not a contact file: {wanted.path}", "contact-file", hint=hint)])
    return gathering.table()


def text_lines(stream: BinaryIO, gathering: IdCollector) -> Iterator[str]:
    """The lines of a file with their ends, without its byte order mark."""
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
        if number == 1:
            _refuse_other_files(raw, gathering)
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise gathering.stop("size", number, f"a line longer than {MAX_LINE:,} bytes")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
            raise gathering.stop("encoding", number, message, SAVE_AS_UTF_8) from None
        if "\0" in line:
            raise gathering.stop("encoding", number, "a NUL character")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _refuse_other_files(first: bytes, gathering: IdCollector) -> None:
    """`first`: the first line, which is the whole file where lines end otherwise than with a line feed."""
    if is_lfs_pointer(first):
        raise gathering.stop("git-lfs", 1, LFS, LFS_ELSEWHERE)
    if is_utf_16(first):
        raise gathering.stop("encoding", 1, UTF_16, SAVE_AS_UTF_8)
    if b"\r" in first and not first.endswith(b"\n"):
        raise gathering.stop("encoding", 1, OLD_LINE_ENDS, END_WITH_LF)


def read_rows(lines: Iterable[str], gathering: IdCollector, delimiter: str) -> Iterator[tuple[int, list[str]]]:
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


def _read_delimited(lines: Iterable[str], gathering: IdCollector, delimiter: str) -> None:
    table = read_rows(lines, gathering, delimiter)
    header = [name.strip() for name in next(table, (1, []))[1]]
    if not header:
        raise gathering.stop("column", 1, "the file is empty: its first line must name the columns")
    if header[0].lower().startswith("sep="):
        hint = "leave that line out; .csv is separated by commas, .tsv by tabs"
        raise gathering.stop(
            "contact-file",
            1,
            f"the first line, {delimiter.join(header)[:20]!r}, is for Excel and names no columns",
            hint,
        )
    index = header.index(find_column(header, gathering))
    filters = [(row_filter, header.index(row_filter.column)) for row_filter in gathering.wanted.where]
    width, add, passes = len(header), gathering.add, gathering.passes
    for line, row in table:
        if len(row) != width:
            gathering.fault("ragged", line, f"a row of {len(row)} fields under a header of {width}")
        elif not filters or passes([(row_filter, row[at]) for row_filter, at in filters], line):
            add(row[index], line)


def _read_csv(lines: Iterable[str], gathering: IdCollector) -> None:
    _read_delimited(lines, gathering, ",")


def _read_tsv(lines: Iterable[str], gathering: IdCollector) -> None:
    _read_delimited(lines, gathering, "\t")


def _read_id_lines(lines: Iterable[str], gathering: IdCollector) -> None:
    wanted = gathering.wanted
    if wanted.column is not None or wanted.where:
        message = f"{wanted.path} has one id a line and no columns: leave `column` and `where` out"
        raise InvalidInput([Problem(wanted.source, message, "column")])
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            gathering.add(line, number)


def _read_jsonl(lines: Iterable[str], gathering: IdCollector) -> None:
    wanted, column, seen = gathering.wanted, gathering.wanted.column, set[str]()
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        row = _read_json_line(line, number, gathering)
        if row is None:
            continue
        if column is None:
            column = find_column(list(row), gathering, line=number)
        seen.update(name for name in wanted.columns if name in row)
        if _meets_filters(row, gathering, number):
            gathering.add(row.get(column), number)
    unseen = [name for name in wanted.columns if name not in seen]
    if unseen:
        raise gathering.stop("column", 1, f"no row has the key {unseen[0]!r} that `where` asks for")


def _meets_filters(row: Mapping[str, object], gathering: IdCollector, number: int) -> bool:
    where = gathering.wanted.where
    told = [(row_filter, row[row_filter.column]) for row_filter in where if row_filter.column in row]
    return gathering.passes(told, number) and len(told) == len(where)


class _Doubled(ValueError):
    msg = "a key stands twice"


def _refuse_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object, unless one of its keys would hide another."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Doubled
    return found


def _read_json_line(line: str, number: int, gathering: IdCollector) -> dict[str, object] | None:
    try:
        row = json.loads(line, object_pairs_hook=_refuse_doubled_keys)
    except (ValueError, RecursionError) as error:
        gathering.fault("contact-file", number, f"not JSON: {getattr(error, 'msg', 'nested too deeply')}")
        return None
    if not isinstance(row, dict):
        gathering.fault("contact-file", number, "not a JSON object")
        return None
    return row


_READERS: Mapping[str, Callable[[Iterable[str], IdCollector], None]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".txt": _read_id_lines,
}


MOST_OF_A_POINTER = 1_024
_BATCH = 50_000


def read_parquet(stream: BinaryIO, gathering: IdCollector) -> None:
    """The ids of a Parquet file."""
    if is_lfs_pointer(stream.read(MOST_OF_A_POINTER)):
        raise gathering.stop("git-lfs", 1, LFS, LFS_ELSEWHERE)
    stream.seek(0)
    try:
        import duckdb
    except ImportError:
        raise _missing_extra(gathering) from None
    with _on_disk(stream) as path, duckdb.connect(":memory:", config=_CONFIG) as database:
        try:
            # its progress would go to stdout, which is the answer's
            database.execute("SET enable_progress_bar = false")
            _select_ids(database, path, gathering)
        except duckdb.Error as error:
            raise gathering.stop("contact-file", 0, f"not Parquet: {str(error).splitlines()[0]}") from None


_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
}


def _missing_extra(gathering: IdCollector) -> InvalidInput:
    wanted = gathering.wanted
    hint = "install reconciler with the extra [bulk], such as pip install '.[bulk]' in its checkout"
    return InvalidInput([Problem(wanted.source, f"{wanted.path} needs the extra [bulk]", "extra", hint=hint)])


def _select_ids(database: Any, path: str, gathering: IdCollector) -> None:
    where = gathering.wanted.where
    types = {name: kind for name, kind, *_ in database.execute(_DESCRIBE, [path]).fetchall()}
    column = find_column(list(types), gathering, line=0)
    for row_filter in where:
        if types[row_filter.column].endswith("[]") and not row_filter.contains:
            gathering.note_list(row_filter, 0)
    tests = "".join(f" AND {_sql_condition(row_filter, types[row_filter.column])}" for row_filter in where)
    query = f"SELECT {_quote_name(column)} FROM read_parquet(?) WHERE true{tests}"
    cursor = database.execute(query, [path, *(row_filter.text for row_filter in where)])
    while batch := cursor.fetchmany(_BATCH):
        for (contact,) in batch:
            gathering.add(contact, 0)


_DESCRIBE = "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(?))"


def _sql_condition(row_filter: RowFilter, kind: str) -> str:
    """The condition of a filter on a column of that type; its text is the parameter."""
    column = _quote_name(row_filter.column)
    if not row_filter.contains:
        return f"CAST({column} AS VARCHAR) = ?"
    if kind.endswith("[]"):
        return f"list_contains(CAST({column} AS VARCHAR[]), ?)"
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
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield copy.name
