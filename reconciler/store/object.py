"""The state of a location in object storage: a reader, and the store of the run that holds the lease.

The lease is one object, changed under compare-and-swap; it says who may begin. What refuses a write of a holder that
was replaced is the journal's chain (`object_replica.py`), in which each lease begins with a call of its own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from reconciler.core.formats.state_json import Portable, state_document
from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import LeaseLost, StateCorrupted
from reconciler.core.model.journal import BatchRecord, RunEnding, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.model.lease import TTL_MS, Holder, Lease, lease_lost_error, lock_held_error
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, TagSet
from reconciler.core.model.outcome import ContactOutcome
from reconciler.core.planning.batches import Batch
from reconciler.core.planning.plan import LocationState
from reconciler.store.bucket import Bucket, StoredObject, Trial
from reconciler.store.database import Undecodable
from reconciler.store.leases import exactly, is_held
from reconciler.store.object_journal import Call, Chain, decode, encode
from reconciler.store.object_replica import ObjectReplica


class ObjectReader:
    """One location's state to look at."""

    def __init__(self, replica: ObjectReplica, last_lease: Callable[[], Lease | None]) -> None:
        self._replica = replica
        self._last_lease = last_lease

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replica.close()

    def load_state(self, location: LocationId) -> LocationState:
        return self._replica.present().load_state(location)

    def list_locations(self) -> Sequence[LocationId]:
        return self._replica.present().list_locations()

    def read_runs(self, location: LocationId) -> Sequence[RunRecord]:
        return self._replica.present().read_runs(location)

    def read_batches(self, run: str) -> Sequence[BatchRecord]:
        return self._replica.present().read_batches(run)

    def read_adopted(self, run: str) -> Mapping[ContactId, TagSet]:
        return self._replica.present().read_adopted(run)

    def read_ending(self, run: str) -> RunEnding | None:
        return self._replica.present().read_ending(run)

    def read_trail(self, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
        return self._replica.present().read_trail(location, contact)

    def read_lease(self, location: LocationId, now: Instant) -> Lease | None:
        last = self._last_lease()
        return last if last is not None and last.location == location and is_held(last, now) else None

    def find_faults(self) -> Sequence[str]:
        return self._replica.present().find_faults()


def open_object(bucket: Bucket, folder: str) -> ObjectReader:
    return ObjectReader(ObjectReplica(Chain(bucket, folder)), lambda: _last_lease(bucket, _lease_of(folder)))


class ObjectStore:
    """One location's state to be changed; each method is durable for all when it returns."""

    def __init__(self, bucket: Bucket, folder: str, trial: Trial | None = None) -> None:
        self._bucket = bucket
        self._folder = folder
        self._lease = _lease_of(folder)
        self._replica = ObjectReplica(Chain(bucket, folder))
        self._try = trial or Trial(bucket)
        looking = ObjectReader(self._replica, self._last)
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
        self._replica.close()

    def acquire_lease(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        self._try(self._folder)
        lease = self._take(location, holder, now)
        self._replica.catch_up()
        lineage = str(uuid.uuid4())
        # once more where a snapshot came in between: a holder that was replaced may just have ended
        self._replica.append("take", lease, lineage)
        while self._replica.catch_up():
            self._replica.append("take", lease, lineage)
        return lease

    def renew_lease(self, lease: Lease, now: Instant) -> Lease:
        renewed = replace(lease, expires=Instant(now + TTL_MS))
        self._swap(lease, renewed)
        return renewed

    def release_lease(self, lease: Lease) -> None:
        self._replica.append("release", lease)
        try:
            self._replica.compact()
        finally:
            self._swap(lease, _ended(lease))

    def unlock_lease(self, location: LocationId, lease: str) -> Lease:
        held = exactly(self._last(), location, lease)
        self._swap(held, _ended(held))
        with suppress(LeaseLost):  # somebody else has it by now: whoever was unlocked is refused all the same
            self._replica.append("release", held)
        return held

    def begin_run(self, lease: Lease, header: RunHeader) -> str:
        run = uuid.uuid4().hex[:12]
        self._replica.append("begin_run", lease, header, run)
        return run

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
        self._replica.append("end_run", lease, run, status, now, set_sizes, ending)

    def save_states(self, lease: Lease, changed: Mapping[ContactId, ContactState]) -> None:
        self._replica.append("learn", lease, changed)

    def save_adoptions(self, lease: Lease, run: str, changed: Mapping[ContactId, ContactState]) -> None:
        self._replica.append("manage", lease, run, changed)

    def save_facts(self, lease: Lease, facts: Facts) -> None:
        self._replica.append("note", lease, facts)

    def record_intent(
        self, lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> int:
        return int(self._replica.append("intend", lease, run, batch, changed, now))

    def record_answer(
        self,
        lease: Lease,
        number: int,
        verdicts: Mapping[ContactId, ContactOutcome],
        changed: Mapping[ContactId, ContactState],
        now: Instant,
    ) -> None:
        self._replica.append("record", lease, number, verdicts, changed, now)

    def withdraw_batch(
        self, lease: Lease, number: int, changed: Mapping[ContactId, ContactState], now: Instant
    ) -> None:
        self._replica.append("withdraw", lease, number, changed, now)

    def prune_journal(self, lease: Lease, keep: int) -> None:
        self._replica.append("prune", lease, keep)

    def forget_contacts(self, lease: Lease, contacts: Iterable[ContactId]) -> None:
        self._replica.append("forget", lease, tuple(sorted(set(contacts))))

    def replace_state(self, lease: Lease, state: LocationState, runs: Sequence[RunLog]) -> None:
        self._replica.append("replace", lease, json.dumps(state_document([Portable(state, tuple(runs))])))

    def _take(self, location: LocationId, holder: Holder, now: Instant) -> Lease:
        """The lease object made ours; raises LockHeld."""
        while True:
            found = self._bucket.get(self._lease)
            last = _decoded(self._bucket, self._lease, found) if found else None
            if last is not None and is_held(last, now):
                raise lock_held_error(last)
            lease = Lease(location, holder, 1 + self._last_fence(location, last), Instant(now + TTL_MS))
            content = _encoded(lease)
            version = (
                self._bucket.replace(self._lease, content, found.version)
                if found
                else self._bucket.create(self._lease, content)
            )
            if version is not None or self._is(content):
                return lease

    def _last_fence(self, location: LocationId, last: Lease | None) -> int:
        if last is not None:
            return last.fence
        # somebody may have deleted the lease object: the journal still knows
        return self._replica.present().last_fence(location)

    def _swap(self, lease: Lease, to: Lease) -> None:
        """Replaces the lease object while it is this lease's; raises LeaseLost."""
        content = _encoded(to)
        while True:
            found = self._bucket.get(self._lease)
            present = _decoded(self._bucket, self._lease, found) if found else None
            if found is None or present is None or (present.fence, present.holder.id) != (lease.fence, lease.holder.id):
                raise lease_lost_error(lease)
            if self._bucket.replace(self._lease, content, found.version) is not None or self._is(content):
                return

    def _is(self, content: bytes) -> bool:
        """Whether the lease object is what we wrote: the answer to an earlier attempt may have been lost."""
        found = self._bucket.get(self._lease)
        return found is not None and found.content == content

    def _last(self) -> Lease | None:
        return _last_lease(self._bucket, self._lease)


def _lease_of(folder: str) -> str:
    """The name of the lease object."""
    return f"{folder}/lease.json"


def _last_lease(bucket: Bucket, name: str) -> Lease | None:
    """The last lease on the location, held or not."""
    found = bucket.get(name)
    return _decoded(bucket, name, found) if found else None


def _decoded(bucket: Bucket, name: str, found: StoredObject) -> Lease:
    try:
        lease: Lease = decode(found.content).arguments[0]
    except (Undecodable, IndexError) as error:
        raise StateCorrupted(
            f"the state {bucket.name}/{name} is damaged: {error}",
            hint="see that no run works on the location, then delete that object",
        ) from error
    return lease


def _ended(lease: Lease) -> Lease:
    return replace(lease, holder=replace(lease.holder, id=""), expires=Instant(0))


def _encoded(lease: Lease) -> bytes:
    return encode(Call(uuid.uuid4().hex, "lease", (lease,)))
