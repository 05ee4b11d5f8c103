"""The state in the tables of a database, as the store of the run that holds the lease."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from reconciler.core.batching import Batch
from reconciler.core.journal import BatchRecord, RunHeader, RunRecord, RunStatus
from reconciler.core.lease import TTL_MS, Holder, Lease, lost, not_the_lease
from reconciler.core.names import ContactId, Instant, LocationId, SetName
from reconciler.core.observed import UNKNOWN, Known
from reconciler.core.outcome import Outcome, Verdict
from reconciler.core.plan import Snapshot
from reconciler.store import leases, reading
from reconciler.store.database import Database, Given, first
from reconciler.store.interning import Interning, tags_of


class SqlStore:
    """State to be changed; each method is one durable transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._interning = Interning(database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def load(self, location: LocationId) -> Snapshot:
        with self.database.reading():
            return reading.load(self.database, location)

    def locations(self) -> Sequence[LocationId]:
        with self.database.reading():
            return reading.locations(self.database)

    def runs(self, location: LocationId) -> Sequence[RunRecord]:
        with self.database.reading():
            return reading.runs(self.database, location)

    def batches(self, run: str) -> Sequence[BatchRecord]:
        with self.database.reading():
            return reading.batches(self.database, run)

    def acquire(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        self._interning.forget()
        with self._changing() as database:
            lease = leases.take(database, self._location(location, str(uuid.uuid4())), location, holder, now)
            database.hold(location, lease.fence)
            return lease

    def take(self, lease: Lease, lineage: str) -> None:
        """Makes `lease` the location's, unless a later one is; `lineage` is that of a location not seen before."""
        with self._changing() as database:
            number = self._location(lease.location, lineage)
            if leases.last_fence(database, lease.location) > lease.fence:
                raise lost(lease)
            leases.put(database, number, lease)

    def last_fence(self, location: LocationId) -> int:
        """The highest fencing number so far, 0 before the first."""
        with self.database.reading():
            return leases.last_fence(self.database, location)

    def renew(self, lease: Lease, now: Instant) -> Lease:
        renewed = Lease(lease.location, lease.holder, lease.fence, Instant(now + TTL_MS))
        with self._holding(lease) as (database, number):
            database.hold(lease.location, lease.fence)
            database.execute("UPDATE leases SET expires = ? WHERE location = ?", (renewed.expires, number))
        return renewed

    def release(self, lease: Lease) -> None:
        with self._holding(lease) as (database, number):
            leases.end(database, number)
            database.let_go(lease.location, lease.fence)

    def unlock(self, location: LocationId, lease: str) -> Lease:
        with self._changing() as database:
            found = first(database.execute("SELECT n FROM locations WHERE id = ?" + database.for_update, (location,)))
            if found is None:
                raise not_the_lease(location, lease, None)
            return leases.unlock(database, int(found[0]), location, lease)

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        run = uuid.uuid4().hex[:12]
        self.database.back_up()
        self.begin(lease, header, run)
        return run

    def begin(self, lease: Lease, header: RunHeader, run: str) -> None:
        """Begins the run of that id."""
        who = (header.operation, header.who, header.change_digest, header.commit, header.started)
        with self._holding(lease) as (database, number):
            self._end_interrupted(database, number)
            database.execute(
                "INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, allowed, status)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (run, number, *who, json.dumps(header.allowed), RunStatus.RUNNING),
            )

    def end_run(
        self, lease: Lease, run: str, status: RunStatus, now: Instant, *, set_sizes: Mapping[SetName, int] | None
    ) -> None:
        with self._holding(lease) as (database, number):
            database.execute("UPDATE runs SET status = ?, ended = ? WHERE id = ?", (status, now, run))
            if set_sizes is not None:
                self._set_sizes(database, number, set_sizes)
            self._interning.sweep(number)

    def learn(self, lease: Lease, changed: Mapping[ContactId, Known]) -> None:
        with self._holding(lease) as (database, number):
            self._write_known(database, number, changed)

    def intend(self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, Known], now: Instant) -> int:
        with self._holding(lease) as (database, number):
            self._write_known(database, number, changed)
            row = (run, batch.action, self._interning.tagset(frozenset(batch.tags)), now)
            key = int(first(database.execute(_INTEND, row))[0])
            unknown = self._interning.known(number, UNKNOWN)
            database.give(Given.CONTACTS, ((contact, unknown) for contact in batch.contacts))
            database.execute(_ADD_CONTACTS + "DO NOTHING", (number,))
            database.execute(_ADD_ROWS, (key, number))
        return key

    def record(
        self,
        lease: Lease,
        number: int,
        verdicts: Mapping[ContactId, Verdict],
        changed: Mapping[ContactId, Known],
        now: Instant,
    ) -> None:
        with self._holding(lease) as (database, location):
            released = self._released(database, number, changed)
            self._write_known(database, location, changed)
            # made before they are given: new tag sets may have to be stored on the way
            rows = [(*self._answer(contact, verdict), released.get(contact)) for contact, verdict in verdicts.items()]
            database.give(Given.ANSWERS, rows)
            database.execute(_UNANSWER, (number, location))
            database.execute(_ANSWER, (number, location))
            database.execute("UPDATE batches SET status = 'answered', ended = ? WHERE n = ?", (now, number))

    def _answer(self, contact: ContactId, verdict: Verdict) -> tuple[object, ...]:
        given = (verdict.old, verdict.added or None, verdict.removed or None)
        tags = (self._interning.optional(each) for each in given)
        as_expected = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
        return (contact, verdict.outcome, *tags, None if as_expected else verdict.message)

    def _released(self, database: Database, number: int, changed: Mapping[ContactId, Known]) -> dict[ContactId, int]:
        """The tags that leave the ledger of the batch's contacts, by number; contacts that lose none are left out."""
        found: dict[ContactId, int] = {}
        for contact, ledger in database.execute(_LEDGERS, (number,)).fetchall():
            after = changed.get(contact)
            gone = tags_of(ledger) - after.ledger if after is not None else frozenset()
            if gone:
                found[contact] = self._interning.tagset(gone)
        return found

    def prune(self, lease: Lease, keep: int) -> None:
        with self._holding(lease) as (database, number):
            database.execute(_PRUNE, (number, number, keep))

    def withdraw(self, lease: Lease, number: int, changed: Mapping[ContactId, Known], now: Instant) -> None:
        with self._holding(lease) as (database, location):
            self._write_known(database, location, changed)
            database.execute("UPDATE rows SET outcome = ? WHERE batch = ?", (Outcome.NOT_SENT, number))
            database.execute("UPDATE batches SET status = 'withdrawn', ended = ? WHERE n = ?", (now, number))

    @contextmanager
    def _changing(self) -> Iterator[Database]:
        """A transaction; what was interned in one that failed is forgotten."""
        try:
            with self.database.writing():
                yield self.database
        except BaseException:
            self._interning.forget()
            raise

    @contextmanager
    def _holding(self, lease: Lease) -> Iterator[tuple[Database, int]]:
        """A transaction under `lease`, with the location's number."""
        with self._changing() as database:
            yield database, leases.held_location(database, lease)

    def _location(self, location: LocationId, lineage: str) -> int:
        """The location's number; nobody else takes its lease until the transaction ends."""
        self.database.execute(
            "INSERT INTO locations (id, lineage, serial) VALUES (?, ?, 0) ON CONFLICT DO NOTHING", (location, lineage)
        )
        found = self.database.execute("SELECT n FROM locations WHERE id = ?" + self.database.for_update, (location,))
        return int(first(found)[0])

    def _write_known(self, database: Database, location: int, changed: Mapping[ContactId, Known]) -> None:
        if not changed:
            return
        # in order: the pages that hold them are full then, and next to one another
        rows = [(contact, self._interning.known(location, changed[contact])) for contact in sorted(changed)]
        database.give(Given.CONTACTS, rows)
        if database.execute(_ADD_CONTACTS + _REPLACE_KNOWN, (location,)).rowcount:
            database.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (location,))

    def _set_sizes(self, database: Database, location: int, sizes: Mapping[SetName, int]) -> None:
        if reading.read_sizes(database, location) == sizes:
            return
        database.execute("DELETE FROM set_sizes WHERE location = ?", (location,))
        for name, size in sizes.items():
            database.execute("INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)", (location, name, size))
        database.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (location,))

    def _end_interrupted(self, database: Database, location: int) -> None:
        """What runs left behind that never ended: their doubts are written down."""
        database.execute(
            "UPDATE runs SET status = ? WHERE location = ? AND status = ?",
            (RunStatus.INTERRUPTED, location, RunStatus.RUNNING),
        )
        if first(database.execute(_INTENDED, (location,))):
            found = reading.doubts(database, location, reading.read_observed(database, location))
            self._write_known(database, location, found)
            database.execute(_DOUBT_ROWS, (Outcome.IN_DOUBT, location))
            database.execute(_DOUBT_BATCHES, (location,))


_ADD_CONTACTS = f"""
INSERT INTO contacts (location, id, known) SELECT ?, id, known FROM {Given.CONTACTS} WHERE true
ON CONFLICT (location, id) """
_REPLACE_KNOWN = "DO UPDATE SET known = excluded.known WHERE contacts.known <> excluded.known"
_INTEND = """
INSERT INTO batches (run, action, tags, intended, status)
VALUES ((SELECT n FROM runs WHERE id = ?), ?, ?, ?, 'intended') RETURNING n
"""
_ADD_ROWS = f"""
INSERT INTO rows (batch, contact)
SELECT ?, contacts.n FROM {Given.CONTACTS} AS given JOIN contacts ON contacts.id = given.id
WHERE contacts.location = ? ORDER BY contacts.n
"""
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
# written anew and not changed: rows that grow where they are leave pages half empty
_UNANSWER = f"""
DELETE FROM rows WHERE batch = ? AND contact IN (
    SELECT contacts.n FROM {Given.ANSWERS} AS given JOIN contacts ON contacts.id = given.id
    WHERE contacts.location = ?)
"""
_ANSWER = f"""
INSERT INTO rows (batch, contact, outcome, old, added, removed, message, released)
SELECT ?, contacts.n, given.outcome, given.old, given.added, given.removed, given.message, given.released
FROM {Given.ANSWERS} AS given JOIN contacts ON contacts.id = given.id
WHERE contacts.location = ? ORDER BY contacts.n
"""
_INTENDED = "SELECT batches.n FROM batches JOIN runs ON run = runs.n WHERE location = ? AND batches.status = 'intended'"
_DOUBT_ROWS = f"UPDATE rows SET outcome = ? WHERE batch IN ({_INTENDED})"
_DOUBT_BATCHES = f"UPDATE batches SET status = 'in_doubt' WHERE n IN ({_INTENDED})"
