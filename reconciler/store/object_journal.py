"""The journal of a location in a bucket: one chain of numbered objects, and the snapshot that stands for its beginning.

Each object is one call that changed the state. A change is made by putting the next object where there is none.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from reconciler.core.model.api_limits import LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import ContactReading, ContactState, ObservationOrigin
from reconciler.core.model.errors import StateCorrupted, StateTooNew
from reconciler.core.model.journal import RunEnding, RunHeader, RunStatus, Shortfall
from reconciler.core.model.lease import Holder, Lease
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.state_fields import assume_unconfirmed, build_state, written_fields
from reconciler.store.database import Undecodable, decoding

if TYPE_CHECKING:
    from reconciler.store.bucket import Bucket, StoredObject

READERS = 16
_RESTORE = "restore the snapshot and its journal together from a backup of the bucket"

FORMAT = 8
"""Format 2: `note`, and the contact's state of schema version 3. Format 3: `Known.unconfirmed`. Format 4: `manage`, and
the additions of schema version 5. Format 5: how a run ended, by its report. Format 6: `save_snapshots`,
`drop_snapshots`, `save_people`. Format 7: which contacts of a snapshot a search does not show.
Format 8: `Facts.tried`."""

UNCONFIRMED = 3
"""The format since which objects say which adds no answer and no reading has confirmed."""

# names are part of the format: a class keeps the one that it was first written under
CLASSES: dict[str, type[Any]] = {
    "Batch": Batch,
    "Facts": LocationFacts,
    "Holder": Holder,
    "Known": ContactState,
    "Lease": Lease,
    "RunEnding": RunEnding,
    "RunHeader": RunHeader,
    "Shortfall": Shortfall,
    "TriedRow": TriedRow,
    "UndecidedReading": ContactReading,
    "Verdict": ContactOutcome,
}
ENUMS: dict[str, type[StrEnum]] = {
    "Action": Action,
    "Origin": ObservationOrigin,
    "Outcome": Outcome,
    "Rejection": Rejection,
    "RunStatus": RunStatus,
    "TrialVerdict": TrialVerdict,
}
NAMES = {written: name for name, written in (CLASSES | ENUMS).items()}


@dataclass(frozen=True, slots=True)
class Call:
    """A method of the store and its arguments. `id` tells two equal calls apart."""

    id: str
    method: str
    arguments: tuple[Any, ...]


class UnreadableObject(Exception):
    """A journal object of a newer version."""


def encode(call: Call) -> bytes:
    writer = _Writer()
    arguments = [writer.write(argument) for argument in call.arguments]
    document = {
        "format": FORMAT,
        "id": call.id,
        "method": call.method,
        "values": list(writer.values),
        "arguments": arguments,
    }
    return json.dumps(document, separators=(",", ":")).encode()


@decoding()
def decode(content: bytes) -> Call:
    """Raises UnreadableObject for a newer format, Undecodable for content of no format."""
    document = json.loads(content)
    if document["format"] > FORMAT:
        raise UnreadableObject(f"format {document['format']}")
    values: list[Any] = []
    older = document["format"] < UNCONFIRMED
    # in order: a value refers to values before it
    for written in document["values"]:
        values.append(_make_value(written, values, older=older))
    arguments = tuple(_read_value(argument, values) for argument in document["arguments"])
    if older and document["method"] == "intend":
        arguments = _carry_intent(*arguments)
    return Call(document["id"], document["method"], arguments)


class _Writer:
    """Values that were met, each written once; one refers to another by its place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Any, int] = {}

    def write(self, value: Any) -> Any:
        if isinstance(value, StrEnum):
            return {"enum": NAMES[type(value)], "is": value.value}
        if value is None or isinstance(value, str | int):
            return value
        if isinstance(value, Mapping):
            return {"map": [[self.write(key), self.write(item)] for key, item in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [self.write(item) for item in value]}
        place = self._places.get(value)  # written once: the contacts of a batch share a few values
        if place is None:
            written = self._write_fields(value)
            place = self._places[value] = len(self.values)
            self.values.append(written)
        return {"at": place}

    def _write_fields(self, value: Any) -> Any:
        if isinstance(value, frozenset):
            return {"set": sorted(value)}
        fields = {name: self.write(each) for name, each in _fields_of(value).items()}
        return {"class": NAMES[type(value)], "fields": fields}


def _fields_of(value: Any) -> dict[str, object]:
    if isinstance(value, ContactState):
        return written_fields(value)
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        # left out, so that a later version may add a field without a new format
        if getattr(value, field.name) != field.default
    }


def _make_value(written: Any, values: list[Any], *, older: bool) -> Any:
    if "set" in written:
        return frozenset(written["set"])
    fields = {name: _read_value(field, values) for name, field in written["fields"].items()}
    made = CLASSES[written["class"]]
    if made is not ContactState:
        return made(**fields)
    return build_state(fields | {"unconfirmed": None} if older else fields)


def _carry_intent(
    lease: Lease, run: str, batch: Batch, changed: Mapping[ContactId, ContactState], now: Instant
) -> tuple[Any, ...]:
    """An intent of an older format, with its adds as unconfirmed."""
    if batch.action is Action.ADD:
        added = frozenset(batch.tags)
        changed = {contact: assume_unconfirmed(state, added) for contact, state in changed.items()}
    return lease, run, batch, changed, now


def _read_value(written: Any, values: list[Any]) -> Any:
    if not isinstance(written, dict):
        return written
    (kind, content), *_ = written.items()
    if kind == "at":
        return values[content]
    if kind == "map":
        return {_read_value(key, values): _read_value(item, values) for key, item in content}
    if kind == "tuple":
        return tuple(_read_value(item, values) for item in content)
    return ENUMS[content](written["is"])


class Taken(Exception):
    """Another call has the next number."""


class Chain:
    """The numbered objects and the snapshot in one folder of a bucket. `name` is for messages."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self.name = f"{bucket.name}/{folder}"
        self._snapshot = f"{folder}/state.db"

    def key(self, position: int) -> str:
        return f"{self._folder}/journal/{position:012}.json"

    def after(self, position: int) -> Sequence[str]:
        """The keys of the objects behind that one, in their order."""
        return self._bucket.keys(f"{self._folder}/journal", after=self.key(position))

    def contents(self, keys: Sequence[str]) -> list[bytes | None]:
        """None for an object that has gone since."""
        # threads cost more than they save where there is one object, which is the rule under a lease
        if len(keys) < 2:
            return [_content(self._bucket.get(key)) for key in keys]
        with ThreadPoolExecutor(min(READERS, len(keys))) as threads:
            return [_content(item) for item in threads.map(self._bucket.get, keys)]

    def put(self, position: int, content: bytes) -> None:
        """Raises Taken where there is another one."""
        key = self.key(position)
        # it may be our own, where the answer to an earlier attempt was lost
        if self._bucket.create(key, content) is None and _content(self._bucket.get(key)) != content:
            raise Taken

    def delete(self, positions: Sequence[int]) -> None:
        self._bucket.delete([self.key(position) for position in positions])

    def snapshot_version(self) -> str | None:
        return self._bucket.version(self._snapshot)

    def snapshot(self) -> StoredObject:
        snapshot = self._bucket.get(self._snapshot)
        if snapshot is None:
            raise StateCorrupted(f"the state {self.name}/state.db has gone", hint="restore it from a backup")
        return snapshot

    def put_snapshot(self, content: bytes, version: str | None) -> str | None:
        """In place of that version, None for none; the new version, None where another one is there."""
        if version is None:
            return self._bucket.create(self._snapshot, content)
        return self._bucket.replace(self._snapshot, content, version)

    def decoded(self, key: str, content: bytes) -> Call:
        try:
            return decode(content)
        except UnreadableObject as error:
            raise self.too_new(key, str(error)) from error
        except Undecodable as error:
            raise StateCorrupted(f"the state {self._bucket.name}/{key} is damaged: {error}", hint=_RESTORE) from error

    def too_new(self, key: str, content: str) -> StateTooNew:
        return StateTooNew(
            f"{self._bucket.name}/{key} holds {content}, which this reconciler does not know",
            hint="upgrade reconciler to at least the version that wrote it",
        )

    def has_a_hole(self, position: int) -> StateCorrupted:
        """The error where the object of that number is missing."""
        return StateCorrupted(
            f"the state {self.name} is damaged: journal object {self.key(position)} is missing", hint=_RESTORE
        )


def _content(item: StoredObject | None) -> bytes | None:
    return item.content if item else None
