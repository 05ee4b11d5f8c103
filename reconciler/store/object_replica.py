"""The state of one location in a bucket: a snapshot, and the journal of the changes since, replayed into SQLite here.

    LOCATION/state.db                   the snapshot, a SQLite state that says up to which journal object it reaches
    LOCATION/journal/000000000042.json  one call that changed the state
    LOCATION/lease.json                 see `object.py`

Rules
1. The journal is one chain of numbers. A change is made by putting the next object where there is none: a process
   that lacks the last one is refused, and looks first. So there is one order, and all that replay it agree.
2. A call is tried here before it is put, and stays here only if it was: a call that cannot be replayed is never in
   the chain.
3. A snapshot is replaced under compare-and-swap; journal objects go only after a snapshot holds them. Those that begin
   or end a lease stay for ever: the next number of a holder that was replaced is taken, however late it wakes.
4. The journal is listed before the snapshot is looked at: objects that the list lacks are in the snapshot.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.core.formats.state_json import read_facts, read_snapshots, read_state
from reconciler.core.model.errors import LeaseLost, StateError
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.people import IndexStatus, PeopleLot
from reconciler.store.database import first
from reconciler.store.object_journal import Call, Chain, Taken, encode
from reconciler.store.people_tables import unpack
from reconciler.store.sql_store import SqlLocation, SqlState
from reconciler.store.sqlite import SqliteDatabase, open_scratch

TRIES = 5
LASTING = frozenset({"take", "release"})


def _replace(store: SqlLocation, lease: Lease, document: str) -> None:
    """The location becomes that of the document, which is the one of `state pull` and says its own version."""
    (location,) = read_state(json.loads(document), path="the journal")
    store.put_state(lease, location)


def _end_run(store: SqlLocation, *arguments: Any) -> None:
    """The end of a run; before format 5 it had no report."""
    lease, run, status, now, sizes, *ending = arguments
    store.end_run(lease, run, status, now, set_sizes=sizes, ending=ending[0] if ending else None)


def _save_snapshots(store: SqlLocation, lease: Lease, document: str) -> None:
    store.save_snapshots(lease, read_snapshots(json.loads(document)))


def _save_people(
    store: SqlLocation,
    lease: Lease,
    status: str,
    people: Mapping[ContactId, str],
    gone: tuple[ContactId, ...],
    anew: bool,
) -> None:
    fingerprints = {contact: unpack(base64.b64decode(packed)) for contact, packed in people.items()}
    store.save_people(lease, PeopleLot(read_facts(IndexStatus, status), fingerprints, frozenset(gone), anew))


METHODS: Mapping[str, Callable[..., Any]] = {
    "take": SqlLocation.take_lease,
    "release": SqlLocation.release_lease,
    "begin_run": SqlLocation.journal_run,
    "end_run": _end_run,
    "learn": SqlLocation.save_states,
    "manage": SqlLocation.save_adoptions,
    "note": SqlLocation.save_facts,
    "prune": SqlLocation.prune_journal,
    "intend": SqlLocation.record_intent,
    "record": SqlLocation.record_answer,
    "withdraw": SqlLocation.withdraw_batch,
    "forget": SqlLocation.forget_contacts,
    "replace": _replace,
    "save_snapshots": _save_snapshots,
    "drop_snapshots": SqlLocation.drop_snapshots,
    "save_people": _save_people,
}


class ObjectReplica:
    """The location's state as far as this process has replayed it, in a file that goes when the process ends."""

    def __init__(self, chain: Chain, location: LocationId) -> None:
        self._chain = chain
        self._location = location
        self._directory = tempfile.TemporaryDirectory(prefix="reconciler-")
        self._files = 0
        self._spent: list[int] = []
        self._position = 0
        self._version: str | None = None
        self._may_be_put = False
        self._database = self._opened(self._new_path())
        self._store = self._state_of(self._database)

    def close(self) -> None:
        self._database.close()
        self._directory.cleanup()

    def replay(self) -> bool:
        """Replays the calls that are new; whether there were any."""
        before = self._position, self._version
        for _ in range(TRIES):
            if self._catch_up():
                return (self._position, self._version) != before
        raise self._chain.has_a_hole(self._position + 1)

    def catch_up(self) -> SqlLocation:
        """The state with all that there is by now."""
        self.replay()
        return self._store

    def append(self, method: str, *arguments: object) -> Any:
        """Makes the change, durable for all, and returns the result of the store's method; raises LeaseLost."""
        call = Call(uuid.uuid4().hex, method, arguments)
        content = encode(call)
        while True:
            try:
                return self._publish(call, content)
            # another call came first: it is replayed, and this one tried again on the state that it left
            except Taken:
                self.catch_up()
            except StateError:
                # a replica that is behind may not have seen our own lease yet, or the batch that another connection
                # began; with nothing new to replay, the refusal holds. What may have been put is not put again
                if self._may_be_put or not self.replay():
                    raise

    def compact(self) -> None:
        """Puts a snapshot of this replica, unless another process has put one since; the journal objects in it go."""
        path = self._new_path()
        with self._errors():
            execute = self._database.connection.execute
            # the snapshot says up to which object it reaches; the replica itself has no such table
            execute("CREATE TABLE compacted (position INTEGER NOT NULL) STRICT")
            execute("INSERT INTO compacted VALUES (?)", (self._position,))
            execute("VACUUM INTO ?", (str(path),))
            execute("DROP TABLE compacted")
        content = path.read_bytes()
        # read into memory: the file is not needed while the snapshot travels
        path.unlink()
        version = self._chain.put_snapshot(content, self._version)
        if version is not None:
            self._version = version
            self._chain.delete(self._spent)
            self._spent = []

    def _catch_up(self) -> bool:
        """Whether this replica now has all that there was when it began."""
        # listed before the snapshot is looked at: objects that go in between are in the snapshot
        keys = self._chain.after(self._position)
        if self._chain.snapshot_version() != self._version:
            self._take_snapshot()
            return False
        for key, content in zip(keys, self._chain.contents(keys), strict=True):
            # a hole: the object went into a snapshot while we read, and the next look takes that
            if key != self._chain.key(self._position + 1) or content is None:
                return False
            call = self._chain.decoded(key, content)
            if call.method not in METHODS:
                raise self._chain.too_new(key, f"method {call.method!r}")
            with self._errors():
                METHODS[call.method](self._store, *call.arguments)
            self._advance(call)
        return True

    def _take_snapshot(self) -> None:
        snapshot = self._chain.snapshot()
        path = self._new_path()
        path.write_bytes(snapshot.content)
        database = self._opened(path)
        position = self._position_of(database)
        self._version = snapshot.version
        # our own snapshot, or an older one: this replica has all of it
        if position <= self._position:
            database.close()
            return
        self._database.close()
        self._database, self._store, self._position, self._spent = database, self._state_of(database), position, []

    def _position_of(self, database: SqliteDatabase) -> int:
        with self._errors(), database.reading():
            position = int(first(database.execute("SELECT position FROM compacted"))[0])
        database.execute("DROP TABLE compacted")
        return position

    def _publish(self, call: Call, content: bytes) -> Any:
        """Makes the change here and, as the last thing before it is committed, for all."""
        published = self._may_be_put = False

        def publish() -> None:
            nonlocal published
            self._may_be_put = True
            self._chain.put(self._position + 1, content)
            published = True

        try:
            # all of the call is known to work by then, and can still be rolled back where the object is not put
            with self._errors(), self._database.calling_before_commit(publish):
                result = METHODS[call.method](self._store, *call.arguments)
        except BaseException:
            # put for all, and not committed here: the chain is right
            if published:
                self._begin_again()
            raise
        self._advance(call)
        return result

    def _advance(self, call: Call) -> None:
        self._position += 1
        if call.method not in LASTING:
            self._spent.append(self._position)

    def _begin_again(self) -> None:
        """Drops the replica, which differs from the chain: the next look replays all of it."""
        self._database.close()
        self._database = self._opened(self._new_path())
        self._store, self._position, self._version, self._spent = self._state_of(self._database), 0, None, []

    def _new_path(self) -> Path:
        self._files += 1
        return Path(self._directory.name) / f"{self._files}.db"

    def _state_of(self, database: SqliteDatabase) -> SqlLocation:
        return SqlState(database).at(self._location)

    def _opened(self, path: Path) -> SqliteDatabase:
        with self._errors():
            return open_scratch(path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the file here, told of the place that people know."""
        try:
            yield
        except (LeaseLost, Taken):
            raise
        except StateError as error:
            copy = rf"(?<={re.escape(self._directory.name)}/)\d+(?=\.db)"
            message = re.sub(copy, "state", error.message).replace(self._directory.name, self._chain.name)
            raise type(error)(message, hint=error.hint) from error
