"""Leases as the state's tables hold them, and whether a holder is still there.

Rules
1. A number says nothing outside the PID namespace that gave it, on the host and since the boot that made the namespace,
   and is given again: only together with the time of its start does it name one process.
2. A process is gone only where all of that is known, of it and of us, and is ours. A value that the platform does not
   tell stays empty, and nothing follows from it: the lease ends by its time.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.model.lease import (
    HEARTBEAT_MS,
    TTL_MS,
    Holder,
    Lease,
    lease_lost_error,
    lock_held_error,
    wrong_lease_error,
)
from reconciler.core.model.names import Instant, LocationId
from reconciler.store.database import Database, decoding, first

_HOLDER = "id, who, operation, host, pid, version, created, run_url, boot_id, pid_namespace, process_start"
_COLUMNS = f"fence, expires, {_HOLDER}"
_SET = f"""
INSERT INTO leases (location, {_COLUMNS}) VALUES (?, {", ".join("?" for _ in _COLUMNS.split(", "))})
ON CONFLICT (location) DO UPDATE SET
    {", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", "))}
"""
_HELD = """
SELECT leases.location FROM leases JOIN locations ON leases.location = locations.n
WHERE locations.id = ? AND leases.id = ? AND fence = ?
"""


def take(database: Database, number: int, location: LocationId, holder: Holder, now: Instant) -> Lease:
    """The lease on the location of that number; raises LockHeld where another one is good."""
    last = _read(database, number, location)
    if last is not None and is_held(last, now, session_ended=database.has_ended(location, last.fence)):
        raise lock_held_error(last)
    # the fencing number grows for ever: a holder that was replaced can never match again
    lease = Lease(location, holder, last.fence + 1 if last else 1, Instant(now + TTL_MS))
    put(database, number, lease)
    return lease


def held(database: Database, location: LocationId, now: Instant) -> Lease | None:
    """The lease on the location, if it is held."""
    row = first(database.execute("SELECT n FROM locations WHERE id = ?", (location,)))
    last = None if row is None else _read(database, int(row[0]), location)
    return last if last is not None and is_held(last, now) else None


def last_fence(database: Database, location: LocationId) -> int:
    query = "SELECT fence FROM leases JOIN locations ON leases.location = locations.n WHERE locations.id = ?"
    row = first(database.execute(query, (location,)))
    return int(row[0]) if row else 0


def put(database: Database, number: int, lease: Lease) -> None:
    holder = (getattr(lease.holder, column) for column in _HOLDER.split(", "))
    database.execute(_SET, (number, lease.fence, lease.expires, *holder))


def require_held(database: Database, location: LocationId, lease: Lease) -> None:
    """Refuses the transaction with LeaseLost where the lease is not the location's.

    No other writes to the location from here on until the transaction ends.
    """
    lost = lease_lost_error(lease)
    # one holder may hold several locations, and with one fencing number
    if lease.location != location:
        raise lost
    database.require(_HELD + database.for_update, (location, lease.holder.id, lease.fence), lost)


def end(database: Database, number: int) -> None:
    """Ends the lease on the location of that number; its fencing number stays."""
    # the row stays, for its fencing number
    database.execute("UPDATE leases SET expires = 0, id = '' WHERE location = ?", (number,))


def unlock(database: Database, number: int, location: LocationId, lease: str) -> Lease:
    """Ends the lease of exactly that id; raises UsageError for any other."""
    held = exactly(_read(database, number, location), location, lease)
    end(database, number)
    return held


def exactly(last: Lease | None, location: LocationId, given: str) -> Lease:
    """The last lease on the location, if it is held under exactly the id given; raises UsageError."""
    held = last if last is not None and last.holder.id else None
    if held is None or held.holder.id != given:
        raise wrong_lease_error(location, given, held)
    return held


@decoding()
def _read(database: Database, number: int, location: LocationId) -> Lease | None:
    row = first(database.execute(f"SELECT {_COLUMNS} FROM leases WHERE location = ?", (number,)))
    if row is None:
        return None
    fence, expires, *holder = row
    return Lease(location, Holder(*holder), int(fence), Instant(int(expires)))


@decoding()
def is_held(lease: Lease, now: Instant, *, session_ended: bool = False) -> bool:
    """Whether the lease keeps other holders off.

    Where only the holder's session with the database ended, its process may live: it finds out with its next
    heartbeat, and sends nothing after that.
    """
    if not lease.holder.id or is_gone(lease.holder):
        return False
    return now < lease.expires - (TTL_MS - HEARTBEAT_MS if session_ended else 0)


PROC = Path("/proc")
START_TIME = 19
"""Where a process's `stat` has the time of its start, counted from behind the name of its program."""


@dataclass(frozen=True, slots=True)
class ProcessOrigin:
    """The boot, the PID and time namespaces and the start of a process; all empty where one of them is unknown."""

    boot_id: str = ""
    pid_namespace: str = ""
    process_start: str = ""


def origin_of_this_process() -> ProcessOrigin:
    """Ours, as Linux tells it; unknown elsewhere, and where /proc shows the processes of another PID namespace."""
    try:
        if not _proc_is_of_our_namespace():
            return ProcessOrigin()
        return ProcessOrigin(
            boot_id=(PROC / "sys/kernel/random/boot_id").read_text("ascii").strip(),
            pid_namespace=_namespaces(),
            process_start=_start_of(os.getpid()),
        )
    except (OSError, ValueError, IndexError):
        return ProcessOrigin()


def _proc_is_of_our_namespace() -> bool:
    """Whether /proc counts this process as the process counts itself: it has one number there, no second one within."""
    lines = (PROC / "self/status").read_text("utf-8", "replace").splitlines()
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return numbers == [str(os.getpid())]


def _namespaces() -> str:
    """The one that counts processes, and the one that counts time; Linux before 5.6 has but one time."""
    places = [PROC / "self/ns" / kind for kind in ("pid", "time")]
    return " ".join(str(place.readlink()) for place in places if place.is_symlink())


def _start_of(pid: int) -> str:
    # the name of the program is in parentheses and may hold anything
    fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[START_TIME]


def is_gone(holder: Holder) -> bool:
    """Whether the holder is a process of this host, boot and PID namespace that is no more."""
    ours = origin_of_this_process()
    if not ours.boot_id or not holder.process_start or holder.host != socket.gethostname():
        return False
    if (holder.boot_id, holder.pid_namespace) != (ours.boot_id, ours.pid_namespace):
        return False
    try:
        # /proc may hide the processes of others; a signal tells of all
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _has_another_start(holder)


def _has_another_start(holder: Holder) -> bool:
    try:
        return _start_of(holder.pid) != holder.process_start
    except (OSError, IndexError):
        return False
