"""The lease's row in a SQLite state, and whether its holder still has it."""

from __future__ import annotations

import os
import socket
import sqlite3
from typing import Any

from reconciler.core.lease import Holder, Lease
from reconciler.core.names import Instant, LocationId
from reconciler.store.connection import decoding

_COLUMNS = "fence, expires, id, who, operation, host, pid, version, created, run_url"


@decoding()
def find_lease(connection: sqlite3.Connection, location: LocationId) -> Lease | None:
    """The last lease on a location; one that was released has no holder's id."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM leases WHERE location = (SELECT n FROM locations WHERE id = ?)", (location,)
    ).fetchone()
    if found is None:
        return None
    fence, expires, *holder = found
    return Lease(location, Holder(*holder), fence, expires)


def put_lease(connection: sqlite3.Connection, number: int, lease: Lease) -> None:
    """`number` is the location's."""
    holder = lease.holder
    row: tuple[Any, ...] = (
        lease.fence,
        lease.expires,
        holder.id,
        holder.who,
        holder.operation,
        holder.host,
        holder.pid,
        holder.version,
        holder.created,
        holder.run_url,
    )
    marks = ", ".join("?" * (len(row) + 1))
    connection.execute(f"INSERT OR REPLACE INTO leases (location, {_COLUMNS}) VALUES ({marks})", (number, *row))


def end_lease(connection: sqlite3.Connection, location: LocationId) -> None:
    connection.execute(
        "UPDATE leases SET expires = 0, id = '' WHERE location = (SELECT n FROM locations WHERE id = ?)", (location,)
    )


@decoding()
def is_held(lease: Lease, now: Instant) -> bool:
    return bool(lease.holder.id) and lease.expires > now and not _is_dead(lease.holder)


def _is_dead(holder: Holder) -> bool:
    """Whether the holder is a process of this host that is no more."""
    if holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
