"""The state in the tables of a database, as the store of the run that holds the lease."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import BatchStatus, RunEnding, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.model.lease import TTL_MS, Holder, Lease, lease_lost_error, wrong_lease_error
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.planning.batches import Batch
from reconciler.core.planning.plan import LocationState
from reconciler.store import leases, maintenance, sql_journal, sql_reader
from reconciler.store.database import Database, Given, first
from reconciler.store.pattern_table import Interning
from reconciler.store.reader import SqlReader


class SqlStore:
    """State to be changed; each method is one durable transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._interning = Interning(database)
        looking = SqlReader(database)
        self.load_state, self.list_locations, self.read_runs = (
            looking.load_state,
            looking.list_locations,
            looking.read_runs,
        )
        self.read_batches, self.read_adopted, self.read_trail = (
            looking.read_batches,
            looking.read_adopted,
            looking.read_trail,
        )
        self.read_lease, self.find_faults = looking.read_lease, looking.find_faults
        self.read_ending = looking.read_ending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def acquire_lease(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
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
                raise lease_lost_error(lease)
            leases.put(database, number, lease)

    def last_fence(self, location: LocationId) -> int:
        """The highest fencing number so far, 0 before the first."""
        with self.database.reading():
            return leases.last_fence(self.database, location)

    def renew_lease(self, lease: Lease, now: Instant) -> Lease:
        renewed = Lease(lease.location, lease.holder, lease.fence, Instant(now + TTL_MS))
        with self._holding(lease) as (database, number):
            database.hold(lease.location, lease.fence)
            database.execute("UPDATE leases SET expires = ? WHERE location = ?", (renewed.expires, number))
        return renewed

    def release_lease(self, lease: Lease) -> None:
        with self._holding(lease) as (database, number):
            leases.end(database, number)
            database.let_go(lease.location, lease.fence)

    def unlock_lease(self, location: LocationId, lease: str) -> Lease:
        with self._changing() as database:
            found = first(database.execute("SELECT n FROM locations WHERE id = ?" + database.for_update, (location,)))
            if found is None:
                raise wrong_lease_error(location, lease, None)
            return leases.unlock(database, int(found[0]), location, lease)

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        run = uuid.uuid4().hex[:12]
        self.database.back_up()
        self.begin(lease, header, run)
        return run

    def begin(self, lease: Lease, header: RunHeader, run: str) -> None:
        """Begins the run of that id; makes no backup."""
        with self._holding(lease) as (database, number):
            self._end_interrupted(database, number)
            sql_journal.put_run(database, number, RunRecord(run, header, RunStatus.RUNNING, None, 0, 0))

    def end_run(
        self,
        lease: Lease,
        run: str,
        status: RunStatus,
        now: Instant,
        *,
        set_sizes: Mapping[SetName, int] | None,
        ending: RunEnding | None = None,
    ) -> None:
        with self._holding(lease) as (database, number):
            database.execute("UPDATE runs SET status = ?, ended = ? WHERE id = ?", (status, now, run))
            if set_sizes is not None:
                self._set_sizes(database, number, set_sizes)
            if ending is not None:
                sql_journal.put_ending(database, run, ending)
            self._interning.sweep(number)

    def save_states(self, lease: Lease, changed: Mapping[ContactId, ContactState]) -> None:
        with self._holding(lease) as (database, number):
            self._write_known(database, number, changed)

    def save_adoptions(self, lease: Lease, run: str, changed: Mapping[ContactId, ContactState]) -> None:
        with self._holding(lease) as (database, number):
            entered = sql_journal.entering(database, number, changed, sql_reader.read_spelling(database, number))
            self._write_known(database, number, changed)
            sql_journal.put_adopted(database, self._interning, run, number, entered)

    def save_facts(self, lease: Lease, facts: Facts) -> None:
        with self._holding(lease) as (database, number):
            if sql_reader.read_facts(database, number) != facts:
                maintenance.put_facts(database, number, facts)
                _count(database, number)

    def record_intent(
        self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> int:
        with self._holding(lease) as (database, number):
            spelling = sql_reader.read_spelling(database, number)
            adding = batch.action is Action.ADD
            entered = sql_journal.entering(database, number, changed, spelling) if adding else {}
            self._write_known(database, number, changed)
            tags = self._interning.tagset(frozenset(batch.tags))
            key = sql_journal.put_batch(database, run, (batch.action, tags, now, None, BatchStatus.INTENDED))
            rows = {contact: entered.get(contact, sql_journal.NONE) for contact in batch.contacts}
            sql_journal.put_rows(database, self._interning, key, number, rows)
        return key

    def record_answer(
        self,
        lease: Lease,
        number: int,
        verdicts: Mapping[ContactId, ContactOutcome],
        changed: Mapping[ContactId, ContactState],
        now: Instant,
    ) -> None:
        with self._holding(lease) as (database, location):
            rows = sql_journal.asked(database, number)
            told = sql_journal.answered(rows, verdicts, changed, sql_reader.read_spelling(database, location))
            answers = sql_journal.put_answers(database, self._interning, number, told)
            known = {contact: self._interning.known(location, each) for contact, each in changed.items()}
            settled = [
                (row.number, known.get(contact), answers.get(contact), row.entered) for contact, row in rows.items()
            ]
            if sql_journal.settle(database, number, settled):
                _count(database, location)
            self._write_known(database, location, {each: changed[each] for each in changed.keys() - rows.keys()})
            database.execute("UPDATE batches SET status = 'answered', ended = ? WHERE n = ?", (now, number))

    def withdraw_batch(
        self, lease: Lease, number: int, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> None:
        with self._holding(lease) as (database, location):
            self._write_known(database, location, changed)
            sql_journal.settle_alike(database, number, Outcome.NOT_SENT)
            database.execute("UPDATE batches SET status = 'withdrawn', ended = ? WHERE n = ?", (now, number))

    def prune_journal(self, lease: Lease, keep: int) -> None:
        with self._holding(lease) as (database, number):
            maintenance.prune(database, number, keep)

    def forget_contacts(self, lease: Lease, contacts: Iterable[ContactId]) -> None:
        with self._holding(lease) as (database, number):
            maintenance.forget(database, number, contacts)

    def replace_state(self, lease: Lease, state: LocationState, runs: Sequence[RunLog]) -> None:
        self.database.back_up()
        self.become(lease, state, runs)

    def become(self, lease: Lease, state: LocationState, runs: Sequence[RunLog]) -> None:
        """As `replace`; makes no backup."""
        with self._holding(lease) as (database, number):
            maintenance.replace_all(database, self._interning, number, state, runs)

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

    def _write_known(self, database: Database, location: int, changed: Mapping[ContactId, ContactState]) -> None:
        if not changed:
            return
        # in order: the pages that hold them are full then, and next to one another
        rows = [(contact, self._interning.known(location, changed[contact])) for contact in sorted(changed)]
        database.give(Given.CONTACTS, rows)
        if database.execute(sql_journal.ADD_CONTACTS + _REPLACE_KNOWN, (location,)).rowcount:
            _count(database, location)

    def _set_sizes(self, database: Database, location: int, sizes: Mapping[SetName, int]) -> None:
        if sql_reader.read_sizes(database, location) == sizes:
            return
        database.execute("DELETE FROM set_sizes WHERE location = ?", (location,))
        for name, size in sizes.items():
            database.execute("INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)", (location, name, size))
        _count(database, location)

    def _end_interrupted(self, database: Database, location: int) -> None:
        """What runs left behind that never ended: their doubts are written down."""
        database.execute(
            "UPDATE runs SET status = ? WHERE location = ? AND status = ?",
            (RunStatus.INTERRUPTED, location, RunStatus.RUNNING),
        )
        open_ones = [int(batch) for (batch,) in database.execute(_INTENDED, (location,)).fetchall()]
        if open_ones:
            found = sql_reader.doubts(database, location, sql_reader.read_observed(database, location))
            self._write_known(database, location, found)
        for batch in open_ones:
            sql_journal.settle_alike(database, batch, Outcome.IN_DOUBT)
            database.execute("UPDATE batches SET status = 'in_doubt' WHERE n = ?", (batch,))


def _count(database: Database, location: int) -> None:
    """The content of the location of that number has changed."""
    database.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (location,))


_REPLACE_KNOWN = "DO UPDATE SET known = excluded.known WHERE contacts.known <> excluded.known"
_INTENDED = "SELECT batches.n FROM batches JOIN runs ON run = runs.n WHERE location = ? AND batches.status = 'intended'"
