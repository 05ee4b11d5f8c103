"""The state in the tables of a database, as the store of the run that holds the lease."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import ne
from typing import Self, TypeVar, TypeVarTuple

from reconciler.core.formats.state_json import Portable
from reconciler.core.model.alike import distinct_objects, map_alike
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState
from reconciler.core.model.journal import (
    BatchRecord,
    BatchStatus,
    RunEnding,
    RunHeader,
    RunLog,
    RunRecord,
    RunStatus,
    StateCopy,
)
from reconciler.core.model.lease import TTL_MS, Holder, Lease, lease_lost_error, wrong_lease_error
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.people import PeopleIndex, PeopleLot, Snapshot
from reconciler.core.planning.plan import LocationState
from reconciler.core.planning.tag_aliases import Spelling
from reconciler.store import leases, maintenance, people_tables, sql_journal, sql_reader
from reconciler.store.database import BackUps, Database, Given, first
from reconciler.store.pattern_table import Interning, PatternEpochs
from reconciler.store.sqlite_file import Turn

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SharedByConnections:
    """What the connections of this process to one state share."""

    epochs: PatternEpochs = field(default_factory=PatternEpochs)
    back_ups: BackUps = field(default_factory=BackUps)
    turn: Turn = field(default_factory=Turn)
    """At the file, where the state is one."""


class SqlState:
    """The states of all locations in one database."""

    def __init__(
        self,
        database: Database,
        shared: SharedByConnections | None = None,
        *,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.database = database
        self._close = close or database.close
        self._shared = shared or SharedByConnections()
        self._interning = Interning(database, self._shared.epochs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def at(self, location: LocationId) -> SqlLocation:
        return SqlLocation(self.database, self._interning, location, self._shared.back_ups)

    def list_locations(self) -> Sequence[LocationId]:
        with self.database.reading():
            return sql_reader.list_locations(self.database)

    def find_faults(self) -> Sequence[str]:
        with self.database.reading():
            return tuple(maintenance.find_faults(self.database))


class SqlStore(SqlState):
    """The states to be changed; `open_database` opens one connection after the other."""

    def __init__(
        self,
        open_database: Callable[[], Database],
        shared: SharedByConnections,
        *,
        close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(open_database(), shared, close=close)
        self._open = open_database

    @contextmanager
    def connect(self, location: LocationId) -> Iterator[SqlLocation]:
        with SqlState(self._open(), self._shared) as state:
            yield state.at(location)


class SqlLocation:
    """The state of one location; each method is one consistent view, or one durable transaction.

    `interning` is the connection's, which all locations share.
    """

    def __init__(self, database: Database, interning: Interning, location: LocationId, back_ups: BackUps) -> None:
        self._database, self._interning, self._location = database, interning, location
        self._back_ups = back_ups
        self._spelt: Spelling | None = None
        self._known_number: int | None = None
        self._remembered = sql_journal.Remembered()

    def load_state(self, contacts: ContactNumbers | None = None, /) -> LocationState:
        return self._read(sql_reader.load_state, self._location, contacts)

    def read_runs(self) -> Sequence[RunRecord]:
        return self._read(sql_reader.read_runs, self._location)

    def read_batches(self, run: str) -> Sequence[BatchRecord]:
        return self._read(sql_reader.read_batches, run)

    def read_adopted(self, run: str) -> Mapping[ContactId, TagSet]:
        return self._read(sql_journal.read_adopted, run)

    def read_ending(self, run: str) -> RunEnding | None:
        return self._read(sql_journal.read_ending, run)

    def read_trail(self, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        return self._read(sql_reader.read_trail, self._location, contact)

    def read_lease(self, now: Instant) -> Lease | None:
        return self._read(leases.held, self._location, now)

    def read_snapshots(self) -> Mapping[SetName, Snapshot]:
        return self._read(people_tables.read_snapshots, self._location)

    def read_people(self) -> PeopleIndex:
        return self._read(people_tables.read_people, self._location)

    def last_fence(self) -> int:
        """The highest fencing number so far, 0 before the first."""
        return self._read(leases.last_fence, self._location)

    def find_faults(self) -> Sequence[str]:
        with self._database.reading():
            return tuple(maintenance.find_faults(self._database))

    def acquire_lease(self, holder: Holder, now: Instant) -> Lease:
        with self._changing() as database:
            # a lineage for a location that is new; one that is there keeps its own
            lease = leases.take(database, self._number(str(uuid.uuid4())), self._location, holder, now)
            database.hold(self._location, lease.fence)
            return lease

    def take_lease(self, lease: Lease, lineage: str) -> None:
        """Makes `lease` the location's, unless a later one is; `lineage` is that of a location not seen before."""
        with self._changing() as database:
            number = self._number(lineage)
            if leases.last_fence(database, self._location) > lease.fence:
                raise lease_lost_error(lease)
            leases.put(database, number, lease)

    def renew_lease(self, lease: Lease, now: Instant) -> Lease:
        renewed = Lease(lease.location, lease.holder, lease.fence, Instant(now + TTL_MS))
        with self._under(lease) as (database, number):
            database.hold(self._location, lease.fence)
            database.execute("UPDATE leases SET expires = ? WHERE location = ?", (renewed.expires, number))
        return renewed

    def release_lease(self, lease: Lease) -> None:
        with self._holding(lease) as (database, number):
            leases.end(database, number)
            database.let_go(self._location, lease.fence)

    def unlock_lease(self, lease: str) -> Lease:
        with self._changing() as database:
            row = first(database.execute(_LOCATION + database.for_update, (self._location,)))
            if row is None:
                raise wrong_lease_error(self._location, lease, None)
            return leases.unlock(database, int(row[0]), self._location, lease)

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        run = uuid.uuid4().hex[:12]
        # before the run is written: where no copy can be made none has begun
        mark = StateCopy(header.started, f"{header.operation} {run}")
        self._back_ups.copy_before_run(self._location, partial(self._database.back_up, mark))
        self.journal_run(lease, header, run)
        return run

    def journal_run(self, lease: Lease, header: RunHeader, run: str) -> None:
        """Begins the run of that id; makes no backup."""
        with self._holding(lease) as (database, number):
            # this process holds the lease: a run that has not ended is a killed one
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
            # once a run: each change leaves patterns that no contact has any more
            self._interning.sweep(number)

    def save_states(self, lease: Lease, changed: Mapping[ContactId, ContactState]) -> None:
        with self._holding(lease) as (database, number):
            self._write_known(database, number, changed)

    def save_adoptions(self, lease: Lease, run: str, changed: Mapping[ContactId, ContactState]) -> None:
        with self._holding(lease) as (database, number):
            patterns = dict(zip(changed, self._interning.numbers_of(number, changed.values()), strict=True))
            asked = sql_journal.ask_contacts(database, number, patterns, add=True)
            contacts, numbers, known = sql_journal.read_contacts(database, number, asked)
            before = self._interning.ledgers_of(number, known)
            after = list(map(changed.get, contacts))
            _, entered = sql_journal.follow_ledgers(before, after, self._spelling(number))
            states = list(map(patterns.__getitem__, contacts))
            if any(map(ne, states, known)):
                _count(database, number)
            sql_journal.learn(database, numbers, states)
            sql_journal.put_adopted(database, self._interning, run, number, dict(zip(contacts, entered, strict=True)))

    def save_facts(self, lease: Lease, facts: LocationFacts) -> None:
        with self._holding(lease) as (database, number):
            if sql_reader.read_facts(database, number) != facts:
                maintenance.put_facts(database, number, facts)
                self._interning.outdate(number)
                self._spelt = None
                _count(database, number)

    def record_intent(
        self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> int:
        with self._under(lease) as (database, number):
            self._remembered.forget(changed)
            self._remembered.forget(batch.contacts)
            tags = frozenset(batch.tags)
            # a contact without a state enters the tables as one that was never observed
            given = {contact: changed.get(contact, NEVER_OBSERVED) for contact in batch.contacts}
            patterns = dict(zip(given, self._interning.numbers_of(number, given.values(), (tags,)), strict=True))
            # a contact that was observed is in the tables: should it not be, it is added once that shows
            add = any(state.observation is None for state in distinct_objects(given.values()))
            asked = self._remembered.find(tuple(given)) or sql_journal.ask_contacts(database, number, patterns, add=add)
            row = (batch.action, self._interning.tagset(tags), now, None, BatchStatus.INTENDED)
            key = int(first(sql_journal.put_batch(database, run, row))[0])
            contacts, numbers, known = sql_journal.read_contacts(database, number, asked)
            before, after = self._interning.ledgers_of(number, known), list(map(changed.get, contacts))
            ledgers, entered = sql_journal.follow_ledgers(before, after, self._spelling(number))
            # whatever the states say of the ledger, to remove a tag puts no pair under management
            if batch.action is Action.REMOVE:
                entered = [sql_journal.NONE] * len(contacts)
            self._interning.prepare(entered)
            # the empty set as NULL, which takes no room: most intents put nothing under management
            numbered = map_alike(lambda tags: self._interning.optional(tags or None), entered)
            intended = sql_journal.StoredBatch(contacts, numbers, ledgers, numbered)
            # of a contact without a change the state that it has
            states = [patterns[who] if who in changed else then for who, then in zip(contacts, known, strict=True)]
            if any(map(ne, states, known)):
                _count(database, number)
            sql_journal.put_intended(database, key, intended, states)
            self._write_known(database, number, {who: changed[who] for who in changed.keys() - given.keys()})
        # after the transaction: what was undone must not be remembered
        self._remembered.add(key, intended)
        self._remembered.learn(contacts, states)
        return key

    def record_answer(
        self,
        lease: Lease,
        number: int,
        outcomes: Mapping[ContactId, ContactOutcome],
        changed: Mapping[ContactId, ContactState],
        now: Instant,
    ) -> None:
        with self._under(lease) as (database, location):
            batch = self._remembered.take(number) or sql_journal.read_batch(database, number)
            self._remembered.forget(changed)
            answers = sql_journal.answered(batch, outcomes, changed, self._spelling(location))
            tagsets = sql_journal.list_tagsets(answers)
            patterns = dict(zip(changed, self._interning.numbers_of(location, changed.values(), tagsets), strict=True))
            # answers first, as rows name them by number
            numbers = sql_journal.put_answers(database, self._interning, number, batch, answers)
            sql_journal.settle(database, location, number, batch, numbers, map(patterns.get, batch.contacts))
            rest = changed.keys() - set(batch.contacts)
            self._write_known(database, location, {contact: changed[contact] for contact in rest})
            self._remembered.learn(patterns, patterns.values())
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

    def save_snapshots(self, lease: Lease, snapshots: Mapping[SetName, Snapshot]) -> None:
        with self._holding(lease) as (database, number):
            if people_tables.put_snapshots(database, number, snapshots):
                _count(database, number)

    def drop_snapshots(self, lease: Lease, names: Iterable[SetName]) -> None:
        with self._holding(lease) as (database, number):
            if people_tables.drop_snapshots(database, number, names):
                _count(database, number)

    def save_people(self, lease: Lease, lot: PeopleLot) -> None:
        with self._holding(lease) as (database, number):
            people_tables.put_people(database, number, lot)

    def forget_contacts(self, lease: Lease, contacts: Iterable[ContactId]) -> frozenset[ContactId]:
        with self._holding(lease) as (database, number):
            return maintenance.forget(database, number, contacts)

    def replace_state(
        self, lease: Lease, state: LocationState, runs: Sequence[RunLog], snapshots: Mapping[SetName, Snapshot]
    ) -> None:
        self._database.back_up(StateCopy(Instant(lease.expires - TTL_MS), lease.holder.operation))
        self.put_state(lease, Portable(state, tuple(runs), snapshots))

    def put_state(self, lease: Lease, portable: Portable) -> None:
        """As `replace_state`; makes no backup."""
        with self._holding(lease) as (database, number):
            maintenance.replace_all(database, self._interning, number, portable)
            self._spelt = None

    def _read(self, read: Callable[[Database, *Arguments], T], *arguments: *Arguments) -> T:
        with self._database.reading():
            return read(self._database, *arguments)

    @contextmanager
    def _changing(self) -> Iterator[Database]:
        """A transaction; the numbers that were interned in one that failed are forgotten."""
        try:
            with self._database.writing():
                yield self._database
        # Ctrl-C too undoes the transaction, and with it the rows of these numbers
        except BaseException:
            self._interning.forget()
            self._remembered.clear()
            self._spelt = None
            raise

    @contextmanager
    def _holding(self, lease: Lease) -> Iterator[tuple[Database, int]]:
        """A transaction under `lease`, with the location's number, that may change any contact."""
        self._remembered.clear()
        with self._under(lease) as (database, number):
            yield database, number

    @contextmanager
    def _under(self, lease: Lease) -> Iterator[tuple[Database, int]]:
        """As `_holding`, for a transaction that leaves the batches under way as they are."""
        with self._changing() as database:
            leases.require_held(database, self._location, lease)
            if self._known_number is None:
                self._known_number = int(first(database.execute(_LOCATION, (self._location,)))[0])
            number = self._known_number
            if self._interning.begin(number, lease):
                self._spelt = None
                self._remembered.clear()
            yield database, number

    def _number(self, lineage: str) -> int:
        """The location's number; no other transaction takes its lease until this one ends."""
        insert = "INSERT INTO locations (id, lineage, serial) VALUES (?, ?, 0) ON CONFLICT DO NOTHING"
        self._database.execute(insert, (self._location, lineage))
        return int(first(self._database.execute(_LOCATION + self._database.for_update, (self._location,)))[0])

    def _write_known(self, database: Database, location: int, changed: Mapping[ContactId, ContactState]) -> None:
        if changed:
            self._remembered.clear()
            self._give_known(database, location, changed)
            self._take_known(database, location)

    def _give_known(self, database: Database, location: int, changed: Mapping[ContactId, ContactState]) -> None:
        # in order: the pages that hold them are full then, and next to one another
        numbers = self._interning.numbers_of(location, changed.values())
        rows = sorted(zip(changed, numbers, strict=True))
        database.give(Given.CONTACTS, rows)

    def _take_known(self, database: Database, location: int) -> None:
        """Takes over the contacts that are given, with their states."""
        database.execute(_COUNT_GIVEN, (location, location))
        database.execute(_TAKE_KNOWN, (location,))

    def _spelling(self, number: int) -> Spelling:
        """Every tag in the spelling that the location of that number keeps; read once while no facts are saved."""
        if self._spelt is None:
            self._spelt = sql_reader.read_spelling(self._database, number)
        return self._spelt

    def _set_sizes(self, database: Database, location: int, sizes: Mapping[SetName, int]) -> None:
        # the serial tells changes of the content: an apply without one must not move it
        if sql_reader.read_sizes(database, location) == sizes:
            return
        database.execute("DELETE FROM set_sizes WHERE location = ?", (location,))
        for name, size in sizes.items():
            database.execute("INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)", (location, name, size))
        _count(database, location)

    def _end_interrupted(self, database: Database, location: int) -> None:
        """Writes down the doubts of the runs that never ended."""
        database.execute(
            "UPDATE runs SET status = ? WHERE location = ? AND status = ?",
            (RunStatus.INTERRUPTED, location, RunStatus.RUNNING),
        )
        # of a killed run: its last requests may have left, and no answer came
        open_ones = [int(batch) for (batch,) in database.execute(_INTENDED, (location,)).fetchall()]
        if open_ones:
            doubted = sql_reader.read_doubts(database, location, sql_reader.read_observed(database, location))
            self._write_known(database, location, doubted)
        for batch in open_ones:
            sql_journal.settle_alike(database, batch, Outcome.IN_DOUBT)
            database.execute("UPDATE batches SET status = 'in_doubt' WHERE n = ?", (batch,))


def _count(database: Database, location: int) -> None:
    """The content of the location of that number has changed."""
    database.execute(sql_journal.COUNT, (location,))


_LOCATION = "SELECT n FROM locations WHERE id = ?"
_REPLACE_KNOWN = "DO UPDATE SET known = excluded.known WHERE contacts.known <> excluded.known"
_TAKE_KNOWN = sql_journal.ADD_CONTACTS + _REPLACE_KNOWN
_COUNT_GIVEN = f"""
{sql_journal.COUNT} AND EXISTS (
    SELECT 1 FROM {Given.CONTACTS} AS given
    WHERE NOT EXISTS (SELECT 1 FROM contacts WHERE location = ? AND id = given.id AND known = given.known))
"""
_INTENDED = "SELECT batches.n FROM batches JOIN runs ON run = runs.n WHERE location = ? AND batches.status = 'intended'"
