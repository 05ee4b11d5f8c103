"""The state in one SQLite file: a reader that cannot write, and the store of the run that holds the lease."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.core.batching import Batch
from reconciler.core.journal import BatchRecord, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.lease import TTL_MS, Holder, Lease, lost, not_the_lease, refusal
from reconciler.core.names import ContactId, Instant, LocationId, SetName
from reconciler.core.observed import UNKNOWN, Known
from reconciler.core.outcome import Outcome, Verdict
from reconciler.core.plan import Snapshot
from reconciler.store.backup import back_up
from reconciler.store.connection import errors, open_for_reading, open_for_writing, transaction
from reconciler.store.disk import DISK, Disk
from reconciler.store.interning import Interning, tags_of
from reconciler.store.leases import end_lease, find_lease, is_held, put_lease
from reconciler.store.migration import migrate, migrated_copy
from reconciler.store.reading import batches_of, doubts_in, load, observed_in, runs_of, trail_of
from reconciler.store.whole import check, forget, replace_all


class SqliteReader:
    """State to look at."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self._path = path
        connection = open_for_reading(path, disk)
        with errors(path):
            self._connection = None if connection is None else migrated_copy(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def load(self, location: LocationId) -> Snapshot:
        with errors(self._path):
            return load(self._connection, location) if self._connection else Snapshot(location)

    def locations(self) -> Sequence[LocationId]:
        with errors(self._path):
            found = self._connection.execute("SELECT id FROM locations ORDER BY id") if self._connection else ()
            return tuple(LocationId(row[0]) for row in found)

    def runs(self, location: LocationId) -> Sequence[RunRecord]:
        with errors(self._path):
            return runs_of(self._connection, location) if self._connection else ()

    def batches(self, run: str) -> Sequence[BatchRecord]:
        with errors(self._path):
            return batches_of(self._connection, run) if self._connection else ()

    def trail(self, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        with errors(self._path):
            return trail_of(self._connection, location, contact) if self._connection else ()

    def check(self) -> Sequence[str]:
        with errors(self._path):
            return tuple(check(self._connection)) if self._connection else ()


class SqliteStore:
    """State to be changed; each method is one durable transaction."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self._path, self._disk = path, disk
        self._connection = open_for_writing(path, disk)
        with errors(path):
            migrate(self._connection, path, disk)
        self._interning = Interning(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def load(self, location: LocationId) -> Snapshot:
        with errors(self._path):
            return load(self._connection, location)

    def locations(self) -> Sequence[LocationId]:
        with errors(self._path):
            return tuple(LocationId(row[0]) for row in self._connection.execute("SELECT id FROM locations ORDER BY id"))

    def runs(self, location: LocationId) -> Sequence[RunRecord]:
        with errors(self._path):
            return runs_of(self._connection, location)

    def batches(self, run: str) -> Sequence[BatchRecord]:
        with errors(self._path):
            return batches_of(self._connection, run)

    def trail(self, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        with errors(self._path):
            return trail_of(self._connection, location, contact)

    def check(self) -> Sequence[str]:
        with errors(self._path):
            return tuple(check(self._connection))

    def acquire(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        self._interning.forget()
        with self._changing() as connection:
            number = self._location(location)
            last = find_lease(connection, location)
            if last is not None and is_held(last, now):
                raise refusal(last)
            lease = Lease(location, holder, last.fence + 1 if last else 1, Instant(now + TTL_MS))
            put_lease(connection, number, lease)
            return lease

    def renew(self, lease: Lease, now: Instant) -> Lease:
        renewed = replace(lease, expires=Instant(now + TTL_MS))
        with self._holding(lease) as (connection, number):
            put_lease(connection, number, renewed)
        return renewed

    def release(self, lease: Lease) -> None:
        with self._holding(lease) as (connection, _):
            end_lease(connection, lease.location)

    def unlock(self, location: LocationId, lease: str) -> Lease:
        with self._changing() as connection:
            last = find_lease(connection, location)
            held = last if last is not None and last.holder.id else None
            if held is None or held.holder.id != lease:
                raise not_the_lease(location, lease, held)
            end_lease(connection, location)
            return held

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        run = uuid.uuid4().hex[:12]
        with errors(self._path):
            back_up(self._connection, self._path, self._disk)
        with self._holding(lease) as (connection, number):
            self._end_interrupted(connection, number)
            connection.execute(
                "INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, allowed, status)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run,
                    number,
                    header.operation,
                    header.who,
                    header.change_digest,
                    header.commit,
                    header.started,
                    json.dumps(header.allowed),
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
            released = self._released(connection, number, changed)
            self._write_known(connection, location, changed)
            rows = (
                (
                    verdict.outcome,
                    *(self._interning.optional(tags) for tags in (verdict.old, verdict.added, verdict.removed)),
                    None if verdict.outcome in (Outcome.APPLIED, Outcome.NOOP) else verdict.message,
                    released.get(contact),
                    number,
                    location,
                    contact,
                )
                for contact, verdict in verdicts.items()
            )
            connection.executemany(_ANSWER, rows)
            connection.execute("UPDATE batches SET status = 'answered', ended = ? WHERE n = ?", (now, number))

    def _released(
        self, connection: sqlite3.Connection, number: int, changed: Mapping[ContactId, Known]
    ) -> dict[ContactId, int]:
        """The tags that leave the ledger of the batch's contacts, by number; contacts that lose none are left out."""
        found: dict[ContactId, int] = {}
        for contact, ledger in connection.execute(_LEDGERS, (number,)).fetchall():
            after = changed.get(contact)
            gone = tags_of(ledger) - after.ledger if after is not None else frozenset()
            if gone:
                found[contact] = self._interning.tagset(gone)
        return found

    def forget(self, lease: Lease, contacts: Iterable[ContactId]) -> None:
        with self._holding(lease) as (connection, number):
            forget(connection, number, contacts)

    def replace(self, lease: Lease, state: Snapshot, runs: Sequence[RunLog]) -> None:
        with errors(self._path):
            back_up(self._connection, self._path, self._disk)
        with self._holding(lease) as (connection, number):
            replace_all(connection, self._interning, number, state, runs)

    def prune(self, lease: Lease, keep: int) -> None:
        with self._holding(lease) as (connection, number):
            connection.execute(_PRUNE, (number, number, keep))

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
            self._write_known(connection, location, doubts_in(connection, location, observed_in(connection, location)))
            connection.execute(_DOUBT_ROWS, (Outcome.IN_DOUBT, location))
            connection.execute(_DOUBT_BATCHES, (location,))


_INTENDED = "SELECT batches.n FROM batches JOIN runs ON run = runs.n WHERE location = ? AND batches.status = 'intended'"
_DOUBT_ROWS = f"UPDATE rows SET outcome = ? WHERE batch IN ({_INTENDED})"
_DOUBT_BATCHES = f"UPDATE batches SET status = 'in_doubt' WHERE n IN ({_INTENDED})"
_LEDGERS = """
SELECT contacts.id, tagsets.tags FROM rows JOIN contacts ON rows.contact = contacts.n
    JOIN known ON contacts.known = known.n JOIN tagsets ON known.ledger = tagsets.n
WHERE rows.batch = ? AND tagsets.tags <> '[]'
"""
_PRUNE = """
DELETE FROM rows WHERE batch IN (
    SELECT batches.n FROM batches JOIN runs ON batches.run = runs.n WHERE runs.location = ? AND runs.n NOT IN (
        SELECT runs.n FROM runs WHERE runs.location = ? AND EXISTS (SELECT 1 FROM batches WHERE run = runs.n)
        ORDER BY runs.n DESC LIMIT ?))
"""
_ANSWER = """
UPDATE rows SET outcome = ?, old = ?, added = ?, removed = ?, message = ?, released = ?
WHERE batch = ? AND contact = (SELECT n FROM contacts WHERE location = ? AND id = ?)
"""
