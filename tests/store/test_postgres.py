"""What the PostgreSQL state promises beyond the contract."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.errors import LeaseLost, LockHeld, StateCorrupted, StateError, StateTooNew, UsageError
from reconciler.core.model.journal import Answer
from reconciler.core.model.lease import HEARTBEAT_MS, TTL_MS
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.model.outcome import ContactOutcome, Outcome
from reconciler.core.model.people import PeopleIndex, Snapshot
from reconciler.ports import LocationReader
from reconciler.store import open_reader, open_store
from reconciler.store.schema import STEPS, VERSION
from reconciler.store.sql_store import SqlState, SqlStore
from tests.build import HERE, tags
from tests.extras import need
from tests.fakes import START, a_holder
from tests.store.conftest import HOMES
from tests.store.sample import fill
from tests.store.test_contract import ANNA, LATER, THERE, answers, batch, header, seen, taken

OPENINGS = {"reader": open_reader, "store": open_store}
opened = pytest.mark.parametrize("opening", sorted(OPENINGS))
SCHEMA = "trim('\"' from current_setting('search_path'))"
pytestmark = pytest.mark.servers


@pytest.fixture
def url(tmp_path: Path) -> str:
    return HOMES["postgres"](tmp_path)


@pytest.fixture
def sql(url: str) -> Iterator[Callable[[str], list[Any]]]:
    """Runs a statement on the state's tables."""
    import psycopg

    from reconciler.store.postgres_session import address

    place = address(url)
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f'"{place.schema}"',))

        def run(statement: str) -> list[Any]:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

        yield run


def filled(url: str) -> None:
    with open_store(url) as state:
        store = state.at(HERE)
        lease = taken(store)
        store.save_states(lease, {ANNA: seen("a")})
        store.release_lease(lease)


def test_a_reader_creates_nothing(url: str, sql: Callable[[str], list[Any]]) -> None:
    with open_reader(url) as state:
        reader = state.at(HERE)
        assert (reader.load_state().lineage, list(state.list_locations()), list(reader.read_runs())) == (
            None,
            [],
            [],
        )

    assert sql("SELECT count(*) FROM pg_namespace WHERE nspname = trim('\"' from current_setting('search_path'))") == [
        (0,)
    ]


def test_a_reader_cannot_write(url: str) -> None:
    from reconciler.store.postgres_states import open_reader

    filled(url)
    with open_reader(url) as state:
        assert isinstance(state, SqlState)
        with pytest.raises(StateError, match="read-only"), state.database.writing():
            state.database.execute("DELETE FROM contacts")


@opened
def test_a_newer_schema_is_refused(url: str, sql: Callable[[str], list[Any]], opening: str) -> None:
    filled(url)
    sql(f"UPDATE reconciler_version SET version = {VERSION + 1}")
    with pytest.raises(StateTooNew, match=f"version {VERSION + 1}") as caught:
        OPENINGS[opening](url)
    assert "upgrade" in caught.value.hint


NEWER = {
    "known": {
        "quarantined_since": 3,
        "membership": 3,
        "restored": 3,
        "unconfirmed": 4,
        "spent": 5,
        "reading": 5,
        "attempted_at": 5,
    },
    "facts": {"limits_at": 5, "tried": 9},
    "answers": {"rejection": 5},
    "runs": {"traced": 5, "ending": 6},
    "rows": {"entered": 5},
    "leases": {"boot_id": 5, "pid_namespace": 5, "process_start": 5},
    "snapshots": {"missing": 8},
}
"""The schema version that brought a column."""


def as_version(number: int, sql: Callable[[str], list[Any]]) -> None:
    for table, columns in NEWER.items():
        for column in (column for column, since in columns.items() if since > number):
            sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    if number < 7:
        for table in ("snapshots", "people", "people_status"):
            sql(f"DROP TABLE {table}")
    if number < 6:
        sql("DROP TABLE shortfall_contacts")
        sql("DROP TABLE shortfalls")
    if number < 5:
        sql("DROP TABLE adopted")
    if number < 3:
        _with_whole_rows(sql)
    if number < 2:
        sql("ALTER TABLE runs DROP COLUMN allowed")
        sql("ALTER TABLE rows DROP COLUMN released")
    sql(f"UPDATE reconciler_version SET version = {number}")


def _with_whole_rows(sql: Callable[[str], list[Any]]) -> None:
    sql("DROP TABLE facts")
    sql("CREATE TABLE whole AS SELECT rows.batch, contact, outcome, old, added, removed, message, released FROM rows"
        " LEFT JOIN answers ON rows.batch = answers.batch AND rows.answer = answers.n")  # fmt: skip
    sql("DROP TABLE rows")
    sql("DROP TABLE answers")
    sql("ALTER TABLE whole RENAME TO rows")
    sql("ALTER TABLE rows ADD PRIMARY KEY (batch, contact)")


TRACED = 5
"""The version since which it is written down what an intent put under management."""

REPORTED = 6
"""The version since which a run keeps its report."""


@pytest.mark.parametrize("version", sorted(STEPS))
def test_an_older_schema_is_carried_forward_by_whoever_changes_it(
    url: str, sql: Callable[[str], list[Any]], version: int
) -> None:
    with open_store(url) as state:
        store = state.at(HERE)
        fill(state)
        runs = [run.id for run in store.read_runs()]
        rows = [answers(store, run) for run in runs]
        endings = [store.read_ending(run) if version >= REPORTED else None for run in runs]
        people = _people_as_written_then(store, version)
    shape = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns" + (
        f" WHERE table_schema = {SCHEMA} ORDER BY 1, 2"
    )
    before = sql(shape)
    as_version(version, sql)
    with pytest.raises(StateError, match=f"version {version}"):
        open_reader(url)
    with ThreadPoolExecutor(4) as threads:
        for opened in list(threads.map(lambda _: open_store(url), range(4))):
            opened.__exit__(None, None, None)

    assert (sql("SELECT version FROM reconciler_version"), sql(shape)) == ([(VERSION,)], before)
    with open_reader(url) as state:
        reader = state.at(HERE)
        traced = version >= TRACED
        expected = rows if traced else [_as_written_then(batches) for batches in rows]
        assert [answers(reader, run) for run in runs] == expected
        assert {run.traced for run in reader.read_runs()} == {traced}
        assert [reader.read_ending(run) for run in runs] == endings
        assert (dict(reader.read_snapshots()), reader.read_people()) == people


def _people_as_written_then(store: LocationReader, version: int) -> tuple[dict[str, Snapshot], PeopleIndex]:
    """The snapshots and the index, as far as that version had them."""
    if version < 7:
        return {}, PeopleIndex()
    snapshots = dict(store.read_snapshots())
    if version < 8:
        snapshots = {name: replace(snapshot, missing={}) for name, snapshot in snapshots.items()}
    return snapshots, store.read_people()


def _as_written_then(batches: list[dict[ContactId, Answer]]) -> list[dict[ContactId, Answer]]:
    """Before version 5 nobody wrote down what an intent put under management."""
    return [{contact: replace(answer, entered=tags("")) for contact, answer in each.items()} for each in batches]


DAMAGE = {
    "a table is gone": "DROP TABLE rows CASCADE; DROP TABLE contacts CASCADE",
    "a column is gone": "ALTER TABLE known DROP COLUMN ledger",
    "no version": "DELETE FROM reconciler_version",
    "two versions": "INSERT INTO reconciler_version VALUES (1)",
    "no tags": "UPDATE tagsets SET tags = 'x' || tags",
    "an unknown pattern": "UPDATE contacts SET known = 99",
    "an unknown word": "UPDATE known SET origin = 'hearsay'",
}


@opened
@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_damage_is_told_plainly(url: str, sql: Callable[[str], list[Any]], damage: str, opening: str) -> None:
    filled(url)
    for statement in DAMAGE[damage].split("; "):
        sql(statement)
    with pytest.raises(StateCorrupted) as caught, OPENINGS[opening](url) as state:
        state.at(HERE).load_state()
    assert "postgresql://" in caught.value.message
    assert caught.value.hint


def test_rows_of_contacts_and_batches_that_are_missing_are_found(url: str, sql: Callable[[str], list[Any]]) -> None:
    """What a hand deletes in the server's tables: no constraint holds it, since each row would cost two look-ups."""
    with open_store(url) as state:
        fill(state)
        assert list(state.find_faults()) == []
    sql("INSERT INTO rows (batch, contact) SELECT 4242, n FROM contacts LIMIT 2")
    sql("INSERT INTO rows (batch, contact) SELECT n, 4242 FROM batches LIMIT 1")
    with open_reader(url) as state:
        faults = list(state.find_faults())
    assert "2 rows of batches that are missing" in faults
    assert "1 rows of contacts that are missing" in faults


def test_another_program_with_tables_of_our_names_is_left_alone(url: str, sql: Callable[[str], list[Any]]) -> None:
    schema = sql("SELECT current_setting('search_path')")[0][0]
    sql(f"CREATE SCHEMA {schema}")
    sql("CREATE TABLE runs (x INTEGER)")
    with pytest.raises(StateCorrupted, match="runs"):
        open_store(url)
    assert sql(f"SELECT tablename FROM pg_tables WHERE schemaname = {SCHEMA}") == [("runs",)]


def test_the_first_runs_of_many_make_one_state(url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        for store in list(threads.map(lambda _: open_store(url), range(8))):
            store.__exit__(None, None, None)


def test_two_schemas_of_a_database_are_two_states(tmp_path: Path) -> None:
    one, other = (HOMES["postgres"](tmp_path / name) for name in ("one", "Other one"))
    filled(one)
    with open_store(other) as store:
        assert list(store.list_locations()) == []


def test_a_holder_whose_session_ended_is_waited_for_one_heartbeat(url: str) -> None:
    with open_store(url) as first:
        lease = taken(first.at(HERE))
    with open_store(url) as state:
        second = state.at(HERE)
        with pytest.raises(LockHeld):
            taken(second, name="two", now=START + HEARTBEAT_MS - 1)
        assert taken(second, name="two", now=START + HEARTBEAT_MS).fence == lease.fence + 1


def test_a_session_that_lives_holds_its_lease_for_its_whole_time(url: str) -> None:
    with open_store(url) as state, open_store(url) as opened:
        first = state.at(HERE)
        second = opened.at(HERE)
        first.renew_lease(taken(first), Instant(START + 1))
        with pytest.raises(LockHeld):
            taken(second, name="two", now=START + TTL_MS)
        with pytest.raises(LockHeld):
            taken(first, name="two", now=START + TTL_MS)


def test_a_holder_that_wakes_after_it_was_taken_over_is_refused(url: str) -> None:
    with open_store(url) as state, open_store(url) as opened:
        first = state.at(HERE)
        second = opened.at(HERE)
        lease = taken(first)
        taken(second, name="two", now=lease.expires)
        with pytest.raises(LeaseLost):
            first.save_states(lease, {ANNA: seen("stolen")})


def test_a_session_that_the_server_ended_is_an_error_of_ours(url: str, sql: Callable[[str], list[Any]]) -> None:
    with open_store(f"{url}&application_name=doomed") as state:
        store = state.at(HERE)
        lease = taken(store)
        for use in (lambda: store.save_states(lease, {ANNA: seen("a")}), store.load_state):
            sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'")
            with pytest.raises(StateError):
                use()
            # in another session: what is durable is good, and what is not was refused
            use()
        assert dict(store.load_state().observed.items()) == {ANNA: seen("a")}


def test_locations_that_learn_the_same_tags_in_different_orders_do_not_lock_one_another_out(url: str) -> None:
    def learn(location: LocationId, step: int) -> None:
        with open_store(url) as state:
            store = state.at(location)
            lease = store.acquire_lease(a_holder(location), START)
            for nth in range(0, 40):
                known = [seen(f"{nth}-{each}") for each in range(10)][::step]
                store.save_states(lease, {ContactId(str(each)): value for each, value in enumerate(known)})

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(learn, (HERE, THERE), (1, -1)))
    with open_reader(url) as reader:
        assert {each.observed for each in reader.at(HERE).load_state().observed.patterns} == {
            each.observed for each in reader.at(THERE).load_state().observed.patterns
        }


def test_any_text_is_a_message(url: str, sql: Callable[[str], list[Any]]) -> None:
    with open_store(url) as state:
        store = state.at(HERE)
        lease = taken(store)
        number = store.record_intent(lease, store.begin_run(lease, header()), batch(ANNA), {}, START)
        store.record_answer(
            lease, number, {ANNA: ContactOutcome(Outcome.HELD, "a\x00b \ud800 \x1a")}, {ANNA: seen("x")}, LATER
        )
    assert sql("SELECT message FROM answers") == [("a\x1a0000b \x1ad800 \x1a001a",)]


def test_an_acknowledged_change_is_on_disk(tmp_path: Path) -> None:
    base = HOMES["postgres"](tmp_path)
    for given, expected in (("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")):
        with open_store(f"{base}&options=-csynchronous_commit%3D{given}") as state:
            assert isinstance(state, SqlStore)
            with state.database.writing():
                assert state.database.execute("SHOW synchronous_commit").fetchall() == [(expected,)]


@opened
@pytest.mark.parametrize("place", ["anna:hunter2@localhost:1/state", "localhost:1/state?password=hunter2&user=anna"])
def test_a_server_that_is_not_there_is_told_without_the_password(place: str, opening: str) -> None:
    need("psycopg")
    with pytest.raises(StateError) as caught:
        OPENINGS[opening](f"postgresql://{place}")
    assert "localhost:1/state" in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://anna:hunter2@db:x/state",
        "postgres://anna:hunter2@[db/state",
        # a password whose digits read as a port, and the rest as the path
        "postgresql://anna:12345/hunter2@db/state",
        "postgresql://anna:12?hunter2@db/state",
        "postgresql://anna:12#hunter2@db/state",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(text: str) -> None:
    need("psycopg")
    with pytest.raises(UsageError) as caught:
        open_store(text)
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_tags_of_a_pattern_survive_as_text(url: str, sql: Callable[[str], list[Any]]) -> None:
    filled(url)
    assert ('["a"]',) in sql("SELECT tags FROM tagsets")
    with open_reader(url) as reader:
        assert reader.at(HERE).load_state().observed[ANNA].observed == tags("a")


def test_without_the_extra_the_command_that_installs_it_is_told() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from reconciler.core.model.errors import StateError\n"
        "from reconciler.store import open_reader\n"
        "try: open_reader('postgresql://db.example/state')\n"
        "except StateError as error: print(error.hint)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "pip install 'tagreconciler[postgres]', or pip install '.[postgres]' in a checkout"


@pytest.mark.slow
def test_a_process_that_is_paused_within_a_transaction_loses_its_session_and_its_locks(url: str) -> None:
    """Its pipeline is open, and sends nothing more: the limit of idle sessions does not count then."""
    from psycopg import OperationalError

    from reconciler.store.postgres_session import MOST_TRANSACTION, address, in_quotes, open_postgres_session

    filled(url)
    place = address(url)
    paused, other = (open_postgres_session(place, writes=True).connection for _ in range(2))
    if paused.info.server_version < 170_000:
        pytest.skip("PostgreSQL limits a whole transaction from version 17 on")
    assert paused.execute("SHOW transaction_timeout").fetchall() == [(MOST_TRANSACTION,)]
    # shorter, so that nobody waits for minutes
    paused.execute("SET transaction_timeout = '500ms'")
    table = f"{in_quotes(place.schema)}.rows".encode()
    with suppress(OperationalError), paused.pipeline():
        paused.execute("BEGIN")
        paused.execute(b"LOCK TABLE " + table)
        # the answer is here, and the lock taken; the pipeline has not ended
        assert paused.execute("SELECT 1").fetchall() == [(1,)]
        other.execute("SET lock_timeout = '20s'")
        assert other.execute(b"SELECT count(*) FROM " + table).fetchall() == [(0,)]
    paused.close()
    other.close()
