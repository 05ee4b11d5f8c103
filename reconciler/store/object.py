"""The state of a location in object storage: a reader, and the store of the run that holds the lease.

The lease is one object, changed under compare-and-swap; it says which holder may begin. A write of a holder that was
replaced is refused by the journal's chain (`object_replica.py`), in which each lease begins with a call of its own.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Self, TypeVar, TypeVarTuple

from reconciler.core.formats.state_json import Portable, facts_text, snapshots_document, state_document
from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.errors import LeaseLost, StateCorrupted
from reconciler.core.model.journal import RunEnding, RunHeader, RunLog, RunStatus
from reconciler.core.model.lease import TTL_MS, Holder, Lease, lease_lost_error, lock_held_error
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName
from reconciler.core.model.people import PeopleLot, Snapshot
from reconciler.core.planning.plan import LocationState
from reconciler.store.bucket import Bucket, StoredObject, Trial
from reconciler.store.database import Undecodable
from reconciler.store.leases import exactly, is_held
from reconciler.store.object_journal import Call, Chain, decode, encode
from reconciler.store.object_replica import METHODS, ObjectReplica
from reconciler.store.people_tables import pack
from reconciler.store.per_location import folder_of
from reconciler.store.sql_store import SqlLocation

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def _from_replica(
    read: Callable[[SqlLocation, *Arguments], Result],
) -> Callable[[ObjectLocation, *Arguments], Result]:
    """The method of the tables, asked of a replica that has all that there is by now."""

    def method(self: ObjectLocation, *arguments: *Arguments) -> Result:
        return read(self._replica.catch_up(), *arguments)

    return method


def _appended(change: Callable[[SqlLocation, *Arguments], Result]) -> Callable[[ObjectLocation, *Arguments], Result]:
    """The method of the tables, as a call in the journal."""
    name = next(name for name, method in METHODS.items() if method is change)

    def method(self: ObjectLocation, *arguments: *Arguments) -> Result:
        result: Result = self._replica.append(name, *arguments)
        return result

    return method


class ObjectLocation:
    """The state of one location; each change is durable for all when its method returns."""

    def __init__(self, bucket: Bucket, location: LocationId, trial: Trial | None = None) -> None:
        self._bucket = bucket
        self._location = location
        self._folder = folder_of(location)
        self._lease = f"{self._folder}/lease.json"
        self._replica = ObjectReplica(Chain(bucket, self._folder), location)
        self._try = trial or Trial(bucket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replica.close()

    read_runs = _from_replica(SqlLocation.read_runs)
    read_batches = _from_replica(SqlLocation.read_batches)
    read_adopted = _from_replica(SqlLocation.read_adopted)
    read_ending = _from_replica(SqlLocation.read_ending)
    read_trail = _from_replica(SqlLocation.read_trail)
    read_snapshots = _from_replica(SqlLocation.read_snapshots)
    read_people = _from_replica(SqlLocation.read_people)
    find_faults = _from_replica(SqlLocation.find_faults)

    def load_state(self, contacts: ContactNumbers | None = None, /) -> LocationState:
        return self._replica.catch_up().load_state(contacts)

    save_states = _appended(SqlLocation.save_states)
    save_adoptions = _appended(SqlLocation.save_adoptions)
    save_facts = _appended(SqlLocation.save_facts)
    record_intent = _appended(SqlLocation.record_intent)
    record_answer = _appended(SqlLocation.record_answer)
    withdraw_batch = _appended(SqlLocation.withdraw_batch)
    prune_journal = _appended(SqlLocation.prune_journal)

    def read_lease(self, now: Instant) -> Lease | None:
        last = self._last_lease()
        return last if last is not None and is_held(last, now) else None

    def acquire_lease(self, holder: Holder, now: Instant) -> Lease:
        # before the first lease: a store that ignores conditions would give it to two holders
        self._try(self._folder)
        # the lease object decides between holders; the call in the chain then shuts the earlier one out
        lease = self._take_lease(holder, now)
        self._replica.catch_up()
        lineage = str(uuid.uuid4())
        # once more where a snapshot came in between: a holder that was replaced may just have ended
        self._replica.append("take", lease, lineage)
        while self._replica.replay():
            self._replica.append("take", lease, lineage)
        return lease

    def renew_lease(self, lease: Lease, now: Instant) -> Lease:
        renewed = replace(lease, expires=Instant(now + TTL_MS))
        self._swap_lease(lease, renewed)
        return renewed

    def release_lease(self, lease: Lease) -> None:
        self._replica.append("release", lease)
        try:
            # still under the lease, so that two processes do not compact at once
            self._replica.compact()
        finally:
            self._swap_lease(lease, _ended(lease))

    def unlock_lease(self, lease: str) -> Lease:
        # first the object, so that the next holder may begin; then the chain, so that the old one may not go on
        held = exactly(self._last_lease(), self._location, lease)
        self._swap_lease(held, _ended(held))
        with suppress(LeaseLost):  # another holder has it by now: the one that was unlocked is refused all the same
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

    def save_snapshots(self, lease: Lease, snapshots: Mapping[SetName, Snapshot]) -> None:
        self._replica.append("save_snapshots", lease, json.dumps(snapshots_document(snapshots)))

    def drop_snapshots(self, lease: Lease, names: Iterable[SetName]) -> None:
        self._replica.append("drop_snapshots", lease, tuple(sorted(set(names))))

    def save_people(self, lease: Lease, lot: PeopleLot) -> None:
        people = {contact: base64.b64encode(pack(lot.people[contact])).decode() for contact in sorted(lot.people)}
        gone = tuple(sorted(lot.gone))
        self._replica.append("save_people", lease, facts_text(lot.status), people, gone, lot.anew)

    def forget_contacts(self, lease: Lease, contacts: Iterable[ContactId]) -> frozenset[ContactId]:
        # sorted, so that equal calls have equal bytes
        erased: frozenset[ContactId] = self._replica.append("forget", lease, tuple(sorted(set(contacts))))
        return erased

    def replace_state(
        self, lease: Lease, state: LocationState, runs: Sequence[RunLog], snapshots: Mapping[SetName, Snapshot]
    ) -> None:
        document = state_document([Portable(state, tuple(runs), snapshots)])
        self._replica.append("replace", lease, json.dumps(document))

    def _take_lease(self, holder: Holder, now: Instant) -> Lease:
        """The lease object made ours; raises LockHeld."""
        while True:
            stored = self._bucket.get(self._lease)
            last = _decode_lease(self._bucket, self._lease, stored) if stored else None
            if last is not None and is_held(last, now):
                raise lock_held_error(last)
            lease = Lease(self._location, holder, 1 + self._last_fence(last), Instant(now + TTL_MS))
            content = _encode_lease(lease)
            version = (
                self._bucket.replace(self._lease, content, stored.version)
                if stored
                else self._bucket.create(self._lease, content)
            )
            if version is not None or self._is_stored(content):
                return lease

    def _last_fence(self, last: Lease | None) -> int:
        if last is not None:
            return last.fence
        # a person may have deleted the lease object: the journal still has the number
        return self._replica.catch_up().last_fence()

    def _swap_lease(self, lease: Lease, to: Lease) -> None:
        """Replaces the lease object while it is this lease's; raises LeaseLost."""
        content = _encode_lease(to)
        while True:
            stored = self._bucket.get(self._lease)
            present = _decode_lease(self._bucket, self._lease, stored) if stored else None
            if (
                stored is None
                or present is None
                or (present.fence, present.holder.id) != (lease.fence, lease.holder.id)
            ):
                raise lease_lost_error(lease)
            if self._bucket.replace(self._lease, content, stored.version) is not None or self._is_stored(content):
                return

    def _is_stored(self, content: bytes) -> bool:
        """Whether the lease object has this content: the answer to an earlier attempt may have been lost."""
        stored = self._bucket.get(self._lease)
        return stored is not None and stored.content == content

    def _last_lease(self) -> Lease | None:
        """The last lease on the location, held or not."""
        stored = self._bucket.get(self._lease)
        return _decode_lease(self._bucket, self._lease, stored) if stored else None


def _decode_lease(bucket: Bucket, name: str, stored: StoredObject) -> Lease:
    try:
        lease: Lease = decode(stored.content).arguments[0]
    except (Undecodable, IndexError) as error:
        raise StateCorrupted(
            f"the state {bucket.name}/{name} is damaged: {error}",
            hint="see that no run works on the location, then delete that object",
        ) from error
    return lease


def _ended(lease: Lease) -> Lease:
    return replace(lease, holder=replace(lease.holder, id=""), expires=Instant(0))


def _encode_lease(lease: Lease) -> bytes:
    return encode(Call(uuid.uuid4().hex, "lease", (lease,)))
