"""The state in the tables of a database, to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from reconciler.core.model.journal import BatchRecord, RunEnding, RunRecord
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet
from reconciler.core.planning.plan import LocationState
from reconciler.store import leases, maintenance, sql_journal, sql_reader
from reconciler.store.database import Database


class SqlReader:
    """State to look at; None for a database is a state that is not there yet."""

    def __init__(self, database: Database | None) -> None:
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            self._database.close()

    def load_state(self, location: LocationId) -> LocationState:
        if self._database is None:
            return LocationState(location)
        with self._database.reading():
            return sql_reader.load(self._database, location)

    def list_locations(self) -> Sequence[LocationId]:
        if self._database is None:
            return ()
        with self._database.reading():
            return sql_reader.locations(self._database)

    def read_runs(self, location: LocationId) -> Sequence[RunRecord]:
        if self._database is None:
            return ()
        with self._database.reading():
            return sql_reader.runs(self._database, location)

    def read_batches(self, run: str) -> Sequence[BatchRecord]:
        if self._database is None:
            return ()
        with self._database.reading():
            return sql_reader.batches(self._database, run)

    def read_adopted(self, run: str) -> Mapping[ContactId, TagSet]:
        if self._database is None:
            return {}
        with self._database.reading():
            return sql_journal.read_adopted(self._database, run)

    def read_ending(self, run: str) -> RunEnding | None:
        if self._database is None:
            return None
        with self._database.reading():
            return sql_journal.read_ending(self._database, run)

    def read_trail(self, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        if self._database is None:
            return ()
        with self._database.reading():
            return sql_reader.trail(self._database, location, contact)

    def read_lease(self, location: LocationId, now: Instant) -> Lease | None:
        if self._database is None:
            return None
        with self._database.reading():
            return leases.held(self._database, location, now)

    def find_faults(self) -> Sequence[str]:
        if self._database is None:
            return ()
        with self._database.reading():
            return tuple(maintenance.check(self._database))
