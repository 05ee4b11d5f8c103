"""States of older schema versions: carried forward, one version after the other.

Rules
1. Before a state is changed a copy of it is put beside it, named after its version.
2. All steps are one transaction: the state is of the old version or of the new one.
3. Whoever only looks changes nothing: it carries a copy in memory forward.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from reconciler.store.backup import back_up
from reconciler.store.connection import transaction
from reconciler.store.fsync import Disk
from reconciler.store.schema import STEPS, VERSION


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path, disk: Disk) -> None:
    """The state in the file, of the present version from here on."""
    before = version_of(connection)
    if before == VERSION:
        return
    back_up(connection, path, disk, kind=f"v{before}.backup")
    with transaction(connection):
        _steps(connection)


def migrated_copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection itself, or a copy in memory that is of the present version."""
    if version_of(connection) == VERSION:
        return connection
    copy = sqlite3.connect(":memory:", isolation_level=None)
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
