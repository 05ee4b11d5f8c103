"""The world as the stages see it: Protocols, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from reconciler.core.formats.state_json import UnrecordedAnswers
    from reconciler.core.model.api_limits import LocationFacts
    from reconciler.core.model.batch import Batch
    from reconciler.core.model.contact_filter import ContactFilter
    from reconciler.core.model.contact_numbers import ContactNumbers
    from reconciler.core.model.contact_state import ContactState
    from reconciler.core.model.events import Event
    from reconciler.core.model.journal import BatchRecord, RunEnding, RunHeader, RunLog, RunRecord, RunStatus
    from reconciler.core.model.lease import Holder, Lease
    from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, TagSet
    from reconciler.core.model.outcome import ContactOutcome, Rejection, ResponseRows
    from reconciler.core.model.people import PeopleIndex, PeopleLot, PersonValue, Snapshot
    from reconciler.core.planning.plan import LocationState
    from reconciler.wire import BulkUpdate, ContactRead, Page
    from reconciler.wire_people import CustomField, PeoplePage, PersonRead

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")
Location_co = TypeVar("Location_co", covariant=True)


class Clock(Protocol):
    def now(self) -> Instant: ...

    async def sleep(self, milliseconds: int) -> None: ...

    async def during(self, work: Awaitable[T], beat: Callable[[], Awaitable[None]], *, every_ms: int) -> T:
        """The result of `work`; `beat`, which does not raise, is called every `every_ms` while it lasts.

        The result does not wait for a beat that takes its time.
        """


class Heartbeat(Protocol):
    """Keeps a lease alive."""

    async def renew(self) -> None:
        """Renews the lease where that is due; raises LeaseLost where it is over, or was when that had been done."""

    def refuse_ended(self) -> None:
        """Raises LeaseLost where the lease is over by now."""

    async def during(self, work: Awaitable[T]) -> T:
        """The result of `work`; the lease is renewed while it lasts."""

    async def sleep(self, milliseconds: int) -> None:
        """A wait; the lease is renewed while it lasts."""


class Worker(Protocol):
    """Does one piece of work after the other, beside the event loop."""

    async def __call__(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """The result of `work`. Cancelled, it is not begun, or goes on to its end unheard."""

    async def close(self) -> None:
        """Returns when all work has ended."""


StartWorker: TypeAlias = Callable[[], Worker]


class Reporter(Protocol):
    """Takes each event as it happens."""

    def __call__(self, event: Event, /) -> None: ...


class RecoveryFiles(Protocol):
    """Keeps answers that the state cannot take, and returns their place; empty where there is none for them."""

    def __call__(self, lost: UnrecordedAnswers, /) -> str: ...


class TagWriter(Protocol):
    """The one write. Where it raises no ApiError, the rows tell its effect."""

    async def ready(self) -> None:
        """Gets the token that a request needs before it can be sent. Raises NotApplied or AuthRefused."""

    async def update_tags(self, update: BulkUpdate) -> ResponseRows:
        """Sends the update at once, and at most once."""


class TagReader(Protocol):
    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        """The contact, or the API's reason why it cannot be read; FOREIGN where it is another location's.

        Raises Unread where the answer is about another contact, and InDoubt where it does not tell.
        """

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        """A page of the contacts, those that carry `tag` where one is given."""


class PeopleReader(Protocol):
    """Reads contacts with the values that people are matched by. No error repeats a value that was looked for."""

    async def search_people(
        self, location: LocationId, cursor: tuple[Any, ...] | None, *, changed_since: Instant | None = None
    ) -> PeoplePage:
        """A page of the contacts, those that changed since an instant where one is given."""

    async def search_filter(self, location: LocationId, wanted: ContactFilter, cursor: tuple[Any, ...] | None) -> Page:
        """A page of the contacts that meet a filter; it names custom fields by their ids."""

    async def find_people(self, location: LocationId, value: PersonValue) -> PeoplePage:
        """The contacts that have one value, by a filter of the search."""

    async def find_duplicate(self, location: LocationId, value: PersonValue) -> PersonRead | None:
        """One contact that has an address or a number, by the vendor's search for duplicates."""

    async def get_person(self, contact: ContactId) -> PersonRead | Rejection:
        """The contact, or the API's reason why it cannot be read; raises Unread as `TagReader.get_contact` does."""

    async def list_custom_fields(self, location: LocationId) -> tuple[CustomField, ...]: ...


class LocationReader(Protocol):
    """The state of one location as it is; a location without state has an empty one."""

    def load_state(self, contacts: ContactNumbers | None = None, /) -> LocationState:
        """The state; a batch with an intent and without an answer leaves its contacts in doubt.

        `contacts`: numbers that the contacts of the state take part in, given where there are others to plan by.
        """

    def read_runs(self) -> Sequence[RunRecord]: ...

    # arguments are given by place: an object store journals calls so
    def read_batches(self, run: str, /) -> Sequence[BatchRecord]:
        """The batches of a run in their order; none where there is no such run."""

    def read_adopted(self, run: str, /) -> Mapping[ContactId, TagSet]:
        """The pairs that a run put under management without a request; none where there is no such run."""

    def read_ending(self, run: str, /) -> RunEnding | None:
        """How a run ended, by its report; None where it had no report, or there is no such run."""

    def read_trail(self, contact: ContactId, /) -> Sequence[tuple[str, BatchRecord]]:
        """The id of the run, and the batch with the answers of this contact alone, of every batch that had it."""

    def read_lease(self, now: Instant, /) -> Lease | None:
        """The lease on the location if it is held at `now`, else None. Takes and renews nothing."""

    def read_snapshots(self) -> Mapping[SetName, Snapshot]:
        """The snapshots of matched sets, by the set."""

    def read_people(self) -> PeopleIndex:
        """The index of the location's people; an empty one where nothing was learnt."""

    def find_faults(self) -> Sequence[str]:
        """Faults of the storage that the location's state is in, a line each."""


class LocationStore(LocationReader, Protocol):
    """The state of one location, to be changed.

    Every change is one durable transaction, refused with LeaseLost under a lost lease.
    """

    def acquire_lease(self, holder: Holder, now: Instant, /) -> Lease:
        """The lease, taken over where the last one ended; raises LockHeld naming the holder."""

    def unlock_lease(self, lease: str, /) -> Lease:
        """Ends the lease of the holder with exactly this id, and returns it; raises UsageError for another id."""

    def renew_lease(self, lease: Lease, now: Instant, /) -> Lease: ...

    def release_lease(self, lease: Lease, /) -> None: ...

    def begin_run(self, lease: Lease, header: RunHeader, /) -> str:
        """The id of the new run. The doubts that an earlier run's unanswered batches leave are now content."""

    def end_run(
        self,
        lease: Lease,
        run: str,
        status: RunStatus,
        now: Instant,
        /,
        *,
        set_sizes: Mapping[SetName, int] | None,
        ending: RunEnding | None = None,
    ) -> None:
        """`set_sizes`: None keeps those of an earlier run. `ending`: its report."""

    def save_states(self, lease: Lease, changed: Mapping[ContactId, ContactState], /) -> None:
        """Saves states that changed without a request. The serial grows where they are new."""

    def save_adoptions(self, lease: Lease, run: str, changed: Mapping[ContactId, ContactState], /) -> None:
        """As `save_states`; pairs that enter the ledger by it are journalled as adopted by the run."""

    def save_facts(self, lease: Lease, facts: LocationFacts, /) -> None:
        """Saves all that the location taught us: limits, spellings, habits. The serial grows where they are new."""

    def record_intent(
        self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant, /
    ) -> int:
        """The intent to send `batch`, durable before it leaves, and the states that follow; the batch's number."""

    def record_answer(
        self,
        lease: Lease,
        number: int,
        outcomes: Mapping[ContactId, ContactOutcome],
        changed: Mapping[ContactId, ContactState],
        now: Instant,
        /,
    ) -> None:
        """The answer to batch `number`, and the states that follow."""

    def withdraw_batch(
        self, lease: Lease, number: int, changed: Mapping[ContactId, ContactState], now: Instant, /
    ) -> None:
        """Batch `number` is known to have had no effect."""

    def prune_journal(self, lease: Lease, keep: int, /) -> None:
        """Gives up the rows of all but the last `keep` runs that had an effect, and as many with batches or adoptions.

        The runs stay listed.
        """

    def save_snapshots(self, lease: Lease, snapshots: Mapping[SetName, Snapshot], /) -> None:
        """Replaces the snapshots of the sets that are named. The serial grows where the contacts of one are new."""

    def drop_snapshots(self, lease: Lease, names: Iterable[SetName], /) -> None:
        """Deletes the snapshots of sets that are no longer matched. The serial grows where there was one."""

    def save_people(self, lease: Lease, lot: PeopleLot, /) -> None:
        """Saves readings in the index of people, which is no content: the serial stays."""

    def forget_contacts(self, lease: Lease, contacts: Iterable[ContactId], /) -> frozenset[ContactId]:
        """Deletes the contacts, their rows in the journal of earlier runs, in the index of people and in snapshots.

        Returns those that the index or a snapshot had.
        """

    def replace_state(
        self,
        lease: Lease,
        state: LocationState,
        runs: Sequence[RunLog],
        snapshots: Mapping[SetName, Snapshot],
        /,
    ) -> None:
        """The location becomes `state`, lineage and serial included, with the journal `runs` and the `snapshots`.

        The index of people stays: it is of the location, whatever its state was.
        """


class State(Protocol[Location_co]):
    """The states of all locations at one URL."""

    def at(self, location: LocationId) -> Location_co:
        """The port to the state of one location; usable as long as this state is open."""

    def list_locations(self) -> Sequence[LocationId]:
        """The locations that have state."""

    def find_faults(self) -> Sequence[str]:
        """Faults of the storage, a line each."""


StateReader: TypeAlias = State[LocationReader]


class StateStore(State[LocationStore], Protocol):
    """The states of all locations at one URL, to be changed."""

    def connect(self, location: LocationId) -> AbstractContextManager[LocationStore]:
        """The port over a connection of its own: opened, used and closed in one thread, beside those of others.

        What one connection committed, another one sees in its next call.
        """
