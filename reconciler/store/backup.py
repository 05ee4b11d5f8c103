"""A copy of the state beside it: one generation, 0600, old or new and never half.

A copy that holds all there is stays: many runs find nothing to do, and a million contacts are 70 MB.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from reconciler.core.model.errors import StateError
from reconciler.store.connection import is_there
from reconciler.store.fsync import Disk

# what was sent counts besides content: that an answer is missing, and so a doubt, is told by the journal alone
_MARK = """
SELECT id, lineage, serial, (SELECT max(n) FROM batches), (SELECT user_version FROM pragma_user_version)
FROM locations ORDER BY id
"""


def back_up(connection: sqlite3.Connection, path: Path, disk: Disk, *, kind: str = "backup") -> Path:
    """The copy's path: that of the state and the `kind`. What the connection has not committed is not in it."""
    target = path.with_name(f"{path.name}.{kind}")
    if _is_current(connection, target, disk):
        return target
    # mkstemp makes it 0600, and follows no link that somebody put there
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{target.name}.")
    part = Path(name)
    try:
        with closing(disk.connect(part)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            connection.backup(copy)
        disk.sync(descriptor)
        disk.replace(part, target)
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
            return bool(copy.execute(_MARK).fetchall() == connection.execute(_MARK).fetchall())
    except (sqlite3.Error, StateError):
        return False
