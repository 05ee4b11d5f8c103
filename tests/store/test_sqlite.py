"""What the SQLite state promises beyond the contract: about the file, whatever was done to it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.api_limits import NO_FACTS
from reconciler.core.model.contact_state import NEVER_OBSERVED
from reconciler.core.model.errors import StateCorrupted, StateError, StateTooNew, UsageError
from reconciler.core.model.journal import RunEnding, RunStatus, StateCopy
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName
from reconciler.core.model.outcome import Outcome
from reconciler.store import open_reader, open_store
from reconciler.store.schema import VERSION
from reconciler.store.sql_reader import read_observed
from reconciler.store.sqlite import SqliteDatabase
from reconciler.store.sqlite_file import Disk
from tests.build import HERE, contact_state, tags
from tests.fakes import START, a_holder
from tests.sizes import how_many
from tests.store.test_contract import ANNA, BERT, LATER, applied, batch, contents, header, seen, taken

OPENINGS = {"reader": open_reader, "store": open_store}
opened = pytest.mark.parametrize("opening", sorted(OPENINGS))


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def filled(path: Path, contacts: int = 400) -> Path:
    """A state of several pages, with a run of each ending."""
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.save_states(lease, {ContactId(f"contact-{nth:04}"): seen(f"tag {nth}") for nth in range(contacts)})
        run = store.begin_run(lease, header())
        number = store.record_intent(lease, run, batch(ANNA, BERT), {ANNA: contact_state(ledger=tags("x"))}, START)
        store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {ANNA: seen("x")}, LATER)
        store.end_run(lease, run, RunStatus.COMPLETE, LATER, set_sizes={SetName("s"): 2})
        store.record_intent(lease, store.begin_run(lease, header()), batch(BERT), {BERT: NEVER_OBSERVED}, START)
    return path


@pytest.fixture(scope="module")
def a_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("state") / "state.db")


def connect_carelessly(*arguments: Any, **options: Any) -> sqlite3.Connection:
    """A connection of a SQLite that was built to leave the bytes of what is deleted where they are, as most are."""
    connection = sqlite3.connect(*arguments, **options)
    connection.execute("PRAGMA secure_delete = OFF")
    return connection


def test_nothing_is_left_of_a_contact_that_was_forgotten(tmp_path: Path) -> None:
    """A person asked to be erased: the id stands in no byte of the file."""
    path = filled(tmp_path / "state.db")
    with open_store(url(path), disk=Disk(connect=connect_carelessly)) as state:
        store = state.at(HERE)
        store.forget_contacts(taken(store, name="two", now=START + TTL_MS), [ContactId("contact-0123"), ANNA])
    content = path.read_bytes()
    assert (b"contact-0123" in content, ANNA.encode() in content) == (False, False)
    assert b"contact-0124" in content


ODD = ["anna", "bo-b", "cä12", "dora", "emil", "f", "gina", "gust"]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 8, 9, 100])
@pytest.mark.parametrize("contacts", [ODD, sorted(set(ODD) - {"bo-b", "cä12", "f"}), ["x\0y", "x\0z"], []])
def test_contacts_are_read_in_blocks_whatever_their_ids_are(tmp_path: Path, block: int, contacts: list[str]) -> None:
    path, states = tmp_path / "state.db", {ContactId(contact): seen(f"of {contact[:1]}") for contact in contacts}
    with open_store(url(path)) as state:
        store, elsewhere = state.at(HERE), state.at(LocationId("elsewhere"))
        store.save_states(taken(store), states)
        elsewhere.save_states(taken(elsewhere), {ContactId("carl"): seen("other")})
    with closing(sqlite3.connect(path)) as connection:
        number = connection.execute("SELECT n FROM locations WHERE id = ?", (HERE,)).fetchone()[0]
        observed = read_observed(SqliteDatabase(connection, path), number, block=block)
    assert dict(observed.items()) == states


def use(path: Path) -> None:
    """Everything that can be asked of a state, and a change."""
    with open_reader(url(path)) as reader:
        for location in (*reader.list_locations(), HERE):
            reader.at(location).load_state()
            reader.at(location).read_runs()
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store, name="two", now=START + TTL_MS)
        run = store.begin_run(lease, header())
        store.save_states(lease, {ContactId("contact-0000"): seen("new"), ContactId("new"): seen("new")})
        store.end_run(lease, run, RunStatus.COMPLETE, LATER, set_sizes={})


def seen_in(path: Path, opening: str) -> tuple[object, ...]:
    with OPENINGS[opening](url(path)) as state:
        return contents(state.at(HERE).load_state()), tuple(state.at(HERE).read_runs())


def test_what_we_make_is_private(tmp_path: Path) -> None:
    path = tmp_path / "made" / "state.db"
    with open_store(url(path)) as store:
        taken(store.at(HERE))

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_state_in_a_new_folder_outlasts_a_power_cut_with_the_names_of_all_folders(tmp_path: Path) -> None:
    """Below them SQLite synchronises the names itself."""
    synced: list[Path] = []
    with open_store(url(tmp_path / "above" / "made" / "state.db"), disk=Disk(sync_folder=synced.append)) as store:
        taken(store.at(HERE))

    assert synced == [tmp_path, tmp_path / "above"]


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with open_store(url(tmp_path / "state.db")):
        pass

    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("there", [False, True])
def test_a_reader_creates_nothing(tmp_path: Path, there: bool) -> None:
    directory = tmp_path / "none"
    if there:
        directory.mkdir()
    with open_reader(url(directory / "state.db")) as state:
        reader = state.at(HERE)
        reader.load_state()
        reader.read_runs()
        state.list_locations()

    assert (directory.exists(), list(tmp_path.rglob("*.db*"))) == (there, [])


def test_a_reader_writes_nothing(a_state: Path) -> None:
    before = a_state.read_bytes(), a_state.stat().st_mtime_ns
    there = sorted(a_state.parent.iterdir())
    with open_reader(url(a_state)) as state:
        reader = state.at(HERE)
        reader.load_state()
        reader.read_runs()

    assert (a_state.read_bytes(), a_state.stat().st_mtime_ns) == before
    assert sorted(a_state.parent.iterdir()) == there


def test_a_reader_of_a_file_that_nobody_may_write(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    path.chmod(0o400)
    with open_reader(url(path)) as reader:
        assert reader.at(HERE).load_state().observed[ANNA] == seen("x")


@pytest.mark.slow
def test_one_reads_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with open_store(url(path)) as state, open_reader(url(filled(path))) as opened:
        store = state.at(HERE)
        reader = opened.at(HERE)
        lease = taken(store, now=START + TTL_MS)
        for nth in range(20):
            store.save_states(lease, {ANNA: seen(str(nth))})
            assert reader.load_state().observed[ANNA] == seen(str(nth))
            assert list(reader.read_runs()) == list(store.read_runs())


def with_version(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()


@opened
def test_a_newer_schema_is_refused_untouched(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "state.db"
    with_version(path)
    before = path.read_bytes()
    with pytest.raises(StateTooNew) as caught:
        OPENINGS[opening](url(path))

    assert str(path) in caught.value.message
    assert str(VERSION + 1) in caught.value.message
    assert "upgrade" in caught.value.hint
    assert path.read_bytes() == before


def a_foreign_database(*, journal: str = "DELETE", marks: bool = False, table: bool = True) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(f"PRAGMA journal_mode = {journal}")
        if table:
            connection.execute("CREATE TABLE theirs (x)")
        if marks:
            connection.execute("PRAGMA application_id = 77")
        connection.close()

    return make


def cut(share: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = filled(path).read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return make


NOT_A_STATE: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("location: asdrwHvLUxlfw5SqKVCN\n" * 100),
    "one byte": lambda path: path.write_bytes(b"x"),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "another program's": a_foreign_database(),
    "another program's, in WAL mode": a_foreign_database(journal="WAL"),
    "another program's, still empty": a_foreign_database(marks=True, table=False),
    "only a header": cut(0.002),
    "a third": cut(0.33),
    "half": cut(0.5),
    "nearly all": cut(0.97),
}


@pytest.mark.one_in(7)
@opened
@pytest.mark.parametrize("kind", sorted(NOT_A_STATE))
def test_what_is_no_whole_state_is_refused_untouched(tmp_path: Path, kind: str, opening: str) -> None:
    path = tmp_path / "state.db"
    NOT_A_STATE[kind](path)
    before = path.read_bytes()
    with pytest.raises(StateCorrupted) as caught:
        seen_in(path, opening)

    assert str(path) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before


def damaged(whole: bytes, seed: int) -> bytes:
    """A page overwritten, or some bytes of one, or two pages exchanged."""
    chance = random.Random(seed)
    damaged, size = bytearray(whole), 4096
    page = chance.randrange(len(whole) // size) * size
    kind = chance.randrange(4)
    if kind == 0:
        damaged[page : page + size] = chance.randbytes(size)
    elif kind == 1:
        damaged[page : page + size] = bytes(size)
    elif kind == 2:
        for _ in range(chance.randrange(1, 9)):
            damaged[page + chance.randrange(size)] = chance.randrange(256)
    else:
        other = chance.randrange(len(whole) // size) * size
        damaged[page : page + size], damaged[other : other + size] = whole[other : other + size], whole[page:][:size]
    return bytes(damaged)


@pytest.mark.parametrize(
    "seeds", [range(15), pytest.param(range(15, how_many(300, 1_000)), marks=pytest.mark.slow)], ids=str
)
def test_damage_is_told_plainly_or_does_no_harm(a_state: Path, tmp_path: Path, seeds: range) -> None:
    whole, path = a_state.read_bytes(), tmp_path / "state.db"
    told = []
    for seed in seeds:
        path.write_bytes(damaged(whole, seed))
        try:
            use(path)
        except StateError as error:
            told.append(error.message)
        path.with_name("state.db-journal").unlink(missing_ok=True)

    assert len(told) > len(seeds) / 4
    assert [message for message in told if str(path) not in message] == []


@pytest.mark.parametrize("text", ["", "state.db", "sqlite:", "sqlite:///", "sqlite://state.db", "mysql:///x", "C:\\x"])
def test_a_url_that_names_no_state(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(text)
    assert caught.value.exit_code == 64


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        open_store("mysql://anna:hunter2@db.example/state")
    assert "hunter2" not in caught.value.message + caught.value.hint


@opened
def test_a_directory_in_place_of_the_file(tmp_path: Path, opening: str) -> None:
    with pytest.raises(StateError) as caught:
        OPENINGS[opening](url(tmp_path))
    assert str(tmp_path) in caught.value.message


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError) as caught:
        open_store(url(tmp_path / "file" / "state.db"))
    assert "state.db" in caught.value.message


class Camera:
    """Copies the file, and its journal if there is one, as a power cut would leave them; each sight once."""

    def __init__(self, path: Path, into: Path) -> None:
        self._path, self._into = path, into
        self._last: list[bytes] = []
        self.copies: list[Path] = []
        self.looks = 0

    def __call__(self, statement: str) -> None:
        self.looks += 1
        seen = [each.read_bytes() for each in sorted(self._path.parent.glob("state.db*"))]
        if seen == self._last:
            return
        self._last = seen
        copy = self._into / str(len(self.copies))
        copy.mkdir()
        for each in self._path.parent.glob("state.db*"):
            shutil.copyfile(each, copy / each.name)
        self.copies.append(copy / "state.db")


@pytest.mark.slow
@opened
def test_at_every_statement_the_file_is_old_or_new(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "live" / "state.db"
    states: list[tuple[object, ...]] = []
    with open_store(url(path)) as state:
        store = state.at(HERE)
        camera = Camera(path, tmp_path)
        state.database.connection.set_trace_callback(camera)
        # a small cache writes pages before the commit: only the journal can bring the old ones back
        state.database.connection.execute("PRAGMA cache_size = 5")
        marks: list[int] = []

        def done() -> None:
            states.append((contents(store.load_state()), tuple(store.read_runs())))
            marks.append(len(camera.copies))

        done()
        lease = taken(store)
        done()
        store.save_states(lease, {ContactId(f"contact-{nth:04}"): seen(f"tag {nth}") for nth in range(150)})
        done()
        run = store.begin_run(lease, header())
        done()
        number = store.record_intent(lease, run, batch(ANNA, BERT), {ANNA: contact_state(ledger=tags("x"))}, START)
        done()
        store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {ANNA: seen("x")}, LATER)
        done()
        store.record_intent(lease, run, batch(BERT), {BERT: NEVER_OBSERVED}, START)
        done()
        store.begin_run(store.renew_lease(lease, Instant(START + 1)), header())
        done()
        state.database.connection.set_trace_callback(None)

    begins = [0, *marks]
    for step, after in enumerate(states):
        allowed = {repr(each) for each in (states[max(0, step - 1)], after)}
        for copy in camera.copies[begins[step] : begins[step + 1]]:
            assert repr(seen_in(copy, opening)) in allowed
    assert camera.looks > 300
    assert len(camera.copies) > 20


@opened
def test_a_file_whose_maker_was_stopped_is_an_empty_state(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "state.db"
    path.touch()
    assert seen_in(path, opening) == ((HERE, None, 0, {}, {}, NO_FACTS), ())


@opened
def test_a_journal_left_by_a_killed_writer_is_rolled_back(tmp_path: Path, opening: str) -> None:
    path = filled(tmp_path / "live" / "state.db")
    before = seen_in(path, "reader")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 2")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE locations SET serial = 99")
    writer.execute("DELETE FROM contacts")
    camera = Camera(path, tmp_path)
    camera("killed here")
    writer.close()

    assert camera.copies[0].with_name("state.db-journal").stat().st_size > 0
    assert seen_in(camera.copies[0], opening) == before


@pytest.mark.slow
def test_a_row_of_the_journal_takes_at_most_20_bytes(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    everybody = [ContactId(f"contact-{nth:012}") for nth in range(5_000)]
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.save_states(lease, dict.fromkeys(everybody, seen("old")))
        run = store.begin_run(lease, header())
        before = path.stat().st_size
        for nth in range(40):
            asked = everybody[nth % 10 :: 10]
            number = store.record_intent(lease, run, batch(*asked, names=[f"x{nth}"]), {}, START)
            verdicts = {each: applied(f"x{nth}", old=[f"old{at % 20}"]) for at, each in enumerate(asked)}
            store.record_answer(lease, number, verdicts, dict.fromkeys(asked, seen(f"x{nth}")), LATER)
        rows = store.read_runs()[0].rows

    assert rows == 40 * 500
    assert path.stat().st_size - before <= 20 * rows


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))
    path.symlink_to("elsewhere.db")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.db")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.one_in(7)
@opened
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (linked, "symbolic link"),
        (dangling, "symbolic link"),
        (lambda path: path.chmod(0o620), "written to by others"),
        (lambda path: path.chmod(0o602), "written to by others"),
        (piped, "is not a file"),
    ],
    ids=["link", "dangling link", "group", "others", "pipe"],
)
def test_a_file_that_others_may_have_a_hand_in_is_refused(
    tmp_path: Path, harm: Callable[[Path], object], told: str, opening: str
) -> None:
    path = filled(tmp_path / "state.db")
    harm(path)
    with pytest.raises(StateError) as caught:
        OPENINGS[opening](url(path))

    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "nowhere.db").exists()


@opened
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path, opening: str) -> None:
    path = filled(tmp_path / "state.db")
    os.chown(path, 65_534, -1)
    with pytest.raises(StateError) as caught:
        OPENINGS[opening](url(path))

    assert "another user (number 65534)" in caught.value.message


def test_a_file_that_others_may_read_is_taken(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    path.chmod(0o644)
    with open_reader(url(path)) as reader:
        assert reader.at(HERE).load_state().observed[ANNA] == seen("x")


def test_runs_of_many_locations_share_the_copy_of_before_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    copy = path.with_name("state.db.backup")
    places = [LocationId(f"place{nth:015}") for nth in range(3)]
    with open_store(url(path)) as state:
        for turn in range(2):
            for place in places:
                with state.connect(place) as store:
                    lease = taken(store)
                    store.begin_run(lease, header(place))
                    store.save_states(lease, {ANNA: seen(str(turn))})
                    store.release_lease(lease)
                with open_reader(url(copy)) as opened:
                    assert [len(opened.at(each).load_state().observed) for each in places] == [turn] * 3


def test_before_each_run_a_copy_of_one_generation_is_made(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    copy = path.with_name("state.db.backup")
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        for nth in range(3):
            store.save_states(lease, {ANNA: seen(str(nth))})
            store.begin_run(lease, header())
            store.save_states(lease, {ANNA: seen("after")})
            with open_reader(url(copy)) as opened:
                reader = opened.at(HERE)
                assert reader.load_state().observed[ANNA] == seen(str(nth))
                assert len(reader.read_runs()) == nth + 1

    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["state.db", "state.db-journal", "state.db.backup"]
    assert path.with_name("state.db-journal").stat().st_size == 0


def test_a_copy_says_of_each_location_before_which_run_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    copy, there = path.with_name("state.db.backup"), LocationId("zzzzzzzzzzzzzzzzzzzz")
    with open_store(url(path)) as state:
        store = state.at(HERE)
        state.at(there).release_lease(state.at(there).acquire_lease(a_holder("other"), START))
        run = store.begin_run(taken(store), header())
        assert store.load_state().copied is None
    with open_store(url(copy)) as state:
        for place in (HERE, there):
            assert state.at(place).load_state().copied == StateCopy(START, f"apply {run}")
            (entry,) = state.at(place).read_runs()
            assert entry.header.operation == f"backup before apply {run}"
        assert not state.find_faults()


WHOLE = RunEnding(pairs=((Outcome.APPLIED, 1),), manifests_digest="sha256:abc")


@pytest.mark.parametrize(
    ("status", "ending", "settled"),
    [
        (RunStatus.COMPLETE, WHOLE, True),
        (RunStatus.COMPLETE, None, False),
        (RunStatus.STOPPED, WHOLE, False),
        (RunStatus.COMPLETE, replace(WHOLE, manifests_digest=""), False),
        (RunStatus.COMPLETE, replace(WHOLE, outside=1), False),
        (RunStatus.COMPLETE, replace(WHOLE, pairs=((Outcome.NOT_SENT, 1),)), False),
    ],
    ids=["whole", "another command", "stopped", "a part of the manifests", "not approved", "not sent"],
)
def test_a_copy_is_one_until_an_apply_of_all_left_nothing_undone(
    tmp_path: Path, status: RunStatus, ending: RunEnding | None, settled: bool
) -> None:
    path = tmp_path / "state.db"
    with open_store(url(path)) as state:
        store = state.at(HERE)
        before = store.begin_run(taken(store), header())
    with open_store(url(path.with_name("state.db.backup"))) as state:
        store = state.at(HERE)
        lease = taken(store, now=START + TTL_MS)
        store.end_run(lease, store.begin_run(lease, header()), status, LATER, set_sizes=None, ending=ending)
        assert store.load_state().copied == (None if settled else StateCopy(START, f"apply {before}"))


def test_a_copy_without_a_mark_is_made_again(tmp_path: Path) -> None:
    """As an older version left it."""
    path = tmp_path / "state.db"
    copy = path.with_name("state.db.backup")
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.begin_run(lease, header())
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute("DELETE FROM runs")
        store.begin_run(lease, header())
    with open_reader(url(copy)) as reader:
        assert reader.at(HERE).load_state().copied is not None


def test_a_copy_that_holds_all_there_is_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    copy = path.with_name("state.db.backup")
    made = []
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        steps: list[Callable[[str], object]] = [
            lambda run: store.save_states(lease, {ANNA: seen("a")}),
            lambda run: store.end_run(lease, run, RunStatus.COMPLETE, LATER, set_sizes={SetName("s"): 1}),
            # content stays: only the journal tells of the doubt
            lambda run: store.record_intent(lease, run, batch(ANNA), {}, LATER),
        ]
        for step in steps:
            step(store.begin_run(lease, header()))
            for _ in range(2):
                store.begin_run(lease, header())
                made.append(copy.stat().st_ino)

    assert [made[0] == made[1], made[2] == made[3], made[4] == made[5]] == [True, True, False]
    assert len({made[0], made[2], made[4]}) == 3


@pytest.mark.parametrize("harm", [lambda copy: copy.write_bytes(b"x"), lambda copy: copy.chmod(0o666)])
def test_a_copy_that_cannot_be_trusted_is_made_again(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    path = tmp_path / "state.db"
    copy = path.with_name("state.db.backup")
    with open_store(url(path)) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.save_states(lease, {ANNA: seen("a")})
        store.begin_run(lease, header())
        harm(copy)
        store.begin_run(lease, header())

    assert copy.stat().st_mode & 0o777 == 0o600
    with open_reader(url(copy)) as reader:
        assert reader.at(HERE).load_state().observed[ANNA] == seen("a")


def test_a_copy_does_not_follow_a_link(tmp_path: Path) -> None:
    path, prey = tmp_path / "state.db", tmp_path / "prey"
    prey.write_text("precious")
    path.with_name("state.db.backup").symlink_to(prey)
    with open_store(url(path)) as state:
        store = state.at(HERE)
        store.begin_run(taken(store), header())

    assert prey.read_text() == "precious"
    assert not path.with_name("state.db.backup").is_symlink()
