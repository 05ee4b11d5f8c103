"""What every store promises of snapshots of matched sets, and of the index of people."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.formats.integrity import accept, verify
from reconciler.core.formats.state_json import read_state, state_document
from reconciler.core.model.errors import StateCorrupted
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.lease import TTL_MS, Lease
from reconciler.core.model.names import ContactId, Instant, SetName
from reconciler.core.model.people import Fingerprint, IndexStatus, MatchCounts, PeopleIndex, PeopleLot, Snapshot
from reconciler.ports import LocationStore
from reconciler.store import open_reader, open_store
from reconciler.store.people_tables import PIECE
from tests.build import HERE
from tests.fakes import START
from tests.store.conftest import Home
from tests.store.sample import PEOPLE, SNAPSHOTS, fill
from tests.store.test_contract import (
    ANNA,
    BERT,
    CARA,
    LATER,
    THERE,
    everything,
    header,
    snapshot,
    taken,
)
from tests.store.test_sqlite import url

VIPS, FANS = SetName("vips"), SetName("fans")
STATUS = IndexStatus("check", begun_at=Instant(7))
RED, BLUE, GREEN = (Fingerprint(bytes([nth]) * 16) for nth in (255, 0, 10))


def lot(*, gone: frozenset[ContactId] = frozenset(), anew: bool = False, **people: set[Fingerprint]) -> PeopleLot:
    named = {"anna": ANNA, "bert": BERT, "cara": CARA}
    return PeopleLot(STATUS, {named[who]: frozenset(values) for who, values in people.items()}, gone, anew)


def test_a_location_never_seen_has_no_snapshot_and_an_empty_index(home: Home) -> None:
    for state in (home.reader(), home.store()):
        assert (dict(state.read_snapshots()), state.read_people()) == ({}, PeopleIndex())


def test_snapshots_and_the_index_come_back_whole(home: Home) -> None:
    fill(home.state())
    for state in (home.reader(), home.store()):
        assert state.read_snapshots() == SNAPSHOTS
        assert state.read_people() == PEOPLE


def test_the_key_that_is_kept_with_the_state_comes_back_and_is_in_no_repr(home: Home) -> None:
    store = home.store()
    secret = bytes(range(224, 256))
    store.save_people(taken(store), PeopleLot(IndexStatus(secret=secret)))
    status = home.reader().read_people().status
    assert status.secret == secret
    assert repr(secret) not in repr(status)


@pytest.mark.parametrize(
    "text", ["", "a\nb", "ünï", "x' OR 1=1 --", "a\x00b"], ids=["empty", "lines", "umlaut", "sql", "nul"]
)
def test_any_text_is_a_contact_and_a_set(home: Home, text: str) -> None:
    store = home.store()
    lease = taken(store)
    contact, saved = ContactId(text), snapshot(ContactId(text), ContactId("other"))
    store.save_snapshots(lease, {SetName(text): saved})
    store.save_people(lease, PeopleLot(STATUS, {contact: frozenset({RED})}))
    reader = home.reader()
    assert reader.read_snapshots() == {SetName(text): saved}
    assert reader.read_people().current == {RED: (contact,)}


def test_a_snapshot_takes_the_place_of_its_set_alone(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_snapshots(lease, {VIPS: snapshot(ANNA), FANS: snapshot(BERT)})
    store.save_snapshots(lease, {VIPS: snapshot(CARA, at=LATER)})
    assert home.reader().read_snapshots() == {VIPS: snapshot(CARA, at=LATER), FANS: snapshot(BERT)}
    store.drop_snapshots(lease, [FANS, SetName("never pulled")])
    assert home.reader().read_snapshots() == {VIPS: snapshot(CARA, at=LATER)}


def test_the_serial_moves_with_the_contacts_of_snapshots_alone(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    again = Snapshot((ANNA,), LATER, "sha256:other", MatchCounts(rows=9, matched=1, not_found=8))
    steps: list[Callable[[], None]] = [
        lambda: store.save_snapshots(lease, {VIPS: snapshot(ANNA)}),
        lambda: store.save_snapshots(lease, {VIPS: snapshot(ANNA), FANS: snapshot()}),
        lambda: store.save_snapshots(lease, {VIPS: again}),
        lambda: store.save_snapshots(lease, {}),
        lambda: store.save_people(lease, lot(anna={RED})),
        lambda: store.save_people(lease, lot(anew=True, bert={RED})),
        lambda: store.save_snapshots(lease, {VIPS: snapshot(ANNA, BERT)}),
        lambda: store.drop_snapshots(lease, [VIPS]),
        lambda: store.drop_snapshots(lease, [VIPS]),
    ]
    serials = [store.load_state().serial]
    for step in steps:
        step()
        serials.append(home.reader().load_state().serial)
    assert serials == [0, 1, 2, 2, 2, 2, 2, 3, 4, 4]


def test_values_that_a_reading_no_longer_has_become_former_ones(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_people(lease, lot(anna={RED, BLUE}, bert={GREEN}))
    store.save_people(lease, lot(anna={BLUE, GREEN}))
    index = home.reader().read_people()
    assert index.current == {BLUE: (ANNA,), GREEN: tuple(sorted([ANNA, BERT]))}
    assert index.former == {RED: (ANNA,)}
    # what comes back is current again, and a contact without a value had it
    store.save_people(lease, lot(anna={RED}, bert=set(), cara=set()))
    index = home.reader().read_people()
    assert index.current == {RED: (ANNA,)}
    assert index.former == {BLUE: (ANNA,), GREEN: tuple(sorted([ANNA, BERT]))}


def test_a_reading_that_is_repeated_changes_nothing(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_people(lease, lot(anna={RED}))
    store.save_people(lease, lot(anna={BLUE}))
    before = home.reader().read_people()
    store.save_people(lease, lot(anna={BLUE}))
    assert home.reader().read_people() == before


def test_contacts_that_are_gone_leave_the_index(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_people(lease, lot(anna={RED}, bert={RED}))
    store.save_people(lease, lot(anna={BLUE}, bert={BLUE}))
    store.save_people(lease, lot(gone=frozenset({ANNA, CARA})))
    assert home.reader().read_people() == PeopleIndex(STATUS, {BLUE: (BERT,)}, {RED: (BERT,)})


def test_an_index_that_is_learnt_anew_holds_nothing_of_before(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_people(lease, lot(anna={RED}, bert={RED}))
    other = IndexStatus("another key", covers=("phone",))
    store.save_people(lease, PeopleLot(other, {ANNA: frozenset({GREEN})}, anew=True))
    assert home.reader().read_people() == PeopleIndex(other, {GREEN: (ANNA,)})


def test_locations_do_not_see_one_anothers_people(home: Home) -> None:
    state = home.state()
    here, there = state.at(HERE), state.at(THERE)
    lease, other = taken(here), taken(there)
    here.save_people(lease, lot(anna={RED}))
    there.save_people(other, lot(anna={BLUE}, bert={RED}))
    here.save_snapshots(lease, {VIPS: snapshot(ANNA)})
    there.save_snapshots(other, {VIPS: snapshot(BERT)})
    here.save_people(lease, lot(anew=True, cara={GREEN}))
    there.drop_snapshots(other, [VIPS])
    assert home.reader(HERE).read_people().current == {GREEN: (CARA,)}
    assert home.reader(THERE).read_people().current == {BLUE: (ANNA,), RED: (BERT,)}
    assert dict(home.reader(HERE).read_snapshots()) == {VIPS: snapshot(ANNA)}
    assert dict(home.reader(THERE).read_snapshots()) == {}


def test_a_forgotten_contact_is_in_no_index_and_no_snapshot(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_people(lease, lot(anna={RED}, bert={BLUE}))
    store.save_people(lease, lot(anna={BLUE}))
    store.save_snapshots(lease, {VIPS: snapshot(ANNA, BERT), FANS: snapshot(BERT)})
    serial = store.load_state().serial
    assert store.forget_contacts(lease, [ANNA, CARA]) == {ANNA}
    reader = home.reader()
    assert reader.read_people() == PeopleIndex(STATUS, {BLUE: (BERT,)})
    assert {name: each.contacts for name, each in reader.read_snapshots().items()} == {VIPS: (BERT,), FANS: (BERT,)}
    assert reader.load_state().serial == serial + 1
    # of somebody in the index alone, nothing that counts as content goes
    store.save_people(lease, lot(cara={GREEN}))
    assert store.forget_contacts(lease, [CARA]) == {CARA}
    assert home.reader().read_people().current == {BLUE: (BERT,)}
    assert home.reader().load_state().serial == serial + 1


@pytest.mark.slow
def test_a_state_that_is_pushed_brings_its_snapshots_and_leaves_the_index(home: Home) -> None:
    state = home.state()
    store = state.at(HERE)
    fill(state)
    saved = everything(state)
    lease = taken(store, now=START + TTL_MS)
    store.save_snapshots(lease, {VIPS: snapshot(ANNA), SetName("none"): snapshot(CARA)})
    store.save_people(lease, lot(cara={GREEN}))
    index = store.read_people()
    store.replace_state(lease, saved.state, saved.runs, saved.snapshots)
    assert home.reader().read_snapshots() == SNAPSHOTS
    assert home.reader().read_people() == index


def test_a_document_carries_snapshots_and_nothing_of_the_index(home: Home) -> None:
    state = home.state()
    fill(state)
    document = json.loads(json.dumps(state_document([everything(state)])))
    (found,) = read_state(document, path="a file")
    assert found.snapshots == SNAPSHOTS
    text = json.dumps(document)
    for value in (PEOPLE.status.secret, *PEOPLE.current, *PEOPLE.former):
        assert value.hex() not in text
    # as a text of its own: an id of random digits may have these four in it
    assert json.dumps(PEOPLE.status.key_check) not in text


def test_a_document_of_before_snapshots_is_read_without_any(home: Home) -> None:
    state = home.state()
    fill(state)
    document = json.loads(json.dumps(state_document([everything(state)])))
    del document["locations"][0]["snapshots"]
    document["format_version"] = "1.4"
    (older,) = read_state(document, path="a file")
    assert dict(older.snapshots) == {}
    # and pushed, it leaves none: its sets have to be pulled
    accepted = accept(everything(state), older)
    assert accepted is not None
    assert dict(accepted.snapshots) == {}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"contacts": (BERT, ANNA)}, "not sorted"),
        ({"contacts": (ANNA, ANNA)}, "twice"),
        ({"as_of": Instant(START + 3_600_000)}, "yet to come"),
        ({"counts": MatchCounts(rows=2, matched=1)}, "add up"),
        ({"counts": MatchCounts(rows=1, matched=1, kept=2)}, "add up"),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_found(tmp_path: Path, wrong: dict[str, object], told: str) -> None:
    with open_store(url(tmp_path / "state.db")) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.save_snapshots(lease, {VIPS: snapshot(ANNA, BERT)})
        assert verify(everything(state), now=LATER) == ()
        broken = replace(snapshot(ANNA, BERT), **wrong)  # type: ignore[arg-type]
        store.save_snapshots(lease, {VIPS: broken})
        (line,) = verify(everything(state), now=LATER)
    assert "the snapshot of set 'vips'" in line
    assert told in line


def begin_another_run(store: LocationStore, lease: Lease) -> None:
    store.end_run(lease, store.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes=None)


@pytest.mark.parametrize(
    "change",
    [
        lambda store, lease: store.save_people(lease, lot(bert={RED})),
        lambda store, lease: store.forget_contacts(lease, [ANNA]),
        lambda store, lease: store.save_snapshots(lease, {VIPS: snapshot(ANNA, at=LATER)}),
    ],
    ids=["learnt", "forgotten", "pulled again"],
)
def test_the_copy_beside_the_state_follows_what_the_serial_does_not_tell(
    tmp_path: Path, change: Callable[[LocationStore, Lease], None]
) -> None:
    path = tmp_path / "state.db"
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.save_people(lease, lot(anna={RED}))
        store.save_snapshots(lease, {VIPS: snapshot(ANNA)})
        begin_another_run(store, lease)
        change(store, lease)
        begin_another_run(store, lease)
        with open_reader(url(path.with_name("state.db.backup"))) as copy:
            assert copy.at(HERE).read_people() == store.read_people()
            assert copy.at(HERE).read_snapshots() == store.read_snapshots()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE snapshots SET contacts = x'00'",
        "UPDATE snapshots SET counts = '[]'",
        "UPDATE people SET present = x'00'",
        "UPDATE people_status SET status = '{'",
    ],
)
def test_damage_is_found_and_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.db"
    with open_store(url(path)) as state:
        fill(state)
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with open_reader(url(path)) as reader:
        assert len(reader.find_faults()) == 1
        with pytest.raises(StateCorrupted):
            (reader.at(HERE).read_snapshots(), reader.at(HERE).read_people())


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 1, PIECE])
def test_an_index_of_more_rows_than_are_read_at_once_is_read_whole(tmp_path: Path, more: int) -> None:
    people = {ContactId(f"{nth:06}"): frozenset({Fingerprint(nth.to_bytes(16, "big"))}) for nth in range(PIECE + more)}
    with open_store(url(tmp_path / "state.db")) as state:
        store = state.at(HERE)
        store.save_people(taken(store), PeopleLot(STATUS, people))
        assert store.read_people().current == {value: (contact,) for contact, (value,) in people.items()}
