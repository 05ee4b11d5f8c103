"""What the state in object storage promises beyond the contract: conditions, crashes, traffic."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="not installed: the extra tagreconciler[objects]")

from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState, ContactStates
from reconciler.core.model.errors import LeaseLost, LockHeld, StateCorrupted, StateError, StateTooNew, UsageError
from reconciler.core.model.journal import RunRecord, RunStatus
from reconciler.core.model.lease import TTL_MS, Lease
from reconciler.core.model.names import ContactId, LocationId, SetName
from reconciler.core.model.people import IndexStatus, PeopleLot
from reconciler.core.planning.plan import LocationState
from reconciler.ports import LocationStore
from reconciler.store import open_reader, open_store
from reconciler.store.bucket import Bucket, StoredObject, open_bucket, probe
from reconciler.store.object import ObjectLocation
from reconciler.store.object_journal import Chain, Taken, decode
from reconciler.store.object_replica import METHODS
from reconciler.store.per_location import StatePerLocation
from tests.build import HERE
from tests.fakes import START
from tests.sizes import how_many
from tests.store import servers
from tests.store.conftest import in_memory
from tests.store.sample import OLD, PEOPLE, SNAPSHOTS
from tests.store.test_contract import ANNA, BERT, CARA, LATER, applied, batch, contents, header, seen, snapshot, taken
from tests.store.test_migration import GOLDEN, VERSIONS, copied, document

pytestmark = pytest.mark.extras


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return open_bucket(in_memory(tmp_path))


def nothing(_method: str, _key: str) -> None:
    """Is done where a test wants nothing."""


@dataclass
class Wire:
    """A bucket that counts what passes, and fails or acts where a test says so."""

    bucket: Bucket
    up: int = 0
    down: int = 0
    writes: int = 0
    fail_at: int = 0
    lose_answers: bool = False
    before: Callable[[str, str], None] = nothing
    largest: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.bucket.name

    def get(self, key: str) -> StoredObject | None:
        self.before("get", key)
        found = self.bucket.get(key)
        self.down += len(found.content) if found else 0
        return found

    def version(self, key: str) -> str | None:
        self.before("version", key)
        return self.bucket.version(key)

    def create(self, key: str, content: bytes) -> str | None:
        return self._write("create", key, content, lambda: self.bucket.create(key, content))

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        return self._write("replace", key, content, lambda: self.bucket.replace(key, content, version))

    def _write(self, method: str, key: str, content: bytes, write: Callable[[], str | None]) -> str | None:
        self.before(method, key)
        self.writes += 1
        if self.writes == self.fail_at and not self.lose_answers:
            raise StateError("the network is gone")
        self.up += len(content)
        kind = key.split("/")[1]
        self.largest[kind] = max(self.largest.get(kind, 0), len(content))
        version = write()
        if self.writes == self.fail_at:
            raise StateError("the answer is lost")
        # sent again by the client, as the first answer did not arrive
        return write() if self.lose_answers and not self.fail_at else version

    def keys(self, prefix: str, *, after: str = "") -> Sequence[str]:
        self.before("keys", prefix)
        return self.bucket.keys(prefix, after=after)

    def folders(self) -> Sequence[str]:
        return self.bucket.folders()

    def delete(self, keys: Sequence[str]) -> None:
        self.before("delete", "")
        self.bucket.delete(keys)


def shown(bucket: Bucket) -> tuple[tuple[object, ...], tuple[RunRecord, ...]]:
    """The state as somebody sees it who has never looked before."""
    with ObjectLocation(bucket, HERE) as reader:
        return contents(reader.load_state()), tuple(reader.read_runs())


def a_run(store: ObjectLocation, batches: int = 3, size: int = 500) -> None:
    lease = taken(store)
    run = store.begin_run(lease, header())
    for nth in range(batches):
        contacts = [ContactId(f"contact-{nth}-{each:012}") for each in range(size)]
        number = store.record_intent(lease, run, batch(*contacts), dict.fromkeys(contacts, NEVER_OBSERVED), START)
        store.record_answer(
            lease, number, dict.fromkeys(contacts, applied("x")), dict.fromkeys(contacts, seen("x")), LATER
        )
    store.end_run(lease, run, RunStatus.COMPLETE, LATER, set_sizes={})
    store.release_lease(lease)


@pytest.mark.slow
def test_a_batch_costs_what_the_batch_holds_not_what_the_state_does(bucket: Bucket) -> None:
    with ObjectLocation(bucket, HERE) as store:
        lease = taken(store)
        many = {ContactId(f"known-{nth:014}"): seen(str(nth % 9)) for nth in range(20_000)}
        store.save_states(lease, many)
        store.release_lease(lease)
    whole = bucket.get(f"{HERE}/state.db")
    wire = Wire(bucket)
    with ObjectLocation(wire, HERE) as store:
        a_run(store, batches=20)

    assert whole is not None
    # an intent and an answer a batch, each of its 500 contacts by name and little more
    assert wire.largest["journal"] < 500 * 90
    # the state itself goes over the wire twice: read at the beginning, written at the end
    assert wire.up < wire.largest["state.db"] + 2 * 20 * 500 * 90
    assert wire.down < len(whole.content) + 100_000
    assert wire.largest["state.db"] < 1.7 * len(whole.content)


def test_after_a_run_there_is_a_snapshot_and_no_journal_but_who_held_it(bucket: Bucket) -> None:
    with ObjectLocation(bucket, HERE) as store:
        a_run(store, size=2)
        a_run(store, size=2)

    journal = bucket.keys(f"{HERE}/journal")
    assert len(journal) == 4
    assert len(bucket.keys(HERE)) == len(journal) + 2


@pytest.mark.slow
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_at_every_write_that_fails_the_state_is_old_or_new(tmp_path: Path, every: int) -> None:
    """Each of a run's writes fails once, before or after it was done; the next run goes on from there."""
    refused = 0
    for lost in (False, True):
        for nth in range(1, 30, every):
            bucket = open_bucket(in_memory(tmp_path / f"{lost}{nth}"))
            wire = Wire(bucket, fail_at=nth, lose_answers=lost)
            with ObjectLocation(wire, HERE) as store:
                try:
                    a_run(store, size=2)
                except StateError:
                    refused += 1
                before = shown(bucket)
            with ObjectLocation(bucket, HERE) as again:
                assert contents(again.load_state()) == before[0]
                lease = taken(again, name="two", now=START + TTL_MS)
                assert (contents(again.load_state())[3:], tuple(again.read_runs())) == (
                    before[0][3:],
                    before[1],
                )
                again.begin_run(lease, header())
                again.release_lease(lease)
            assert shown(bucket)[0][3] == before[0][3]
    assert refused > 20 // every


def test_a_request_that_was_sent_twice_counts_once(bucket: Bucket, tmp_path: Path) -> None:
    with ObjectLocation(Wire(bucket, lose_answers=True), HERE) as store:
        lease = taken(store)
        for nth in range(5):
            store.save_states(lease, {ANNA: seen(str(nth))})
        lease = store.renew_lease(lease, LATER)
        store.release_lease(lease)

    assert shown(bucket)[0][2:4] == (5, {ANNA: seen("4")})


def test_a_holder_that_wakes_late_is_refused_whatever_its_successors_did(bucket: Bucket) -> None:
    with ObjectLocation(bucket, HERE) as late, ObjectLocation(bucket, HERE) as second:
        lease = taken(late)
        run = late.begin_run(lease, header())
        for nth in range(3):
            now = START + (nth + 1) * TTL_MS
            other = taken(second, name=f"two-{nth}", now=now)
            second.save_states(other, {BERT: seen(str(nth))})
            second.release_lease(other)
        before = shown(bucket)
        for write in (
            lambda: late.record_intent(lease, run, batch(ANNA), {ANNA: ContactState()}, LATER),
            lambda: late.save_states(lease, {ANNA: seen("stolen")}),
            lambda: late.renew_lease(lease, LATER),
            lambda: late.release_lease(lease),
        ):
            with pytest.raises(LeaseLost):
                write()
        assert shown(bucket) == before


@pytest.mark.parametrize("moment", ["keys", "version", "create"])
def test_a_holder_that_ends_while_it_is_replaced_takes_nothing_with_it(bucket: Bucket, moment: str) -> None:
    """The old holder's last journal objects, its snapshot and its clearing come at the worst of moments."""
    wire = Wire(bucket)
    with ObjectLocation(bucket, HERE) as old, ObjectLocation(wire, HERE) as new:
        lease = taken(old)
        old.save_states(lease, {ANNA: seen("a")})

        def end(method: str, key: str) -> None:
            if method == moment and ("/journal" in key or method == "version"):
                wire.before = nothing
                old.save_states(lease, {BERT: seen("b")})
                with pytest.raises(LeaseLost):
                    old.release_lease(lease)

        wire.before = end
        second = taken(new, name="two", now=START + TTL_MS)
        new.save_states(second, {CARA: seen("c")})
        new.release_lease(second)
    with ObjectLocation(bucket, HERE) as reader:
        assert set(reader.load_state().observed.contacts) == {ANNA, BERT, CARA}


@pytest.mark.parametrize("moment", ["keys", "version"])
def test_a_reader_looks_while_the_journal_is_compacted(bucket: Bucket, moment: str) -> None:
    wire = Wire(bucket)
    with ObjectLocation(bucket, HERE) as store, ObjectLocation(wire, HERE) as reader:
        lease = taken(store)
        store.save_states(lease, {ANNA: seen("a")})
        reader.load_state()
        store.save_states(lease, {ANNA: seen("b")})

        def compact(method: str, key: str) -> None:
            if method == moment:
                wire.before = nothing
                store.release_lease(lease)

        wire.before = compact
        assert reader.load_state().observed[ANNA] == seen("b")
        assert reader.load_state().observed[ANNA] == seen("b")


def test_a_deleted_lease_object_does_not_let_an_old_holder_back_in(bucket: Bucket) -> None:
    with ObjectLocation(bucket, HERE) as first, ObjectLocation(bucket, HERE) as second:
        taken(first)
        lease = taken(first, now=START + TTL_MS)
        bucket.delete([f"{HERE}/lease.json"])
        assert taken(second, name="two").fence > lease.fence
        with pytest.raises(LeaseLost):
            first.save_states(lease, {ANNA: seen("a")})


def test_a_forgotten_contact_is_in_no_object_once_the_lease_ended(bucket: Bucket) -> None:
    with ObjectLocation(bucket, HERE) as store:
        lease = taken(store)
        run = store.begin_run(lease, header())
        number = store.record_intent(lease, run, batch(ANNA, BERT), {ANNA: seen("a")}, START)
        store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {ANNA: seen("a", "x")}, LATER)
        store.release_lease(lease)
        lease = taken(store, name="two")
        store.forget_contacts(lease, [ANNA])
        with ObjectLocation(bucket, HERE) as reader:
            assert set(reader.load_state().observed.contacts) == {BERT}
        store.release_lease(lease)

    objects = [found.content for key in bucket.keys(HERE) if (found := bucket.get(key))]
    assert [ANNA.encode() in each for each in objects] == [False] * len(objects)
    assert any(BERT.encode() in each for each in objects)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("change", ["forget", "replace"])
def test_forgetting_or_replacing_is_done_whole_or_not_at_all(bucket: Bucket, change: str, lost: bool) -> None:
    """The write fails before or after it was done; whoever comes next sees the state as it was, or as it became."""
    wire = Wire(bucket)
    with ObjectLocation(wire, HERE) as store, ObjectLocation(bucket, HERE) as other:
        lease = taken(store)
        store.save_states(lease, {ANNA: seen("a"), BERT: seen("b")})
        before = shown(bucket)
        wire.fail_at, wire.lose_answers = wire.writes + 1, lost
        writes: dict[str, Callable[[], None]] = {
            "forget": lambda: store.forget_contacts(lease, [ANNA]),
            "replace": lambda: store.replace_state(
                lease, LocationState(HERE, "other", 7, only(BERT, seen("b"))), (), {}
            ),
        }
        with pytest.raises(StateError):
            writes[change]()
        after = shown(bucket)
        assert (after == before) is not lost
        assert after[0][3] == ({BERT: seen("b")} if lost else {ANNA: seen("a"), BERT: seen("b")})
        assert (contents(store.load_state()), contents(other.load_state())) == (after[0], after[0])
        store.save_states(lease, {CARA: seen("c")})
        assert other.load_state().observed[CARA] == seen("c")


def only(contact: ContactId, known: ContactState) -> ContactStates:
    observed = ContactStates()
    observed.update({contact: known})
    return observed


@pytest.mark.one_in(4)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_snapshot_of_every_version_is_carried_forward(bucket: Bucket, tmp_path: Path, version: int) -> None:
    """What the release of that version left in the bucket: the file as it compacted it, and no journal."""
    path = copied(version, tmp_path / "old")
    with closing(sqlite3.connect(path)) as old:
        old.executescript("CREATE TABLE compacted (position INTEGER NOT NULL) STRICT; INSERT INTO compacted VALUES (7)")
    bucket.create(f"{HERE}/state.db", path.read_bytes())
    golden = json.loads((GOLDEN / f"version-{version}.json").read_text())
    with StatePerLocation(lambda location: ObjectLocation(bucket, location), lambda: [HERE]) as state:
        assert document(state) == golden | {
            "locations": [each for each in golden["locations"] if each["location"] == HERE]
        }
    with ObjectLocation(bucket, HERE) as store:
        lease = taken(store, name="two", now=START + 2 * TTL_MS)
        store.save_states(lease, {ANNA: seen("new")})
        store.release_lease(lease)
    with ObjectLocation(bucket, HERE) as reader:
        assert reader.load_state().observed[ANNA].observed == {"new"}


def damage_journal(bucket: Bucket, content: bytes) -> None:
    key = bucket.keys(f"{HERE}/journal")[-1]
    bucket.delete([key])
    bucket.create(key, content)


RESTORE = "restore the snapshot and its journal together from a backup of the bucket"
LAST = f"{HERE}/journal/000000000014.json"
DAMAGE: dict[str, tuple[Callable[[Bucket], object], StateError]] = {
    "no JSON": (
        lambda bucket: damage_journal(bucket, b"\x00"),
        StateCorrupted(
            f"the state BUCKET/{LAST} is damaged: JSONDecodeError Expecting value: line 1 column 1 (char 0)",
            hint=RESTORE,
        ),
    ),
    "another JSON": (
        lambda bucket: damage_journal(bucket, b"[]"),
        StateCorrupted(
            f"the state BUCKET/{LAST} is damaged: TypeError list indices must be integers or slices, not str",
            hint=RESTORE,
        ),
    ),
    "a newer format": (
        lambda bucket: damage_journal(bucket, b'{"format": 99}'),
        StateTooNew(
            f"BUCKET/{LAST} holds format 99, which this reconciler does not know",
            hint="upgrade reconciler to at least the version that wrote it",
        ),
    ),
    "an unknown call": (
        lambda bucket: damage_journal(
            bucket, b'{"format": 1, "id": "x", "method": "guess", "values": [], "arguments": []}'
        ),
        StateTooNew(
            f"BUCKET/{LAST} holds method 'guess', which this reconciler does not know",
            hint="upgrade reconciler to at least the version that wrote it",
        ),
    ),
    "a hole": (
        lambda bucket: bucket.delete(bucket.keys(f"{HERE}/journal")[-2:-1]),
        StateCorrupted(
            f"the state BUCKET/{HERE} is damaged: journal object {HERE}/journal/000000000013.json is missing",
            hint=RESTORE,
        ),
    ),
    "no snapshot": (
        lambda bucket: bucket.delete([f"{HERE}/state.db"]),
        StateCorrupted(
            f"the state BUCKET/{HERE} is damaged: journal object {HERE}/journal/000000000002.json is missing",
            hint=RESTORE,
        ),
    ),
    "another snapshot": (
        lambda bucket: (bucket.delete([f"{HERE}/state.db"]), bucket.create(f"{HERE}/state.db", b"x" * 4096)),
        StateCorrupted(
            f"the state BUCKET/{HERE}/state.db is damaged: file is not a database",
            hint="restore it from a backup, which lacks the last run, or move it away to start from what the API will "
            "tell",
        ),
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_damage_is_told_plainly(bucket: Bucket, damage: str) -> None:
    with ObjectLocation(bucket, HERE) as store:
        a_run(store, size=2)
        lease = taken(store)
        for nth in range(3):
            store.save_states(lease, {ANNA: seen(str(nth))})
    make, expected = DAMAGE[damage]
    make(bucket)
    with ObjectLocation(bucket, HERE) as reader, pytest.raises(StateError) as caught:
        reader.load_state()
    assert type(caught.value) is type(expected)
    told = caught.value.message.replace(bucket.name, "BUCKET")
    assert (told, caught.value.hint) == (expected.message, expected.hint)


def test_a_chain_is_numbered_objects_in_their_order_and_a_snapshot(bucket: Bucket) -> None:
    chain, other = Chain(bucket, "one"), Chain(bucket, "other")
    assert chain.name == f"{bucket.name}/one"
    keys = [chain.key(position) for position in range(20)]
    assert keys[12] == "one/journal/000000000012.json"
    for position in range(20):
        chain.put(position, f"content {position}".encode())
    other.put(1, b"of another")
    assert (list(chain.after(-1)), list(chain.after(16)), list(chain.after(19))) == (keys, keys[17:], [])
    # one, and many at once; one that has gone is None
    chain.delete([3, 4])
    assert chain.contents([]) == []
    assert chain.contents([keys[7]]) == [b"content 7"]
    assert chain.contents([keys[3]]) == [None]
    assert chain.contents(keys) == [None if nth in (3, 4) else f"content {nth}".encode() for nth in range(20)]
    # to put the same again is to have put it; another one is refused, and changes nothing
    chain.put(5, b"content 5")
    with pytest.raises(Taken):
        chain.put(5, b"of another holder")
    assert chain.contents([keys[5]]) == [b"content 5"]


def test_a_snapshot_is_put_in_place_of_the_version_that_was_seen(bucket: Bucket) -> None:
    chain = Chain(bucket, "one")
    assert chain.snapshot_version() is None
    with pytest.raises(StateCorrupted) as caught:
        chain.snapshot()
    assert (caught.value.message, caught.value.hint) == (
        f"the state {bucket.name}/one/state.db has gone",
        "restore it from a backup",
    )
    first = chain.put_snapshot(b"first", None)
    assert (chain.snapshot_version(), chain.snapshot()) == (first, StoredObject(b"first", first or ""))
    assert chain.put_snapshot(b"by another", None) is None
    second = chain.put_snapshot(b"second", first)
    assert second is not None
    assert chain.put_snapshot(b"late", first) is None
    assert (chain.snapshot_version(), chain.snapshot().content) == (second, b"second")


@dataclass
class Careless:
    """A bucket that ignores one of the conditions."""

    bucket: Bucket
    creates: bool = False
    replaces: bool = False
    name: str = "s3://careless"

    def create(self, key: str, content: bytes) -> str | None:
        found = self.bucket.get(key)
        if self.creates and found:
            return self.bucket.replace(key, content, found.version)
        return self.bucket.create(key, content)

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        found = self.bucket.get(key)
        return self.bucket.replace(key, content, found.version if self.replaces and found else version)

    def __getattr__(self, name: str) -> object:
        return getattr(self.bucket, name)


@pytest.mark.parametrize(("condition", "told"), [("creates", "If-None-Match"), ("replaces", "If-Match")])
def test_a_store_that_ignores_a_condition_is_refused(bucket: Bucket, condition: str, told: str) -> None:
    careless = Careless(bucket, **{condition: True})
    with pytest.raises(StateError, match=told) as caught:
        probe(careless, HERE)
    assert "s3://careless" in caught.value.message
    assert list(bucket.keys(HERE)) == []


@pytest.mark.servers
def test_a_server_that_ignores_conditions_is_refused() -> None:
    with open_store(servers.s3_without_conditions()) as state, pytest.raises(StateError, match="If-None-Match"):
        taken(state.at(HERE))


@pytest.mark.servers
def test_a_bucket_that_is_not_there_is_told_without_the_keys() -> None:
    url = servers.s3().replace("test&secret", "nobody&secret")
    with pytest.raises(StateError) as caught, open_store(url) as state:
        taken(state.at(HERE))
    assert "s3://state/tests" in caught.value.message
    assert "testtest" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("text", ["s3://bucket/{location}/x", "s3://{location}/state", "s3://", "s3:///x"])
def test_a_url_that_names_no_bucket(text: str) -> None:
    with pytest.raises(UsageError):
        open_store(text)


def test_location_at_the_end_of_the_path_is_what_happens_anyhow(tmp_path: Path) -> None:
    url = in_memory(tmp_path)
    with open_store(url) as state:
        taken(state.at(HERE))
    with open_reader(f"{url}") as reader:
        assert list(reader.list_locations()) == [HERE]


def test_any_location_has_a_place_of_its_own(tmp_path: Path) -> None:
    names = [LocationId(text) for text in (".", "..", "a/b", "a", "ü", "%2E", "a b?c#d")]
    with open_store(in_memory(tmp_path)) as state:
        for nth, name in enumerate(names):
            state.at(name).save_states(taken(state.at(name)), {ANNA: seen(str(nth))})
        assert sorted(state.list_locations()) == sorted(names)
        for nth, name in enumerate(names):
            assert state.at(name).load_state().observed[ANNA] == seen(str(nth))


@pytest.mark.slow
def test_nothing_is_left_in_the_directory_for_temporary_files(bucket: Bucket, tmp_path: Path) -> None:
    script = (
        "from tests.store.test_object import *\n"
        "with ObjectLocation(open_bucket('memory:///x'), HERE) as store: a_run(store, size=2)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, how_many(80, 200)), marks=pytest.mark.slow)], ids=str
)
def test_whatever_fails_whoever_looks_sees_one_history(seeds: range, tmp_path: Path) -> None:
    """Two holders in turn, each with a network that fails at random: what was acknowledged is there, in its order."""
    for seed in seeds:
        chance = random.Random(seed)
        bucket = open_bucket(in_memory(tmp_path / str(seed)))
        acknowledged, tried = 0, 0
        for turn in range(6):
            wire = Wire(bucket, fail_at=chance.randrange(1, 14), lose_answers=chance.random() < 0.5)
            with ObjectLocation(wire, HERE) as store:
                try:
                    lease = taken(store, name=str(turn), now=START + turn * TTL_MS)
                    for _ in range(chance.randrange(6)):
                        tried += 1
                        store.save_states(lease, {ANNA: seen("a", at=tried)})
                        acknowledged = tried
                    store.release_lease(lease)
                except (StateError, LockHeld):
                    pass
            with ObjectLocation(bucket, HERE) as reader:
                known = reader.load_state().observed[ANNA]
            assert acknowledged <= (known.observed_at or 0) <= tried


PEOPLE_CALLS: dict[str, Callable[[LocationStore, Lease], None]] = {
    "save_snapshots": lambda store, lease: store.save_snapshots(lease, SNAPSHOTS),
    "drop_snapshots": lambda store, lease: store.drop_snapshots(lease, [SetName("none"), SetName("vip")]),
    "save_people": lambda store, lease: store.save_people(
        lease, PeopleLot(PEOPLE.status, {ANNA: frozenset(PEOPLE.current)}, frozenset({BERT}), anew=True)
    ),
}


@pytest.mark.parametrize("method", sorted(PEOPLE_CALLS))
def test_a_call_of_format_7_is_written_as_ever_and_does_what_it_did(
    bucket: Bucket, tmp_path: Path, method: str, bless: bool
) -> None:
    """Buckets hold objects for ever, and the tables behind them are those of a file."""
    golden = GOLDEN / f"journal-7-{method}.json"
    with ObjectLocation(bucket, HERE) as store, open_store(f"sqlite:///{tmp_path / 'state.db'}") as state:
        tables = state.at(HERE)
        for each in (store, tables):
            lease = taken(each)
            each.save_snapshots(lease, {SetName("vip"): snapshot(CARA)})
            each.save_people(lease, PeopleLot(IndexStatus("before"), {BERT: frozenset({OLD})}))
        PEOPLE_CALLS[method](store, lease)
        stored = bucket.get(bucket.keys(f"{HERE}/journal")[-1])
        assert stored is not None
        # what it holds is as in format 7: a later one added to other calls
        written = json.loads(stored.content) | {"id": "1", "format": 7}
        if bless:
            golden.write_text(json.dumps(written, indent=1) + "\n")
        assert written == json.loads(golden.read_text())
        call = decode(golden.read_bytes())
        METHODS[call.method](tables, *call.arguments)
        assert (tables.read_snapshots(), tables.read_people()) == (store.read_snapshots(), store.read_people())


def test_snapshots_of_format_6_have_no_contact_that_is_missing(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'state.db'}") as state:
        tables = state.at(HERE)
        taken(tables)
        for method in ("save_people", "drop_snapshots", "save_snapshots"):
            call = decode((GOLDEN / f"journal-6-{method}.json").read_bytes())
            METHODS[call.method](tables, *call.arguments)
        assert {name: snapshot.missing for name, snapshot in tables.read_snapshots().items()} == {
            SetName("none"): {},
            SetName("vip, grün"): {},
        }
