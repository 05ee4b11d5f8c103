"""The states in the schemas of a PostgreSQL database, and those in databases of their own: opened, and listed.

Rules
1. One process has one set of sessions with a database, whatever the number of locations, of schemas and of connections.
2. A schema, or a database, that has no state of ours is no location.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from reconciler.core.model.errors import StateError, UsageError
from reconciler.core.model.names import LocationId
from reconciler.store.per_location import LOCATION, StatePerLocation, folder_of
from reconciler.store.postgres import PostgresDatabase, exists, make_or_carry_forward, read_version
from reconciler.store.postgres_session import IdleSessions, Sessions, address
from reconciler.store.schema import VERSION
from reconciler.store.sql_store import SharedByConnections, SqlLocation, SqlState, SqlStore
from reconciler.store.sqlite import open_empty

_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege(oid, 'CONNECT')"
"""Those that our user may look into."""


class PostgresServer:
    """One database of a server, opened to look or to write; its schemas are opened one by one."""

    def __init__(self, url: str, resting: IdleSessions | None = None, *, writes: bool) -> None:
        self._place = address(url)
        self._sessions = Sessions(self._place, resting or IdleSessions(), writes=writes)
        self._ready: set[str] = set()

    @property
    def schema(self) -> str:
        return self._place.schema

    def close(self) -> None:
        self._sessions.close()

    def open_for_writing(self, schema: str) -> PostgresDatabase:
        """The state in the schema, made if there is none yet."""
        place = replace(self._place, schema=schema)
        database = PostgresDatabase(self._sessions, place)
        # once a process and schema: each location opens connections again and again
        if schema not in self._ready:
            make_or_carry_forward(database, place)
            self._ready.add(schema)
        return database

    def open_for_reading(self, schema: str) -> PostgresDatabase | None:
        """The state in the schema; None where there is none yet."""
        place = replace(self._place, schema=schema)
        database = PostgresDatabase(self._sessions, place)
        with database.reading():
            if not exists(database, schema):
                return None
            version = read_version(database, place)
        if version < VERSION:
            raise StateError(
                f"{place.name} has schema version {version}, this reconciler reads version {VERSION}",
                hint="the next apply carries it forward; until then, look with the version that wrote it",
            )
        return database

    def has_state(self, schema: str) -> bool:
        """Whether there is a state in the schema, of whichever version."""
        database = PostgresDatabase(self._sessions, self._place)
        with database.reading():
            return exists(database, schema)

    def list_names(self, query: str) -> list[str]:
        """The first column of what a question about the whole database is answered."""
        database = PostgresDatabase(self._sessions, self._place)
        with database.reading():
            return [name for (name,) in database.execute(query)]


class ServerPerLocation:
    """The database of each location: one for all of them, or one each, as the URL has it."""

    def __init__(self, url: str, *, writes: bool) -> None:
        self._url, self._writes = url, writes
        self._in_schemas = is_in_schemas(url)
        self._servers: dict[str, PostgresServer] = {}
        self._resting = IdleSessions()

    def find(self, location: LocationId) -> tuple[PostgresServer, str]:
        """The database, which is not asked yet, and the schema in it."""
        url = self._url if self._in_schemas else self._url.replace(LOCATION, folder_of(location))
        server = self._servers.setdefault(url, PostgresServer(url, self._resting, writes=self._writes))
        return server, server.schema.replace(LOCATION, location)

    def list_locations(self) -> Sequence[LocationId]:
        refuse_unlisted(self._url)
        return _list_schemas(self._url) if self._in_schemas else _list_databases(self._url)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


def open_reader(url: str) -> SqlState | StatePerLocation[SqlLocation]:
    """State to look at; a schema that is not there reads as an empty state."""
    servers = ServerPerLocation(url, writes=False)

    @contextmanager
    def open_location(location: LocationId) -> Iterator[SqlLocation]:
        server, schema = servers.find(location)
        # a location has no state before its first apply, and its plan is made from none
        yield SqlState(server.open_for_reading(schema) or open_empty()).at(location)

    if LOCATION in url:
        return StatePerLocation(open_location, servers.list_locations, servers.close)
    server = PostgresServer(url, writes=False)
    with closing_if_refused(server):
        return SqlState(server.open_for_reading(server.schema) or open_empty(), close=server.close)


def open_store(url: str) -> SqlStore | StatePerLocation[SqlLocation]:
    """State to change; a schema is made on first use."""
    servers = ServerPerLocation(url, writes=True)
    shared: dict[LocationId, SharedByConnections] = {}

    @contextmanager
    def open_location(location: LocationId) -> Iterator[SqlLocation]:
        server, schema = servers.find(location)
        state = SqlState(server.open_for_writing(schema), shared.setdefault(location, SharedByConnections()))
        yield state.at(location)

    if LOCATION in url:
        return StatePerLocation(open_location, servers.list_locations, servers.close)
    server = PostgresServer(url, writes=True)
    with closing_if_refused(server):
        return SqlStore(lambda: server.open_for_writing(server.schema), SharedByConnections(), close=server.close)


@contextmanager
def closing_if_refused(server: PostgresServer) -> Iterator[None]:
    try:
        yield
    # the caller has nothing yet that it could close
    except BaseException:
        server.close()
        raise


def is_in_schemas(url: str) -> bool:
    """Whether the states of the locations are in schemas of one database."""
    place = address(url)
    return LOCATION in place.schema and LOCATION not in unquote(place.url)


def refuse_unlisted(url: str) -> None:
    """Raises UsageError where no server can tell which locations there are; asks none."""
    if not is_in_schemas(url) and LOCATION not in urlsplit(url).path:
        raise UsageError(
            f"the locations of {address(url).name} cannot be listed: {LOCATION} is neither its database nor its schema",
            hint=f"name them with --location, or write {LOCATION} in the database or in the parameter schema",
        )


def _list_schemas(url: str) -> Sequence[LocationId]:
    pattern, query = address(url).schema, "SELECT schemaname FROM pg_tables WHERE tablename = 'reconciler_version'"
    with closing(PostgresServer(url, writes=False)) as server:
        return _match(pattern, server.list_names(query))


def _list_databases(url: str) -> Sequence[LocationId]:
    parts = urlsplit(url)
    # the one database that every server has, and that everybody may ask by default
    asked = parts._replace(path="/postgres").geturl()
    with closing(PostgresServer(asked, writes=False)) as server:
        names = server.list_names(_DATABASES)
    found = _match(unquote(parts.path.removeprefix("/")), names)
    # the name alone proves nothing: another program may have a database of that form (rule 2)
    return [location for location in found if _has_state(url.replace(LOCATION, folder_of(location)))]


def _has_state(url: str) -> bool:
    with closing(PostgresServer(url, writes=False)) as server:
        return server.has_state(server.schema)


def _match(pattern: str, names: Sequence[str]) -> Sequence[LocationId]:
    # the location may stand in it more than once: the first place names it
    place = re.escape(LOCATION)
    form = re.compile(re.escape(pattern).replace(place, "(?P<id>.+)", 1).replace(place, "(?P=id)"))
    return sorted(LocationId(found["id"]) for found in map(form.fullmatch, names) if found)
