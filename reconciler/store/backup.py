"""A copy of the state beside it: one generation, 0600, old or new and never half."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from reconciler.store.disk import Disk


def back_up(connection: sqlite3.Connection, path: Path, disk: Disk, *, kind: str = "backup") -> Path:
    """The copy's path: that of the state and the `kind`. What the connection has not committed is not in it."""
    target = path.with_name(f"{path.name}.{kind}")
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
