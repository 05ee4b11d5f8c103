"""Reads the rows of .parquet files: the home of duckdb, of the extra `[bulk]`.

Rule: duckdb is imported only when a manifest names such a file, or a source has SQL. Such a file is all that it reads,
from an in-memory database that may not load extensions. A row of ids has no line, its line is 0.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from reconciler.core.model.errors import InvalidInput, Problem, install_hint
from reconciler.core.model.people import RowFilter
from reconciler.loading.contact_ids import FileFaults, Row, find_columns
from reconciler.loading.files import LFS, LFS_ELSEWHERE, MOST_OF_A_POINTER, is_lfs_pointer

_BATCH = 50_000


def read_parquet(stream: BinaryIO, faults: FileFaults) -> Iterator[Row]:
    if is_lfs_pointer(stream.read(MOST_OF_A_POINTER)):
        raise faults.fatal_error("git-lfs", 1, LFS, LFS_ELSEWHERE)
    stream.seek(0)
    duckdb = find_duckdb()
    if duckdb is None:
        raise _missing_extra(faults)
    with _on_disk(stream) as path, duckdb.connect(":memory:", config=_CONFIG) as database:
        try:
            # its progress bar would go to stdout, in the midst of the command's answer
            database.execute("SET enable_progress_bar = false")
            yield from _select_rows(database, path, faults)
        except duckdb.Error as error:
            raise faults.fatal_error("contact-file", 0, f"not Parquet: {str(error).splitlines()[0]}") from None


def find_duckdb() -> Any:
    """The library; None where the extra `[bulk]` is not installed."""
    try:
        import duckdb
    except ImportError:
        return None
    return duckdb


_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
}


def _missing_extra(faults: FileFaults) -> InvalidInput:
    request = faults.request
    hint = install_hint("bulk")
    return InvalidInput([Problem(request.source, f"{request.path} needs the extra [bulk]", "extra", hint=hint)])


def _select_rows(database: Any, path: str, faults: FileFaults) -> Iterator[Row]:
    request = faults.request
    types = {name: kind for name, kind, *_ in database.execute(_DESCRIBE, [path]).fetchall()}
    columns = find_columns(list(types), faults, line=0)
    if request.every_column:
        columns = tuple(types)
        yield 0, columns
    # duckdb filters before we see a row: that a column holds lists is known by its type
    for row_filter in request.where:
        if types[row_filter.column].endswith("[]") and not row_filter.contains:
            faults.note_list(row_filter, 0)
    tests = "".join(f" AND {_sql_condition(row_filter, types[row_filter.column])}" for row_filter in request.where)
    cells = ", ".join(map(_sql_text if request.people else _quote_name, columns))
    number, options = ("file_row_number + 1", ", file_row_number = true") if request.people else ("0", "")
    query = f"SELECT {number}, {cells} FROM read_parquet(?{options}) WHERE true{tests}"
    cursor = database.execute(query, [path, *(row_filter.text for row_filter in request.where)])
    while batch := cursor.fetchmany(_BATCH):
        for number, *row in batch:
            yield number, row


def _sql_text(name: str) -> str:
    return f"CAST({_quote_name(name)} AS VARCHAR)"


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
