"""One SQLite file as a database of the store; states of older schema versions are carried forward.

Rules
1. Before a state is changed a copy of it is put beside it, named after its version.
2. All steps are one transaction: the state is of the old version or of the new one.
3. A reader changes nothing: it carries a copy in memory forward.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import Any

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.journal import StateCopy
from reconciler.core.model.names import Instant, LocationId
from reconciler.store import sqlite_file as files
from reconciler.store.database import COLUMNS, Given
from reconciler.store.schema import STEPS, TABLES, VERSION
from reconciler.store.sqlite_file import DISK, Disk, Turn, back_up, errors, transaction

ROWS_AT_ONCE = 100
CACHE_KIB = 65_536
"""Most of the pages of a million contacts: those of a batch lie all over them."""


class FetchedRows(list[Any]):
    """What a question was answered."""

    @property
    def rowcount(self) -> int:
        return len(self)

    def fetchall(self) -> list[Any]:
        return self


class SqliteDatabase:
    """One connection to the file at `path`."""

    for_update = ""
    joining = "group_concat"

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        disk: Disk = DISK,
        turn: Turn | None = None,
        *,
        reads_ahead: bool = False,
    ) -> None:
        """`reads_ahead`: the connection is not bound to the thread that made it."""
        self.connection = connection
        self.reads_ahead = reads_ahead
        self._turn = turn or Turn()
        self._before_commit: Callable[[], None] | None = None
        self._last_pattern: int | None = None
        self._path, self._disk = path, disk

    def number_pattern(self) -> int:
        if self._last_pattern is None:
            # from 32,768 on, all numbers take three bytes: a contact that is known anew takes the place that it had,
            # where a larger number would part its page, full as it is, in two
            largest = "SELECT coalesce(max(n), 32767) FROM known WHERE n > 32767"
            self._last_pattern = int(self.connection.execute(largest).fetchone()[0])
        self._last_pattern += 1
        return self._last_pattern

    def ask(self, statement: str, parameters: Sequence[object] = ()) -> FetchedRows:
        # a cursor that is not at its end sees later changes
        return FetchedRows(self.connection.execute(statement, parameters).fetchall())

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        return self.connection.execute(statement, parameters)

    def require(self, statement: str, parameters: Sequence[object], error: ReconcilerError) -> None:
        if self.connection.execute(statement, parameters).fetchone() is None:
            raise error

    @contextmanager
    def reading(self) -> Iterator[None]:
        # readers too: a long look would keep the others from committing
        with self._turn, errors(self._path):
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._turn, errors(self._path), transaction(self.connection):
            # others may have written since
            self._last_pattern = None
            yield
            if self._before_commit is not None:
                self._before_commit()

    @contextmanager
    def calling_before_commit(self, step: Callable[[], None]) -> Iterator[None]:
        """Within it, `step` is called with all of a transaction done but the commit; it may still refuse."""
        self._before_commit = step
        try:
            yield
        finally:
            self._before_commit = None

    def give(self, table: Given, rows: Iterable[Sequence[object]]) -> None:
        # made when it is needed: to make all of them takes as long as to open the file
        self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} ({COLUMNS[table]})")
        self.connection.execute(f"DELETE FROM temp.{table}")
        # executemany binds by place, and each table has its own number of columns
        marks = ", ".join("?" * len(COLUMNS[table].split(", ")))
        insert, given = f"INSERT INTO temp.{table} VALUES ({marks})", iter(rows)
        # many rows by one statement take less than half the time
        insert_many = f"{insert}{f', ({marks})' * (ROWS_AT_ONCE - 1)}"
        while len(some := list(islice(given, ROWS_AT_ONCE))) == ROWS_AT_ONCE:
            self.connection.execute(insert_many, list(chain.from_iterable(some)))
        self.connection.executemany(insert, some)

    def add_shared(self) -> None:
        """One writer at a time is SQLite's rule anyhow."""

    def back_up(self, mark: StateCopy) -> None:
        with self._turn, errors(self._path):
            back_up(self.connection, self._path, self._disk, mark)

    def hold(self, location: LocationId, fence: int) -> None:
        """A file knows no sessions."""

    def let_go(self, location: LocationId, fence: int) -> None:
        """A file knows no sessions."""

    def has_ended(self, location: LocationId, fence: int) -> bool:  # noqa: ARG002 (a file knows no sessions)
        return False

    def find_faults(self) -> Iterator[str]:
        for (fault,) in self.connection.execute("PRAGMA integrity_check(20)"):
            if fault != "ok":
                yield f"the file is damaged: {fault}"
        for table, _, parent, _ in self.connection.execute("PRAGMA foreign_key_check"):
            yield f"a row of the table {table} refers to one of {parent} that is missing"
        if _shape(self.connection) != _shape_of_this_version():
            yield "the tables are not those of this version"

    def close(self) -> None:
        self.connection.close()


@cache
def _shape_of_this_version() -> dict[str, list[tuple[str, ...]]]:
    with _TURN_OF_EMPTY:
        return _shape(_make_empty())


def _shape(connection: sqlite3.Connection) -> dict[str, list[tuple[str, ...]]]:
    tables = connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
    return {name: connection.execute(f"SELECT * FROM pragma_table_info('{name}')").fetchall() for (name,) in tables}


def open_for_reading(path: Path, disk: Disk = DISK) -> SqliteDatabase | None:
    """A connection that cannot write; None where there is no state yet."""
    connection = files.open_for_reading(path, disk)
    if connection is None:
        return None
    with errors(path):
        return SqliteDatabase(migrated_copy(connection), path, disk, reads_ahead=True)


def open_empty() -> SqliteDatabase:
    """A connection to a state in memory that nothing was ever written to."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with _TURN_OF_EMPTY:
        _make_empty().backup(connection)
    return SqliteDatabase(connection, Path(":memory:"))


_TURN_OF_EMPTY = Lock()


@cache
def _make_empty() -> sqlite3.Connection:
    """The tables without a row, to copy from: a copy takes a quarter of the time of making them."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(TABLES)
    return connection


def open_scratch(path: Path) -> SqliteDatabase:
    """A connection to a copy that goes when this process ends."""
    return open_for_writing(path, lasting=False)


def open_for_writing(
    path: Path, disk: Disk = DISK, *, lasting: bool = True, turn: Turn | None = None
) -> SqliteDatabase:
    """A connection to the state, made if there is none yet; `turn` is that of the process's other connections."""
    with turn or Turn():
        return _open_for_writing(path, disk, turn, lasting=lasting)


def _open_for_writing(path: Path, disk: Disk, turn: Turn | None, *, lasting: bool) -> SqliteDatabase:
    connection = files.open_for_writing(path, disk, lasting=lasting)
    try:
        with errors(path):
            migrate(connection, path, disk)
            # the given tables are emptied in each transaction: they are worth no file
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return SqliteDatabase(connection, path, disk, turn)


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path, disk: Disk) -> None:
    """The state in the file, of the present version from here on."""
    before = version_of(connection)
    if before == VERSION:
        return
    # named after its version: the copy that each run makes does not replace it
    changed = Instant(path.stat().st_mtime_ns // 1_000_000)
    back_up(connection, path, disk, StateCopy(changed, f"the upgrade from version {before}"), kind=f"v{before}.backup")
    with transaction(connection):
        _steps(connection)


def migrated_copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection itself, or a copy in memory that is of the present version."""
    if version_of(connection) == VERSION:
        return connection
    # an older state is carried forward in memory: a reader changes nothing on disk
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.backup(copy)
    connection.close()
    with transaction(copy):
        _steps(copy)
    return copy


def _steps(connection: sqlite3.Connection) -> None:
    # asked again: another process may have done it since
    for version in range(version_of(connection), VERSION):
        for statement in STEPS[version].split(";")[:-1]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
