"""The state in one SQLite file: a reader that cannot write, and the store of the run that holds the lease."""

from __future__ import annotations

import os
import socket
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reconciler.core.batching import Batch
from reconciler.core.journal import RunHeader, RunRecord, RunStatus
from reconciler.core.lease import TTL_MS, Holder, Lease, lost, not_the_lease, refusal
from reconciler.core.names import ContactId, Instant, LocationId, SetName
from reconciler.core.observed import UNKNOWN, Known, Observed
from reconciler.core.outcome import Outcome, Verdict
from reconciler.core.plan import Snapshot
from reconciler.store.connection import decoding, errors, open_for_reading, open_for_writing, transaction
from reconciler.store.interning import Interning, tags_of


class SqliteReader:
    """State to look at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = open_for_reading(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def load(self, location: LocationId) -> Snapshot:
        with errors(self._path):
            return _load(self._connection, location) if self._connection else Snapshot(location)

    def locations(self) -> Sequence[LocationId]:
        with errors(self._path):
            found = self._connection.execute("SELECT id FROM locations ORDER BY id") if self._connection else ()
            return tuple(LocationId(row[0]) for row in found)

    def runs(self, location: LocationId) -> Sequence[RunRecord]:
        with errors(self._path):
            return _runs(self._connection, location) if self._connection else ()


@decoding()
def _load(connection: sqlite3.Connection, location: LocationId) -> Snapshot:
    with _snapshot(connection):
        found = connection.execute("SELECT n, lineage, serial FROM locations WHERE id = ?", (location,)).fetchone()
        if found is None:
            return Snapshot(location)
        number, lineage, serial = found
        observed = _observed(connection, number)
        observed.update(_doubts(connection, number, observed))
        sizes = connection.execute("SELECT name, size FROM set_sizes WHERE location = ?", (number,))
        set_sizes = {SetName(name): size for name, size in sizes}
        return Snapshot(location, lineage, serial, observed, set_sizes)


@decoding()
def _observed(connection: sqlite3.Connection, location: int) -> Observed:
    indices, patterns = Interning(connection).read(location)
    stored = connection.execute("SELECT id, known FROM contacts WHERE location = ?", (location,))
    return Observed({ContactId(contact): indices[known] for contact, known in stored}, patterns)


_UNANSWERED = """
SELECT contacts.id, tagsets.tags, batches.intended
FROM runs JOIN batches ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n
    JOIN rows ON rows.batch = batches.n JOIN contacts ON rows.contact = contacts.n
WHERE runs.location = ? AND batches.status = 'intended' ORDER BY batches.n
"""


@decoding()
def _doubts(connection: sqlite3.Connection, location: int, observed: Observed) -> dict[ContactId, Known]:
    """Whatever was intended and never seen answered may have had its effect."""
    found: dict[ContactId, Known] = {}
    for contact, tags, intended in connection.execute(_UNANSWERED, (location,)):
        known = found.get(contact) or observed[contact]
        found[contact] = known.in_doubt(tags_of(tags), intended)
    return found


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One consistent view for several queries."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


_RUNS = """
SELECT runs.id, operation, who, started, change_digest, commit_id, runs.status, runs.ended,
    (SELECT count(*) FROM batches WHERE run = runs.n),
    (SELECT count(*) FROM rows JOIN batches ON rows.batch = batches.n WHERE run = runs.n)
FROM runs JOIN locations ON runs.location = locations.n WHERE locations.id = ? ORDER BY runs.n
"""


@decoding()
def _runs(connection: sqlite3.Connection, location: LocationId) -> Sequence[RunRecord]:
    return tuple(
        RunRecord(
            id=run,
            header=RunHeader(location, operation, who, started, digest, commit),
            status=RunStatus(status),
            ended=ended,
            requests=requests,
            rows=rows,
        )
        for run, operation, who, started, digest, commit, status, ended, requests, rows in connection.execute(
            _RUNS, (location,)
        )
    )


class SqliteStore:
    """State to be changed; each method is one durable transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_for_writing(path)
        self._interning = Interning(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def load(self, location: LocationId) -> Snapshot:
        with errors(self._path):
            return _load(self._connection, location)

    def locations(self) -> Sequence[LocationId]:
        with errors(self._path):
            return tuple(LocationId(row[0]) for row in self._connection.execute("SELECT id FROM locations ORDER BY id"))

    def runs(self, location: LocationId) -> Sequence[RunRecord]:
        with errors(self._path):
            return _runs(self._connection, location)

    def acquire(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        self._interning.forget()
        with self._changing() as connection:
            number = self._location(location)
            found = connection.execute(f"SELECT {_LEASE} FROM leases WHERE location = ?", (number,)).fetchone()
            if found is None:
                fence = 1
            else:
                held = _lease(location, found)
                if _is_held(held, now):
                    raise refusal(held)
                fence = held.fence + 1
            lease = Lease(location, holder, fence, Instant(now + TTL_MS))
            connection.execute(_SET_LEASE, (number, *_lease_row(lease)))
            return lease

    def renew(self, lease: Lease, now: Instant) -> Lease:
        renewed = Lease(lease.location, lease.holder, lease.fence, Instant(now + TTL_MS))
        with self._holding(lease) as (connection, number):
            connection.execute("UPDATE leases SET expires = ? WHERE location = ?", (renewed.expires, number))
        return renewed

    def release(self, lease: Lease) -> None:
        with self._holding(lease) as (connection, _):
            connection.execute(_END_LEASE, (lease.location,))

    def unlock(self, location: LocationId, lease: str) -> Lease:
        with self._changing() as connection:
            found = connection.execute(
                f"SELECT {_LEASE} FROM leases WHERE location = (SELECT n FROM locations WHERE id = ?)", (location,)
            ).fetchone()
            held = None if found is None else _lease(location, found)
            if held is None or not held.holder.id or held.holder.id != lease:
                raise not_the_lease(location, lease, held if held and held.holder.id else None)
            connection.execute(_END_LEASE, (location,))
            return held

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        run = uuid.uuid4().hex[:12]
        with self._holding(lease) as (connection, number):
            self._end_interrupted(connection, number)
            connection.execute(
                "INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, status)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run,
                    number,
                    header.operation,
                    header.who,
                    header.change_digest,
                    header.commit,
                    header.started,
                    RunStatus.RUNNING,
                ),
            )
        return run

    def end_run(
        self, lease: Lease, run: str, status: RunStatus, now: Instant, *, set_sizes: Mapping[SetName, int] | None
    ) -> None:
        with self._holding(lease) as (connection, number):
            connection.execute("UPDATE runs SET status = ?, ended = ? WHERE id = ?", (status, now, run))
            if set_sizes is not None:
                self._set_sizes(connection, number, set_sizes)
            self._interning.sweep(number)

    def learn(self, lease: Lease, changed: Mapping[ContactId, Known]) -> None:
        with self._holding(lease) as (connection, number):
            self._write_known(connection, number, changed)

    def intend(self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, Known], now: Instant) -> int:
        with self._holding(lease) as (connection, number):
            self._write_known(connection, number, changed)
            tags = self._interning.tagset(frozenset(batch.tags))
            inserted = connection.execute(
                "INSERT INTO batches (run, action, tags, intended, status)"
                " VALUES ((SELECT n FROM runs WHERE id = ?), ?, ?, ?, 'intended')",
                (run, batch.action, tags, now),
            )
            key = int(inserted.lastrowid or 0)
            unknown = self._interning.known(number, UNKNOWN)
            connection.executemany(
                "INSERT OR IGNORE INTO contacts (location, id, known) VALUES (?, ?, ?)",
                ((number, contact, unknown) for contact in batch.contacts),
            )
            contacts = ((key, number, contact) for contact in batch.contacts)
            connection.executemany(
                "INSERT INTO rows (batch, contact) SELECT ?, n FROM contacts WHERE location = ? AND id = ?", contacts
            )
        return key

    def record(
        self,
        lease: Lease,
        number: int,
        verdicts: Mapping[ContactId, Verdict],
        changed: Mapping[ContactId, Known],
        now: Instant,
    ) -> None:
        with self._holding(lease) as (connection, location):
            self._write_known(connection, location, changed)
            rows = (
                (
                    verdict.outcome,
                    *(self._interning.optional(tags) for tags in (verdict.old, verdict.added, verdict.removed)),
                    None if verdict.outcome in (Outcome.APPLIED, Outcome.NOOP) else verdict.message,
                    number,
                    location,
                    contact,
                )
                for contact, verdict in verdicts.items()
            )
            connection.executemany(_ANSWER, rows)
            connection.execute("UPDATE batches SET status = 'answered', ended = ? WHERE n = ?", (now, number))

    def withdraw(self, lease: Lease, number: int, changed: Mapping[ContactId, Known], now: Instant) -> None:
        with self._holding(lease) as (connection, location):
            self._write_known(connection, location, changed)
            connection.execute("UPDATE rows SET outcome = ? WHERE batch = ?", (Outcome.NOT_SENT, number))
            connection.execute("UPDATE batches SET status = 'withdrawn', ended = ? WHERE n = ?", (now, number))

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; what was interned in one that failed is forgotten."""
        with errors(self._path):
            try:
                with transaction(self._connection) as connection:
                    yield connection
            except BaseException:
                self._interning.forget()
                raise

    @contextmanager
    def _holding(self, lease: Lease) -> Iterator[tuple[sqlite3.Connection, int]]:
        """A transaction under `lease`, with the location's number."""
        with self._changing() as connection:
            found = connection.execute(
                "SELECT location FROM leases JOIN locations ON leases.location = locations.n"
                " WHERE locations.id = ? AND leases.id = ? AND fence = ?",
                (lease.location, lease.holder.id, lease.fence),
            ).fetchone()
            if found is None:
                raise lost(lease)
            yield connection, found[0]

    def _location(self, location: LocationId) -> int:
        self._connection.execute(
            "INSERT OR IGNORE INTO locations (id, lineage, serial) VALUES (?, ?, 0)", (location, str(uuid.uuid4()))
        )
        return int(self._connection.execute("SELECT n FROM locations WHERE id = ?", (location,)).fetchone()[0])

    def _write_known(self, connection: sqlite3.Connection, location: int, changed: Mapping[ContactId, Known]) -> None:
        if not changed:
            return
        rows = [(location, contact, self._interning.known(location, known)) for contact, known in changed.items()]
        before = connection.total_changes
        connection.executemany(
            "INSERT INTO contacts (location, id, known) VALUES (?, ?, ?)"
            " ON CONFLICT (location, id) DO UPDATE SET known = excluded.known WHERE known <> excluded.known",
            rows,
        )
        if connection.total_changes > before:
            connection.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (location,))

    def _set_sizes(self, connection: sqlite3.Connection, location: int, sizes: Mapping[SetName, int]) -> None:
        before = dict(connection.execute("SELECT name, size FROM set_sizes WHERE location = ?", (location,)).fetchall())
        if before == sizes:
            return
        connection.execute("DELETE FROM set_sizes WHERE location = ?", (location,))
        connection.executemany(
            "INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)",
            ((location, name, size) for name, size in sizes.items()),
        )
        connection.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (location,))

    def _end_interrupted(self, connection: sqlite3.Connection, location: int) -> None:
        """What runs left behind that never ended: their doubts are written down."""
        connection.execute(
            "UPDATE runs SET status = ? WHERE location = ? AND status = ?",
            (RunStatus.INTERRUPTED, location, RunStatus.RUNNING),
        )
        if connection.execute(_INTENDED, (location,)).fetchone():
            self._write_known(connection, location, _doubts(connection, location, _observed(connection, location)))
            connection.execute(_DOUBT_ROWS, (Outcome.IN_DOUBT, location))
            connection.execute(_DOUBT_BATCHES, (location,))


_INTENDED = "SELECT batches.n FROM batches JOIN runs ON run = runs.n WHERE location = ? AND batches.status = 'intended'"
_DOUBT_ROWS = f"UPDATE rows SET outcome = ? WHERE batch IN ({_INTENDED})"
_DOUBT_BATCHES = f"UPDATE batches SET status = 'in_doubt' WHERE n IN ({_INTENDED})"
_ANSWER = """
UPDATE rows SET outcome = ?, old = ?, added = ?, removed = ?, message = ?
WHERE batch = ? AND contact = (SELECT n FROM contacts WHERE location = ? AND id = ?)
"""
_LEASE = "fence, expires, id, who, operation, host, pid, version, created, run_url"
_SET_LEASE = f"INSERT OR REPLACE INTO leases (location, {_LEASE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


_END_LEASE = "UPDATE leases SET expires = 0, id = '' WHERE location = (SELECT n FROM locations WHERE id = ?)"


def _lease(location: LocationId, row: tuple[Any, ...]) -> Lease:
    fence, expires, *holder = row
    return Lease(location, Holder(*holder), fence, expires)


@decoding()
def _is_held(lease: Lease, now: Instant) -> bool:
    return bool(lease.holder.id) and lease.expires > now and not _is_dead(lease.holder)


def _lease_row(lease: Lease) -> tuple[object, ...]:
    holder = lease.holder
    return (
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
