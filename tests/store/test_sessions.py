"""How many sessions of PostgreSQL a process has, and which locations a URL with {location} names."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import pytest

from reconciler.core.model.errors import LockHeld, StateError, UsageError
from reconciler.core.model.lease import HEARTBEAT_MS
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.ports import StateStore
from reconciler.store import open_reader, open_store, refuse_unlisted
from tests.build import HERE
from tests.extras import need
from tests.fakes import START, a_holder
from tests.store.conftest import HOMES
from tests.store.servers import PATIENCE_S
from tests.store.test_contract import ANNA, seen, taken

pytestmark = pytest.mark.servers
PLACES = [LocationId(f"place {number}.é/") for number in range(40)]
Sql = Callable[[str], list[Any]]


@pytest.fixture
def name() -> str:
    """By which the server knows the sessions of one test."""
    return f"test{uuid.uuid4().hex[:12]}"


@pytest.fixture
def url(tmp_path: Path, name: str) -> str:
    return f"{HOMES['postgres'](tmp_path)}&application_name={name}"


@pytest.fixture
def sql(url: str) -> Iterator[Sql]:
    """Runs a statement on the tables of the state."""
    import psycopg

    from reconciler.store.postgres_session import address

    place = address(url.partition("&application_name")[0])
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (f'"{place.schema}"',))

        def run(statement: str) -> list[Any]:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

        yield run


def sessions(sql: Sql, name: str) -> int:
    return int(sql(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'")[0][0])


def left(sql: Sql, name: str, most: int) -> int:
    """The sessions, once no more than so many are left: a server notices a little later that one has ended."""
    began = time.monotonic()
    while (found := sessions(sql, name)) > most and time.monotonic() < began + PATIENCE_S:
        continue
    return found


def locks(sql: Sql, name: str) -> int:
    held = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    return int(sql(f"{held} WHERE locktype = 'advisory' AND application_name = '{name}'")[0][0])


def save(state: StateStore, location: LocationId) -> None:
    with state.connect(location) as store:
        lease = store.acquire_lease(a_holder(location), START)
        store.save_states(lease, {ANNA: seen(location)})
        store.release_lease(lease)


def test_locations_that_wait_with_their_leases_share_one_session(url: str, name: str, sql: Sql) -> None:
    with open_store(url) as state, ExitStack() as stack:
        for place in PLACES:
            store = stack.enter_context(state.connect(place))
            lease = store.acquire_lease(a_holder(place), START)
            store.renew_lease(lease, Instant(START + 1))
        assert (sessions(sql, name), locks(sql, name)) == (1, len(PLACES))
        with open_store(url) as others, pytest.raises(LockHeld):
            taken(others.at(PLACES[0]), name="two", now=START + HEARTBEAT_MS + 1)


def test_many_locations_at_once_have_a_bounded_number_of_sessions(url: str, name: str, sql: Sql) -> None:
    from reconciler.store.postgres_session import MOST_SESSIONS

    threads = MOST_SESSIONS + 8
    together = Barrier(threads)

    def work(number: int) -> None:
        together.wait()
        for place in PLACES[number::threads]:
            save(state, place)

    with open_store(url) as state:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        assert 1 <= sessions(sql, name) <= MOST_SESSIONS
        assert sorted(state.list_locations()) == sorted(PLACES)
    with open_reader(url) as reader:
        assert [reader.at(place).load_state().observed[ANNA] for place in PLACES] == list(map(seen, PLACES))


def test_the_locks_of_leases_that_were_given_back_do_not_pile_up(url: str, name: str, sql: Sql) -> None:
    with open_store(url) as state:
        for place in PLACES:
            save(state, place)
        assert locks(sql, name) <= 1


def test_a_lease_that_could_not_be_committed_leaves_no_lock(url: str, name: str, sql: Sql) -> None:
    with open_store(url) as state:
        sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$")
        sql("CREATE CONSTRAINT TRIGGER late AFTER INSERT ON leases DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse()")  # fmt: skip
        with pytest.raises(StateError, match="no room"):
            taken(state.at(HERE))
        assert locks(sql, name) == 0
        sql("DROP TRIGGER late ON leases")
        taken(state.at(HERE))
        assert locks(sql, name) == 1


def test_schemas_of_locations_share_sessions_and_are_listed(url: str, name: str, sql: Sql) -> None:
    each = url.replace("schema=", "schema={location}")
    with open_store(each) as state:
        assert state.list_locations() == []
        for place in PLACES[:10]:
            save(state, place)
        assert sessions(sql, name) <= 2
        assert [state.at(place).load_state().observed[ANNA] for place in PLACES[:10]] == list(map(seen, PLACES[:10]))
        assert sessions(sql, name) <= 2
        assert state.list_locations() == sorted(PLACES[:10])
    with open_reader(each) as state:
        assert [state.at(place).load_state().lineage is None for place in PLACES[:11]] == [False] * 10 + [True]
        assert sessions(sql, name) == 1
        assert state.list_locations() == sorted(PLACES[:10])
    with open_reader(each.replace("{location}", "other-{location}")) as state:
        assert state.list_locations() == []


def test_databases_of_locations_are_listed_where_they_have_a_state(url: str, name: str, sql: Sql) -> None:
    parts = urlsplit(url)
    each = parts._replace(path=f"/{name}-{{location}}").geturl()
    for place in PLACES[:3]:
        sql(f'CREATE DATABASE "{name}-{place}" TEMPLATE template0')
    try:
        with open_store(each) as state:
            for place in PLACES[:2]:
                save(state, place)
                # a connection and a look share a session: one is of one database
                assert state.at(place).load_state().observed[ANNA] == seen(place)
            assert sessions(sql, name) == 2
            assert state.list_locations() == PLACES[:2]
    finally:
        for place in PLACES[:3]:
            sql(f'DROP DATABASE "{name}-{place}" WITH (FORCE)')


def test_sessions_with_many_databases_are_bounded_but_for_those_that_hold_a_lease(
    url: str, name: str, sql: Sql
) -> None:
    """Each database takes a session of its own, and a server has few for all of its clients."""
    from reconciler.store.postgres_session import MOST_SESSIONS

    each = urlsplit(url)._replace(path=f"/{name}-{{location}}").geturl()
    *places, other = PLACES[: MOST_SESSIONS + 5]
    for place in (*places, other):
        sql(f'CREATE DATABASE "{name}-{place}" TEMPLATE template0')
    try:
        with open_store(each) as state:
            for place in places:
                save(state, place)
            assert left(sql, name, MOST_SESSIONS) <= MOST_SESSIONS
            for place in places:
                assert state.at(place).load_state().observed[ANNA] == seen(place)
            assert left(sql, name, MOST_SESSIONS) <= MOST_SESSIONS
            leases = {place: taken(state.at(place)) for place in places}
            # to end the session of a lease would let others take it
            assert (left(sql, name, len(places)), locks(sql, name)) == (len(places), len(places))
            # and however many of these there are, another session is kept for the next transaction
            assert state.at(other).load_state().lineage is None
            assert left(sql, name, len(places) + 1) == len(places) + 1
            for place, lease in leases.items():
                state.at(place).release_lease(lease)
            assert left(sql, name, MOST_SESSIONS) <= MOST_SESSIONS
        with open_reader(each) as reader:
            assert [reader.at(place).load_state().observed[ANNA] for place in places] == list(map(seen, places))
            assert left(sql, name, MOST_SESSIONS) <= MOST_SESSIONS
    finally:
        for place in (*places, other):
            sql(f'DROP DATABASE "{name}-{place}" WITH (FORCE)')


def test_a_session_that_took_a_lease_since_it_was_chosen_is_not_ended(url: str) -> None:
    from reconciler.store.postgres_session import IdleSessions, Sessions, address

    place = address(url)
    lent = Sessions(place, IdleSessions(), writes=True)
    with lent.lend() as session, session.transaction("BEGIN", place.schema):
        assert session.try_lock(7)
    lent.end(session)
    assert not session.connection.closed
    lent.let_go(7)
    lent.end(session)
    assert session.connection.closed


def test_a_database_that_our_user_may_not_look_into_is_no_location(url: str, name: str, sql: Sql) -> None:
    """A server has databases of others, whose names may have the form of ours."""
    parts = urlsplit(url)
    user = f"{name}_ours"
    each = parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}", path=f"/{name}-{{location}}").geturl()
    sql(f'CREATE ROLE "{user}" LOGIN')
    for place in PLACES[:2]:
        sql(f'CREATE DATABASE "{name}-{place}" TEMPLATE template0')
    try:
        sql(f'ALTER DATABASE "{name}-{PLACES[0]}" OWNER TO "{user}"')
        sql(f'REVOKE CONNECT ON DATABASE "{name}-{PLACES[1]}" FROM PUBLIC')
        with open_store(each) as state:
            save(state, PLACES[0])
            assert state.list_locations() == PLACES[:1]
    finally:
        for place in PLACES[:2]:
            sql(f'DROP DATABASE "{name}-{place}" WITH (FORCE)')
        sql(f'DROP ROLE "{user}"')


@pytest.mark.parametrize("url", ["postgresql://tags_{location}@nowhere:1/crm", "postgresql://{location}.example/crm"])
def test_locations_that_nobody_can_list_are_refused_before_a_server_is_asked(url: str) -> None:
    need("psycopg")
    with pytest.raises(UsageError, match="cannot be listed") as caught:
        refuse_unlisted(url)
    assert "--location" in caught.value.hint
    with open_store(url) as state, pytest.raises(UsageError, match="cannot be listed"):
        state.list_locations()


@pytest.mark.parametrize("place", ["host/crm_{location}", "host/crm?schema={location}", "host/crm"])
def test_locations_that_a_server_can_list_are_not_refused(place: str) -> None:
    need("psycopg")
    refuse_unlisted(f"postgresql://{place}")


def test_any_text_is_given_in_bulk_as_it_is(url: str, sql: Sql) -> None:
    odd = [
        '"',
        "\\",
        '\\"',
        "{a,b}",
        ",",
        " ",
        "NULL",
        "null",
        "é\n\t",
        "\x00",
        "\x1a",
        "\ud800",
        "'",
        "%s",
        "?",
        "\\x41",
    ]
    for texts in (odd, ["plain", 'with "', "NULL"], ["plain", "é, {}"], []):
        with open_store(url) as state:
            store = state.at(HERE)
            lease = store.acquire_lease(a_holder(HERE), START)
            store.save_states(lease, {ContactId(text): seen(text) for text in texts})
            read = store.load_state().observed
            assert {contact: read[contact] for contact in map(ContactId, texts)} == {
                ContactId(text): seen(text) for text in texts
            }
            store.release_lease(lease)
