"""States that are apart for each location: one store a location, opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar

from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import BatchRecord, RunEnding, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.model.lease import Holder, Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, TagSet
from reconciler.core.model.outcome import ContactOutcome
from reconciler.core.planning.batches import Batch
from reconciler.core.planning.plan import LocationState
from reconciler.ports import StateReader, StateStore

T_co = TypeVar("T_co", bound=StateReader, covariant=True)
Names = Callable[[], Sequence[LocationId]]


class Opened(Generic[T_co]):
    """What was opened so far, by location."""

    def __init__(self, open_one: Callable[[LocationId], AbstractContextManager[T_co]]) -> None:
        self._open_one = open_one
        self._stack = ExitStack()
        self._found: dict[LocationId, T_co] = {}

    def __getitem__(self, location: LocationId) -> T_co:
        if location not in self._found:
            self._found[location] = self._stack.enter_context(self._open_one(location))
        return self._found[location]

    def __contains__(self, location: object) -> bool:
        return location in self._found

    def close(self) -> None:
        self._stack.close()


class PlacesReader:
    """State to look at. `names` tells which locations have state."""

    def __init__(self, at: Opened[StateReader], names: Names) -> None:
        self._at = at
        self._names = names

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at.close()

    def load_state(self, location: LocationId) -> LocationState:
        return self._at[location].load_state(location)

    def list_locations(self) -> Sequence[LocationId]:
        return self._names()

    def read_runs(self, location: LocationId) -> Sequence[RunRecord]:
        return self._at[location].read_runs(location)

    def read_batches(self, run: str) -> Sequence[BatchRecord]:
        return next((found for each in self._opened_first() if (found := self._at[each].read_batches(run))), ())

    def read_adopted(self, run: str) -> Mapping[ContactId, TagSet]:
        return next((found for each in self._opened_first() if (found := self._at[each].read_adopted(run))), {})

    def read_ending(self, run: str) -> RunEnding | None:
        return next((found for each in self._opened_first() if (found := self._at[each].read_ending(run))), None)

    def _opened_first(self) -> Sequence[LocationId]:
        """A run's id does not tell its location: what is open already is asked first."""
        return sorted(self._names(), key=lambda each: each not in self._at)

    def read_trail(self, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        return self._at[location].read_trail(location, contact)

    def read_lease(self, location: LocationId, now: Instant) -> Lease | None:
        return self._at[location].read_lease(location, now)

    def find_faults(self) -> Sequence[str]:
        return tuple(
            f"location {location}: {line}" for location in self._names() for line in self._at[location].find_faults()
        )


class PlacesStore:
    """State to be changed. `names` tells which locations have state."""

    def __init__(self, at: Opened[StateStore], names: Names) -> None:
        self._at = at
        looking = PlacesReader(at, names)
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
        self._at.close()

    def acquire_lease(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        return self._at[location].acquire_lease(location, holder, now)

    def renew_lease(self, lease: Lease, now: Instant) -> Lease:
        return self._at[lease.location].renew_lease(lease, now)

    def release_lease(self, lease: Lease) -> None:
        self._at[lease.location].release_lease(lease)

    def unlock_lease(self, location: LocationId, lease: str) -> Lease:
        return self._at[location].unlock_lease(location, lease)

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        return self._at[lease.location].begin_run(lease, header)

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
        self._at[lease.location].end_run(lease, run, status, now, set_sizes=set_sizes, ending=ending)

    def save_states(self, lease: Lease, changed: Mapping[ContactId, ContactState]) -> None:
        self._at[lease.location].save_states(lease, changed)

    def save_adoptions(self, lease: Lease, run: str, changed: Mapping[ContactId, ContactState]) -> None:
        self._at[lease.location].save_adoptions(lease, run, changed)

    def save_facts(self, lease: Lease, facts: Facts) -> None:
        self._at[lease.location].save_facts(lease, facts)

    def record_intent(
        self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> int:
        return self._at[lease.location].record_intent(lease, run, batch, changed, now)

    def record_answer(
        self,
        lease: Lease,
        number: int,
        verdicts: Mapping[ContactId, ContactOutcome],
        changed: Mapping[ContactId, ContactState],
        now: Instant,
    ) -> None:
        self._at[lease.location].record_answer(lease, number, verdicts, changed, now)

    def withdraw_batch(
        self, lease: Lease, number: int, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> None:
        self._at[lease.location].withdraw_batch(lease, number, changed, now)

    def prune_journal(self, lease: Lease, keep: int) -> None:
        self._at[lease.location].prune_journal(lease, keep)

    def forget_contacts(self, lease: Lease, contacts: Iterable[ContactId]) -> None:
        self._at[lease.location].forget_contacts(lease, contacts)

    def replace_state(self, lease: Lease, state: LocationState, runs: Sequence[RunLog]) -> None:
        self._at[lease.location].replace_state(lease, state, runs)
