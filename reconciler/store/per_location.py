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

    def load(self, location: LocationId) -> LocationState:
        return self._at[location].load(location)

    def locations(self) -> Sequence[LocationId]:
        return self._names()

    def runs(self, location: LocationId) -> Sequence[RunRecord]:
        return self._at[location].runs(location)

    def batches(self, run: str) -> Sequence[BatchRecord]:
        return next((found for each in self._opened_first() if (found := self._at[each].batches(run))), ())

    def adopted(self, run: str) -> Mapping[ContactId, TagSet]:
        return next((found for each in self._opened_first() if (found := self._at[each].adopted(run))), {})

    def ending(self, run: str) -> RunEnding | None:
        return next((found for each in self._opened_first() if (found := self._at[each].ending(run))), None)

    def _opened_first(self) -> Sequence[LocationId]:
        """A run's id does not tell its location: what is open already is asked first."""
        return sorted(self._names(), key=lambda each: each not in self._at)

    def trail(self, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        return self._at[location].trail(location, contact)

    def held_lease(self, location: LocationId, now: Instant) -> Lease | None:
        return self._at[location].held_lease(location, now)

    def check(self) -> Sequence[str]:
        return tuple(
            f"location {location}: {line}" for location in self._names() for line in self._at[location].check()
        )


class PlacesStore:
    """State to be changed. `names` tells which locations have state."""

    def __init__(self, at: Opened[StateStore], names: Names) -> None:
        self._at = at
        looking = PlacesReader(at, names)
        self.load, self.locations, self.runs = looking.load, looking.locations, looking.runs
        self.batches, self.adopted, self.trail = looking.batches, looking.adopted, looking.trail
        self.held_lease, self.check = looking.held_lease, looking.check
        self.ending = looking.ending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at.close()

    def acquire(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        return self._at[location].acquire(location, holder, now)

    def renew(self, lease: Lease, now: Instant) -> Lease:
        return self._at[lease.location].renew(lease, now)

    def release(self, lease: Lease) -> None:
        self._at[lease.location].release(lease)

    def unlock(self, location: LocationId, lease: str) -> Lease:
        return self._at[location].unlock(location, lease)

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

    def learn(self, lease: Lease, changed: Mapping[ContactId, ContactState]) -> None:
        self._at[lease.location].learn(lease, changed)

    def manage(self, lease: Lease, run: str, changed: Mapping[ContactId, ContactState]) -> None:
        self._at[lease.location].manage(lease, run, changed)

    def note(self, lease: Lease, facts: Facts) -> None:
        self._at[lease.location].note(lease, facts)

    def intend(
        self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> int:
        return self._at[lease.location].intend(lease, run, batch, changed, now)

    def record(
        self,
        lease: Lease,
        number: int,
        verdicts: Mapping[ContactId, ContactOutcome],
        changed: Mapping[ContactId, ContactState],
        now: Instant,
    ) -> None:
        self._at[lease.location].record(lease, number, verdicts, changed, now)

    def withdraw(self, lease: Lease, number: int, changed: Mapping[ContactId, ContactState], now: Instant) -> None:
        self._at[lease.location].withdraw(lease, number, changed, now)

    def prune(self, lease: Lease, keep: int) -> None:
        self._at[lease.location].prune(lease, keep)

    def forget(self, lease: Lease, contacts: Iterable[ContactId]) -> None:
        self._at[lease.location].forget(lease, contacts)

    def replace(self, lease: Lease, state: LocationState, runs: Sequence[RunLog]) -> None:
        self._at[lease.location].replace(lease, state, runs)
