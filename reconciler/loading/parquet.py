"""Contact files in Parquet, through duckdb (extra `[bulk]`): the home of duckdb.

Rules: duckdb is imported only when a manifest names a .parquet file; it reads that one file, from an in-memory database
that may not load extensions; a row of Parquet has no line, its line is 0.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.loading.contact_tables import Gathering, RowFilter, find_column
from reconciler.loading.text import LFS, LFS_ELSEWHERE, is_lfs_pointer

MOST_OF_A_POINTER = 1_024
_BATCH = 50_000


def read_parquet(stream: BinaryIO, gathering: Gathering) -> None:
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
            _select(database, path, gathering)
        except duckdb.Error as error:
            raise gathering.stop("contact-file", 0, f"not Parquet: {str(error).splitlines()[0]}") from None


_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
}


def _missing_extra(gathering: Gathering) -> InvalidInput:
    wanted = gathering.wanted
    hint = "install reconciler with the extra [bulk], such as pip install '.[bulk]' in its checkout"
    return InvalidInput([Problem(wanted.source, f"{wanted.path} needs the extra [bulk]", "extra", hint=hint)])


def _select(database: Any, path: str, gathering: Gathering) -> None:
    where = gathering.wanted.where
    types = {name: kind for name, kind, *_ in database.execute(_DESCRIBE, [path]).fetchall()}
    column = find_column(list(types), gathering, line=0)
    for row_filter in where:
        if types[row_filter.column].endswith("[]") and not row_filter.contains:
            gathering.note_list(row_filter, 0)
    tests = "".join(f" AND {_test(row_filter, types[row_filter.column])}" for row_filter in where)
    query = f"SELECT {_quoted(column)} FROM read_parquet(?) WHERE true{tests}"
    cursor = database.execute(query, [path, *(row_filter.text for row_filter in where)])
    while batch := cursor.fetchmany(_BATCH):
        for (contact,) in batch:
            gathering.add(contact, 0)


_DESCRIBE = "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(?))"


def _test(row_filter: RowFilter, kind: str) -> str:
    """The condition of a filter on a column of that type; its text is the parameter."""
    column = _quoted(row_filter.column)
    if not row_filter.contains:
        return f"CAST({column} AS VARCHAR) = ?"
    if kind.endswith("[]"):
        return f"list_contains(CAST({column} AS VARCHAR[]), ?)"
    return rf"regexp_matches(CAST({column} AS VARCHAR), '(^|[,;])\s*' || regexp_escape(?) || '\s*($|[,;])')"


def _quoted(name: str) -> str:
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
