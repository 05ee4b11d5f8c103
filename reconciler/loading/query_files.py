"""Sources of the settings: what is wrong with how one is declared, which one a contact set means; SQL on files.

Rules
1. A table of SQL is a file of the manifests' directory, called as the file without its folders and ending.
2. DuckDB reads these files and nothing else: no network, no extension, no other path. A time-out, or being stopped,
   interrupts it.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from threading import Event, Thread
from typing import Any, BinaryIO, cast

from reconciler.core.model.errors import InvalidInput, Problem, install_hint
from reconciler.core.model.names import Source, did_you_mean
from reconciler.core.model.people import RowQuery
from reconciler.core.model.safe_text import quoted
from reconciler.loading import mistakes
from reconciler.loading.file_tree import SETTINGS_NAME, CannotRead
from reconciler.loading.files import Files, name_inside
from reconciler.loading.nodes import Node, Scalar
from reconciler.loading.parquet_files import find_duckdb
from reconciler.loading.placeholders import find_misspelt, find_placeholder
from reconciler.loading.query_tables import (
    BATCH,
    RowCopier,
    SqlFailed,
    delimited_bytes,
    ended_early,
    is_delimited,
    reader_of,
)
from reconciler.loading.settings_models import SourceModel
from reconciler.loading.templates import ClientLocation, fill_words

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
MIB = 1024 * 1024
_TICK_S = 0.1
_OF_SQL = "such as sql: select contact_id from orders, with files: [exports/orders.csv]"


@dataclass(frozen=True, slots=True)
class QueryFinder:
    """The sources that the settings declare, as contact sets ask for them."""

    queries: Mapping[str, RowQuery]
    are_known: bool = True
    """False where the defaults stand in for settings with a mistake."""

    def find(self, name: str, place: Source, client: ClientLocation) -> RowQuery | None:
        """The source with what stands in its placeholders for a location; raises InvalidInput where there is none.

        `place`: where a set names it. None where nothing is known of the sources.
        """
        query = self.queries.get(name)
        # what is wrong with the settings is told, and would only be repeated here
        if query is None and not self.are_known:
            return None
        if query is None:
            hint = did_you_mean(name, list(self.queries)) or "a source is declared in reconciler.yaml, under `sources`"
            raise InvalidInput([Problem(place, f"no source is called {name!r}", "unknown-source", hint=hint)])
        return replace(query, command=fill_words(query.command, client, place))


def name_table(file: str) -> str:
    """The name of the table that a file is in SQL."""
    return posixpath.basename(file).rpartition(".")[0]


def list_source_faults(model: SourceModel, key: Scalar, node: Node) -> Iterator[Problem]:
    """Mistakes of a source that no single value shows."""
    # pydantic tells which keys there are, and not which go together
    if model.command is None and model.sql is None:
        message = f"source {key.text!r} names neither `command` nor `sql`"
        yield Problem(key.source, message, "source", hint=_OF_SQL)
    for path, message, hint in (*_list_mixed_keys(model), *_list_table_faults(model.files or ())):
        yield Problem(mistakes.locate_value(node, path, of_key=len(path) == 1), message, "source", hint=hint)


_Fault = tuple[tuple[str | int, ...], str, str]
"""The place within the source, what is wrong there, and a hint."""


def _list_mixed_keys(model: SourceModel) -> Iterator[_Fault]:
    if model.command is not None and model.sql is not None:
        yield ("sql",), "a source has a `command` or `sql`, not both", ""
        return
    if model.command is not None and not model.command[0].strip():
        yield ("command", 0), "the first word of a command is its program, and this one is empty", ""
    for place, word in enumerate(model.command or ()):
        if misspelt := find_misspelt(word):
            written, meant = misspelt
            hint = f"did you mean '{meant}'? Braces that are meant as text can stand in a file that the command reads"
            yield ("command", place), f"nothing is known by {written[:80]!r}", hint
    if model.sql is None and model.files is not None:
        yield ("files",), "`files` are tables of `sql`, and there is none", ""
    if model.sql is not None:
        yield from _list_sql_faults(model, model.sql)


def _list_sql_faults(model: SourceModel, sql: str) -> Iterator[_Fault]:
    if not sql.strip():
        yield ("sql",), "the SQL is empty", _OF_SQL
    # taken as text it would find no row, and people would leave their sets
    if written := find_placeholder(sql):
        hint = (
            "a command's words may have placeholders; SQL gives the rows of all locations, and `where` of a set chooses"
        )
        yield ("sql",), f"SQL holds the placeholder {written[:80]!r}, in whose place nothing is put", hint
    if model.files is None:
        yield ("sql",), "SQL reads the files that are named beside it, and none is", _OF_SQL
    if model.format is not None:
        yield ("format",), "`format` is of what a command prints, and there is none", ""


def _list_table_faults(files: Sequence[str]) -> Iterator[_Fault]:
    tables: dict[str, str] = {}
    for place, file in enumerate(files):
        try:
            name = name_inside(SETTINGS_NAME, file)
        except CannotRead as error:
            yield ("files", place), f"{quoted(file[:200])}: {error}", ""
            continue
        if not name.lower().endswith(TABLE_ENDINGS):
            yield ("files", place), f"not a table: {file[:200]}", f"known endings: {', '.join(TABLE_ENDINGS)}"
        # DuckDB compares names without regard to case
        elif (first := tables.setdefault(name_table(name).lower(), name)) != name:
            yield ("files", place), f"{first} and {name} would both be the table {name_table(name)!r}", ""


def run_sql(query: RowQuery, files: Files, stop: Event) -> BinaryIO:
    """What the SQL of a source selects, as CSV at its start; raises SqlFailed. Once `stop` is set, it is ended."""
    duckdb = find_duckdb()
    if duckdb is None:
        raise SqlFailed("SQL needs the extra [bulk]", hint=install_hint("bulk"))
    with ExitStack() as opened:
        given = {file: opened.enter_context(_open_table(files, file)) for file in query.files}
        # a large join spills to a directory: by default to one beside the manifests
        spilled = opened.enter_context(TemporaryDirectory())
        until = time.monotonic() + query.timeout_s
        copier = RowCopier(query, Path(spilled), until, stop)
        tables = {
            file: opened.enter_context(copier.copy_rows(file, table)) if is_delimited(file) else table
            for file, table in given.items()
        }
        config = {**_CONFIG, "temp_directory": spilled, "max_temp_directory_size": f"{query.max_mib}MiB"}
        database = opened.enter_context(duckdb.connect(":memory:", config=config))
        opened.enter_context(_watched(database.interrupt, until, stop))
        try:
            return _select_rows(database, _read_statement(duckdb, query.sql), tables, query.max_mib * MIB)
        except duckdb.InterruptException:
            raise ended_early(query, stop) from None
        except (duckdb.Error, OSError) as error:
            is_of_sql = isinstance(error, (OSError, *(getattr(duckdb, name) for name in _OF_SQL_ALONE)))
            raise SqlFailed(_first_line(error) if is_of_sql else _without_values(error)) from None


_OF_SQL_ALONE = (
    "BinderException",
    "CatalogException",
    "IOException",
    "OutOfMemoryException",
    "ParserException",
    "PermissionException",
)
"""Errors that tell of the SQL and of this machine; the others may repeat a value of a file."""
_LINE = re.compile(r"\bline:? (\d+)", re.IGNORECASE)
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
    "memory_limit": "1GiB",
}


def _open_table(files: Files, file: str) -> BinaryIO:
    try:
        return files.open(file)
    except CannotRead as error:
        raise SqlFailed(f"file {quoted(file)}: {error}") from None


def _without_values(error: Exception) -> str:
    kind, _, message = _first_line(error).partition(": ")
    line = _LINE.search(message)
    return f"{kind}: a value cannot be used" + (f", line {line[1]}" if line else "")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _watched(interrupt: Callable[[], object], until: float, stop: Event) -> Iterator[None]:
    """Interrupts what is done meanwhile at that moment, and when it is stopped."""
    ended = Event()

    def watch() -> None:
        # again and again: an interruption between two queries is lost
        while not ended.wait(_TICK_S):
            if stop.is_set() or time.monotonic() > until:
                interrupt()

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _read_statement(duckdb: Any, sql: str) -> str:
    """The one SELECT of the SQL; raises SqlFailed."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SqlFailed("the SQL is not one SELECT")
    return str(statements[0].query).rstrip().rstrip(";")


def _select_rows(database: Any, statement: str, tables: Mapping[str, BinaryIO], most_bytes: int) -> BinaryIO:
    """`tables`: the files by their names."""
    readers = {name_table(file): reader_of(file, table) for file, table in tables.items()}
    database.execute("SET enable_progress_bar = false")
    # the order matters: after the last one nothing can be opened up again
    database.execute("SET allowed_paths = ?", [[table.name for table in tables.values()]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    for name, reader in readers.items():
        quoted = name.replace('"', '""')
        database.execute(f'CREATE VIEW "{quoted}" AS SELECT * FROM {reader}')
    # each value as the text that DuckDB writes for it
    cursor = database.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({statement}\n)")
    return _write_rows(cursor, most_bytes)


def _write_rows(cursor: Any, most_bytes: int) -> BinaryIO:
    kept = cast(BinaryIO, TemporaryFile())  # noqa: SIM115 (it is the result)
    try:
        kept.write(delimited_bytes([[name for name, *_ in cursor.description]]))
        while batch := cursor.fetchmany(BATCH):
            kept.write(delimited_bytes(batch))
            if kept.tell() > most_bytes:
                raise SqlFailed(f"it gives more than {most_bytes // MIB:,} MiB", hint="`max_mib` bounds it")
    except BaseException:
        kept.close()
        raise
    kept.seek(0)
    return kept
