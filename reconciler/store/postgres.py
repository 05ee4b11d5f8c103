"""States in the schemas of a PostgreSQL database: their sessions are lent by the transaction (`postgres_session.py`).

Rules
1. The tables are those of SQLite (`schema.TABLES`), in PostgreSQL's words, with the schema version in a table.
2. The session that took a lease holds an advisory lock for it, so that others see when that session has ended. A write
   is refused by the fencing number in the row, as everywhere.
3. What is required is not waited for: the server breaks the pipeline off. So a request waits three times for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from reconciler.core.model.errors import ReconcilerError, StateError, StateTooNew
from reconciler.core.model.journal import StateCopy
from reconciler.core.model.names import LocationId
from reconciler.store.database import COLUMNS, Given
from reconciler.store.postgres_session import (
    PipelinedRows,
    PostgresSession,
    Sessions,
    StateAddress,
    as_postgres,
    damaged,
    errors,
    storable,
)
from reconciler.store.schema import STEPS, TABLES, VERSION

RESERVED = 1_000
"""So many numbers of patterns are asked for at once."""
_RESERVE = "SELECT nextval(pg_get_serial_sequence('known', 'n')) FROM generate_series(1, %s)"
_ARRAYS = {"TEXT": "text[]", "INTEGER": "bigint[]", "BLOB": "bytea[]"}


def _as_arrays(table: Given) -> str:
    """The rows of the table, from an array for each of its columns."""
    names, kinds = zip(*(column.split()[:2] for column in COLUMNS[table].split(", ")), strict=True)
    arrays = ", ".join(f"%s::{_ARRAYS[kind]}" for kind in kinds)
    return f"{table} ({', '.join(names)}) AS (SELECT * FROM unnest({arrays}))"


def _write_arrays(table: Given, rows: Iterable[Sequence[Any]]) -> list[str]:
    """Each column of the rows as the text of an array, which psycopg would write field by field."""
    kinds = [column.split()[1] for column in COLUMNS[table].split(", ")]
    columns = tuple(zip(*rows, strict=True)) or ((),) * len(kinds)
    return [f"{{{_WRITERS[kind](column)}}}" for kind, column in zip(kinds, columns, strict=True)]


def _write_integers(column: Sequence[int | None]) -> str:
    return str(list(column))[1:-1].replace("None", "NULL")


def _write_texts(column: Sequence[str | None]) -> str:
    texts = [text for text in column if text is not None]
    if len(texts) == len(column) > 0 and _ODD.search("".join(texts)) is None:
        return '"' + '","'.join(texts) + '"'
    return ",".join(map(_write_text, column))


def _write_text(text: str | None) -> str:
    return "NULL" if text is None else '"{}"'.format(_ODD.sub(r"\\\g<0>", str(storable(text))))


def _write_blobs(column: Sequence[bytes]) -> str:
    return ",".join(f'"\\\\x{blob.hex()}"' for blob in column)


_ODD = re.compile('["\\\\\x00\x1a\ud800-\udfff]')
_WRITERS: Mapping[str, Callable[[Sequence[Any]], str]] = {
    "TEXT": _write_texts,
    "INTEGER": _write_integers,
    "BLOB": _write_blobs,
}


_FOR_MANY_ROWS = """
ALTER TABLE rows DROP CONSTRAINT rows_batch_fkey, DROP CONSTRAINT rows_contact_fkey;
ALTER TABLE rows SET (fillfactor = 50);
ALTER TABLE contacts SET (fillfactor = 50);
"""
"""A request has 500 rows, each written twice. The server looked up each reference of each by a query of its own, though
the statement that writes the row takes it from there; and a new version on the page of the old one needs no index."""
_REFERRED = {"batches": "batch", "contacts": "contact"}
"""The tables that `rows` refers to without a constraint, and by which column."""


class PostgresDatabase:
    """The state in one schema."""

    for_update = " FOR UPDATE"
    joining = "string_agg"
    reads_ahead = False

    def __init__(self, sessions: Sessions, place: StateAddress) -> None:
        self._sessions, self._place = sessions, place
        self._lent: PostgresSession | None = None
        self._reserved: list[int] = []
        self._refusal: ReconcilerError | None = None
        self._given: dict[Given, list[str]] = {}

    @property
    def session(self) -> PostgresSession:
        """That of the transaction."""
        assert self._lent is not None
        return self._lent

    def number_pattern(self) -> int:
        # numbers are asked for many at once, and never given again: a transaction that fails leaves a gap
        if not self._reserved:
            rows = self.execute(_RESERVE, (RESERVED,)).fetchall()
            self._reserved = sorted((number for (number,) in rows), reverse=True)
        return self._reserved.pop()

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> PipelinedRows:
        translated, tables = _translate(statement)
        given = [array for table in tables for array in self._given.get(table) or _write_arrays(table, ())]
        stored = [*given, *map(storable, parameters)]
        return PipelinedRows(self.session.connection.execute(translated, stored), self.session.pipeline)

    ask = execute

    def require(self, statement: str, parameters: Sequence[object], error: ReconcilerError) -> None:
        # the server stops the pipeline by itself, so that nobody has to wait for the answer before the commit
        self._refusal = error
        self.execute(f"SELECT 1 / count(*) FROM ({statement}) AS required", parameters)

    def reading(self) -> AbstractContextManager[None]:
        # one snapshot for several queries: a run that ends between them is seen whole or not at all
        return self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def writing(self) -> AbstractContextManager[None]:
        return self._transaction("BEGIN")

    @contextmanager
    def _transaction(self, begin: LiteralString) -> Iterator[None]:
        self._given.clear()
        self._refusal = None
        with errors(self._place), self._sessions.lend() as self._lent:
            try:
                with self._lent.transaction(begin, self._place.schema):
                    yield
            except psycopg.errors.DivisionByZero as error:
                raise self._refusal or error from None
            finally:
                self._lent = None

    def give(self, table: Given, rows: Iterable[Sequence[object]]) -> None:
        # no table of the server, which it would have to fill and to empty: the rows go with the statements that name it
        self._given[table] = _write_arrays(table, rows)

    def add_shared(self) -> None:
        # two transactions that add the same tag sets in different orders would wait for one another
        self.session.connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._key("shared"),))

    def hold(self, location: LocationId, fence: int) -> None:
        key = self._key(location, fence)
        if key not in self.session.locks:
            self.session.try_lock(key)

    def let_go(self, location: LocationId, fence: int) -> None:
        self._sessions.let_go(self._key(location, fence))

    def has_ended(self, location: LocationId, fence: int) -> bool:
        key = self._key(location, fence)
        # a lock that can be had is held by no session; a session can have its own lock twice, hence the first test
        if key in self.session.locks or not self.session.try_lock(key):
            return False
        self.session.unlock(key)
        return True

    def back_up(self, mark: StateCopy) -> None:
        """A server has its own backups."""

    def find_faults(self) -> Iterator[str]:
        # the server sees to its other constraints
        for parent, column in _REFERRED.items():
            loose = (
                f"SELECT count(*) FROM rows LEFT JOIN {parent} ON {parent}.n = rows.{column} WHERE {parent}.n IS NULL"
            )
            if found := self.execute(loose).fetchall()[0][0]:
                yield f"{found:,} rows of {parent} that are missing"

    def close(self) -> None:
        """Its sessions are those of the server."""

    def _key(self, *parts: object) -> int:
        """The number of an advisory lock, unlike those of other programs that use the database."""
        text = "\x00".join(("reconciler", self._place.schema, *map(str, parts)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def exists(database: PostgresDatabase, schema: str) -> bool:
    query = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'reconciler_version'"
    return bool(database.execute(query, (schema,)).fetchall())


def make_or_carry_forward(database: PostgresDatabase, place: StateAddress) -> None:
    """The state in the schema is there and of the present version from here on."""
    with database.reading():
        if exists(database, place.schema) and read_version(database, place) == VERSION:
            return
    with database.writing():
        # two first runs at once: the second waits, and finds the tables
        database.add_shared()
        if not exists(database, place.schema):
            _make(database, place.schema)
        # asked again: another process may have done it since
        for version in range(read_version(database, place), VERSION):
            _execute(database, STEPS[version])
            database.execute("UPDATE reconciler_version SET version = ?", (version + 1,))


def _make(database: PostgresDatabase, schema: str) -> None:
    if not database.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (schema,)).fetchall():
        database.session.connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    _execute(database, TABLES)
    _execute(database, _FOR_MANY_ROWS)
    database.execute("CREATE TABLE reconciler_version (version BIGINT NOT NULL)")
    database.execute("INSERT INTO reconciler_version VALUES (?)", (VERSION,))


def _execute(database: PostgresDatabase, definitions: str) -> None:
    for statement in definitions.split(";")[:-1]:
        database.session.connection.execute(sql.SQL(as_postgres(statement)))


def read_version(database: PostgresDatabase, place: StateAddress) -> int:
    """The schema version."""
    if database.execute("SHOW server_encoding").fetchall() != [("UTF8",)]:
        raise StateError(f"the database of {place.name} is not in UTF-8", hint="create it with ENCODING 'UTF8'")
    versions = [row[0] for row in database.execute("SELECT version FROM reconciler_version")]
    if len(versions) != 1:
        raise damaged(place, f"{len(versions)} schema versions")
    if versions[0] > VERSION:
        raise StateTooNew(
            f"{place.name} has schema version {versions[0]}; this reconciler knows versions up to {VERSION}",
            hint="upgrade reconciler to at least the version that wrote it",
        )
    return int(versions[0])


@lru_cache(maxsize=100)
def _translate(statement: str) -> tuple[bytes, tuple[Given, ...]]:
    """In the words of psycopg, and the given tables that it names, whose arrays come before its parameters."""
    tables = tuple(table for table in Given if re.search(rf"\b{table}\b", statement))
    head = f"WITH {', '.join(map(_as_arrays, tables))} " if tables else ""
    return f"{head}{statement.replace('?', '%s')}".encode(), tables
