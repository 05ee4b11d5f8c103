"""Where state lives. Law: sees ports and core. Two doors: `open_reader(url)` to look, `open_store(url)` to change."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from reconciler.core.model.errors import StateError, UsageError, install_hint
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import quoted
from reconciler.ports import LocationReader, LocationStore, State, StateReader, StateStore
from reconciler.store import sqlite
from reconciler.store.per_location import LOCATION, StatePerLocation, folder_of, location_of
from reconciler.store.sql_store import SharedByConnections, SqlState, SqlStore
from reconciler.store.sqlite_file import DISK, Disk

if TYPE_CHECKING:
    from reconciler.store.bucket import Obstore
    from reconciler.store.object import ObjectLocation

Port = TypeVar("Port", bound=LocationReader, covariant=True)

POSTGRES = ("postgresql", "postgres")
"""The schemes of a URL that libpq takes."""
OBJECTS = ("s3", "az", "memory")
LOCAL = ("sqlite", "memory")


def is_remote(url: str) -> bool:
    """Whether a host is asked for this state."""
    return _scheme(url) not in LOCAL


def is_state_file(url: str, path: Path) -> bool:
    """Whether a path is that of a state under the URL, of a file that SQLite keeps beside it, or of a copy."""
    with suppress(UsageError):
        whole = "[^/]*".join(map(re.escape, os.path.realpath(_sqlite_path(url)).split(LOCATION)))
        return re.fullmatch(whole + "(-wal|-shm|-journal|[.].*backup)?", os.path.realpath(path)) is not None
    return False


def find_state_file(url: str, directory: Path) -> Path | None:
    """The file of the state that a relative URL names in a directory, with {location} one of them.

    None where there is none, or the URL is not relative.
    """
    path = _relative_path(url)
    pattern = "" if path is None else glob.escape(str(directory / path)).replace(LOCATION, "*")
    # not Path.glob, which takes no `..`
    return next(map(Path, glob.iglob(pattern)), None) if pattern else None  # noqa: PTH207


def name_state(url: str, directory: Path) -> str:
    """The whole URL of the state that a relative one names in a directory; another URL as it is."""
    path = _relative_path(url)
    return url if path is None else f"sqlite:///{directory / path}"


def _relative_path(url: str) -> Path | None:
    with suppress(UsageError):
        path = _sqlite_path(url)
        return None if path.is_absolute() else path
    return None


def open_reader(url: str) -> AbstractContextManager[StateReader]:
    """State to look at; a state that is not there reads as an empty one and is not created."""
    if _scheme(url) in OBJECTS:
        return _open_objects(url)
    if _scheme(url) in POSTGRES:
        with _extra("postgres"):
            from reconciler.store import postgres_states
        return postgres_states.open_reader(url)
    if LOCATION in url:
        return StatePerLocation(partial(_open_one, open_reader, url), partial(_list_locations, url))
    return SqlState(sqlite.open_for_reading(_sqlite_path(url)) or sqlite.open_empty())


def open_store(url: str, *, disk: Disk = DISK) -> AbstractContextManager[StateStore]:
    """State to change; made on first use. `disk`: the operating system, for a state in a file."""
    if _scheme(url) in OBJECTS:
        return _open_objects(url)
    if _scheme(url) in POSTGRES:
        with _extra("postgres"):
            from reconciler.store import postgres_states
        return postgres_states.open_store(url)
    if LOCATION in url:
        shared: dict[LocationId, SharedByConnections] = {}

        def open_one(location: LocationId) -> AbstractContextManager[LocationStore]:
            open_tables = partial(
                _tables_to_write, disk=disk, shared=shared.setdefault(location, SharedByConnections())
            )
            return _open_one(open_tables, url, location)

        return StatePerLocation(open_one, partial(_list_locations, url))
    return _tables_to_write(url, disk, SharedByConnections())


def _tables_to_write(url: str, disk: Disk, shared: SharedByConnections) -> SqlStore:
    return SqlStore(partial(sqlite.open_for_writing, _sqlite_path(url), disk, turn=shared.turn), shared)


@contextmanager
def _open_one(
    open_state: Callable[[str], AbstractContextManager[State[Port]]], url: str, location: LocationId
) -> Iterator[Port]:
    with open_state(url.replace(LOCATION, folder_of(location))) as state:
        yield state.at(location)


def _open_objects(url: str) -> StatePerLocation[ObjectLocation]:
    bucket = _bucket(url)
    # imported here: obstore is an extra, and slow to load where a state is a file
    with _extra("objects"):
        from reconciler.store.bucket import Trial
        from reconciler.store.object import ObjectLocation
    trial = Trial(bucket)

    def list_locations() -> Sequence[LocationId]:
        return sorted(map(location_of, bucket.folders()))

    return StatePerLocation(lambda location: ObjectLocation(bucket, location, trial), list_locations)


def _bucket(url: str) -> Obstore:
    with _extra("objects"):
        from reconciler.store.bucket import open_bucket
    path, mark, parameters = url.partition("?")
    path = path.removesuffix("/").removesuffix(f"/{LOCATION}")
    if LOCATION in path + parameters:
        raise UsageError(
            f"in {quoted(_without_secrets(url))} {LOCATION} is not at the end of the path",
            hint=f"write {_scheme(url)}://bucket/prefix/{LOCATION}; each location has a place of its own anyhow",
        )
    return open_bucket(path + mark + parameters)


def refuse_unlisted(url: str) -> None:
    """Raises UsageError where it cannot be told which locations have state under the URL; asks no host."""
    if _scheme(url) in POSTGRES and LOCATION in url:
        with _extra("postgres"):
            from reconciler.store import postgres_states
        postgres_states.refuse_unlisted(url)


def _list_locations(url: str) -> Sequence[LocationId]:
    """The locations that have state under a URL with {location}."""
    pattern = str(_sqlite_path(url))
    # the location may stand in the path more than once: the first place names it
    form = re.compile(
        re.escape(pattern).replace(re.escape(LOCATION), "([^/]*)", 1).replace(re.escape(LOCATION), "[^/]*")
    )
    # the directory above the first part with a location in it; the `x` keeps a path that ends in a slash whole
    start = Path(pattern[: pattern.index(LOCATION)] + "x").parent
    matches = (form.fullmatch(str(path)) for path in start.rglob("*"))
    return sorted(location_of(match[1]) for match in matches if match)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Around the import of a library that only an extra installs."""
    try:
        yield
    except ImportError as error:
        raise StateError(
            f"this state needs an extra that is not installed: {error}",
            hint=install_hint(name),
        ) from error


def _sqlite_path(url: str) -> Path:
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "sqlite" or not path or "?" in path:
        raise UsageError(
            f"unknown state {quoted(_without_secrets(url))}",
            hint="write sqlite:///relative/path.db, sqlite:////absolute/path.db, postgresql://user@host/database, "
            "s3://bucket/prefix or az://container/prefix",
        )
    return Path(path)


def _without_secrets(url: str) -> str:
    """The URL without user and password, which have no place in a message."""
    scheme, _, address = url.partition("://")
    # a token may stand among the parameters, and an `@` in the password
    return f"{scheme}://{address.rpartition('@')[2].partition('?')[0]}" if address else scheme
