"""One SQLite file: opened, checked, copied, and its errors told as ours.

Rules
1. When a transaction is acknowledged, the one file, and each copy of it, holds it.
2. 0600 in a directory 0700 that we made; a file that is no state, damaged, or of a newer version is refused untouched.
3. So is a symbolic link, a file of another user, and one that others may write to: a person that can change the
   state can make us send changes that were not approved.
4. A copy beside the state is one generation, 0600, old or new and never half. One that holds all there is stays: many
   runs find nothing to do, and a million contacts are 70 MB.
5. A copy is marked as one, in the history of each location: it lacks the run that it was made before, so that the
   additions of that run would be sent a second time.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.core.model.errors import StateCorrupted, StateError, StateTooNew
from reconciler.core.model.journal import COPY, StateCopy
from reconciler.store.database import Undecodable
from reconciler.store.schema import APPLICATION_ID, TABLES, VERSION
from reconciler.system import FileCalls, make_folders, sync_folder

BUSY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Disk:
    """`connect` opens a database, `sync` makes a file's bytes durable, `replace` renames over an existing file."""

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    sync: Callable[[int], Any] = os.fsync
    replace: Callable[[Path, Path], object] = Path.replace
    sync_folder: Callable[[Path], None] = sync_folder
    """Makes a rename durable."""


DISK = Disk()


class Turn:
    """The connections of one process to one file take turns, in the order in which they came.

    SQLite would have each ask again and again, and the one that is out of luck wait for its time-out.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            own = threading.Lock()
            own.acquire()
            self._waiting.append(own)
        try:
            self._wait(own)
        except BaseException:
            with self._guard:
                if own in self._waiting:
                    self._waiting.remove(own)
                else:
                    self._hand_on()
            raise

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._hand_on()

    def _wait(self, own: threading.Lock) -> None:
        # the one before opens it
        own.acquire()

    def _hand_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._is_taken = False


def open_for_reading(path: Path, disk: Disk = DISK) -> sqlite3.Connection | None:
    """A connection that cannot write; None where there is no state yet."""
    with errors(path):
        if not is_there(path):
            return None
        # not mode=ro, which cannot roll back the half transaction of a killed writer
        place = f"{path.absolute().as_uri()}?mode=rw"
        connection = disk.connect(place, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            # the file may be written to, for a rollback; this connection does not
            connection.execute("PRAGMA query_only = ON")
            if _is_empty(connection, path):
                connection.close()
                return None
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_writing(path: Path, disk: Disk = DISK, *, lasting: bool = True) -> sqlite3.Connection:
    """A connection to the state, made if there is none yet; a power cut may take one that is not `lasting`."""
    with errors(path):
        if not is_there(path):
            _prepare(path, disk)
        connection = disk.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        try:
            if not _is_empty(connection, path):
                _check(connection, path)
            # the journal is cut to nothing, which is synchronised, and not deleted, which is not: a journal that came
            # back with the power would take the last transaction away
            connection.execute(f"PRAGMA journal_mode = {'TRUNCATE' if lasting else 'MEMORY'}")
            connection.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'OFF'}")
            # SQLite checks them only where a connection asks for it
            connection.execute("PRAGMA foreign_keys = ON")
            # a contact that is forgotten leaves no bytes behind; not every build of SQLite does so by itself
            connection.execute("PRAGMA secure_delete = ON")
            _create(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def is_there(path: Path) -> bool:
    """Whether there is a file, and one that can be trusted."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    mistrust = _find_mistrust(status)
    if mistrust:
        raise StateError(f"the state {path} {mistrust[0]}", hint=mistrust[1])
    return True


def _find_mistrust(status: os.stat_result) -> tuple[str, str] | None:
    """Why the file cannot be trusted, and the remedy; None where it can."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link", "name the file itself with --state"
    if not stat.S_ISREG(status.st_mode):
        return "is not a file", "point --state at another place"
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return f"belongs to another user (number {status.st_uid})", "run as that user, or chown the file"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "may be written to by others", "if nobody did: chmod go-w"
    return None


def _is_empty(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether no byte was ever committed: its maker was stopped before the tables were there."""
    # asked of SQLite first, as that rolls back a journal; it counts a byte or two as no page
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return bool(pages == 0 and path.stat().st_size == 0)


def _prepare(path: Path, disk: Disk) -> None:
    def make_folder(folder: Path) -> None:
        folder.mkdir(mode=0o700 if folder == path.parent else 0o777)

    # durably: SQLite brings the name of the file to the disk, and not those of the folders above it
    make_folders(path.parent, calls=FileCalls(make_folder=make_folder, sync_folder=disk.sync_folder))
    # 0600 from the first moment, and through no link that was put there meanwhile
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return
        for statement in TABLES.split(";")[:-1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StateCorrupted(f"{path} is not a state of reconciler", hint="point --state at another file")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StateTooNew(
            f"{path} has schema version {version}; this reconciler knows versions up to {VERSION}",
            hint="upgrade reconciler to at least the version that wrote it",
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing, durable at its end."""
    # with the write lock from the start: a transaction that read first may be refused it later
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # after some errors, such as a full disk, SQLite has rolled back already
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Errors of SQLite and the file system, as StateError with the file's name and a way out."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one: extended codes add the place
        if code in _DAMAGED:
            raise _damaged(path, error) from error
        raise StateError(
            f"the state {path} cannot be used: {error}", hint="see the disk and the file's permissions"
        ) from error
    except (Undecodable, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise StateError(f"the state {path} cannot be opened: {error.strerror}") from error


def _damaged(path: Path, error: Exception) -> StateCorrupted:
    return StateCorrupted(
        f"the state {path} is damaged: {error}",
        hint="restore it from a backup, which lacks the last run, or move it away to start from what the API will tell",
    )


# the last batch counts as well as the serial: only the journal says that an answer is missing, and so a doubt; neither
# counts when a set was pulled, nor the index of people
_CONTENT = """
SELECT id, lineage, serial, (SELECT max(n) FROM batches), (SELECT user_version FROM pragma_user_version),
    (SELECT sum(as_of) FROM snapshots), (SELECT sum(revision) FROM people_status)
FROM locations ORDER BY id
"""


# columns that the tables of all versions have
_PUT_MARK = """
INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, ended, status)
SELECT lower(hex(randomblob(6))), n, ?, '', '', '', ?, ?, 'complete' FROM locations
"""


def back_up(connection: sqlite3.Connection, path: Path, disk: Disk, mark: StateCopy, *, kind: str = "backup") -> Path:
    """The copy's path: that of the state and the `kind`. It holds committed transactions alone."""
    target = path.with_name(f"{path.name}.{kind}")
    if _is_current(connection, target, disk):
        return target
    # mkstemp makes it 0600, and follows no link that another user put there
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{target.name}.")
    part = Path(name)
    try:
        with closing(disk.connect(part, isolation_level=None)) as copy:
            # synchronised once, as a whole, before it replaces the older copy
            copy.execute("PRAGMA synchronous = OFF")
            copy.execute("PRAGMA journal_mode = MEMORY")
            connection.backup(copy)
            copy.execute(_PUT_MARK, (mark.operation, mark.made, mark.made))
        disk.sync(descriptor)
        disk.replace(part, target)
        disk.sync_folder(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return target


def _is_current(connection: sqlite3.Connection, target: Path, disk: Disk) -> bool:
    try:
        if not is_there(target):
            return False
        with closing(disk.connect(f"{target.absolute().as_uri()}?mode=ro", uri=True)) as copy:
            # one of an older version bears no mark
            is_marked = copy.execute("SELECT count(*) FROM runs WHERE operation LIKE ?", (f"{COPY}%",)).fetchone()[0]
            return bool(is_marked and copy.execute(_CONTENT).fetchall() == connection.execute(_CONTENT).fetchall())
    # a copy that cannot be read, or trusted, is made again
    except (sqlite3.Error, StateError):
        return False
