"""Where state lives. Law: sees ports and core. One door: `open_reader(url)` to look, `open_store(url)` to change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from reconciler.core.model.errors import StateError, UsageError
from reconciler.core.model.names import LocationId
from reconciler.ports import StateReader, StateStore
from reconciler.store import sqlite
from reconciler.store.per_location import Opened, PlacesReader, PlacesStore
from reconciler.store.reader import SqlReader
from reconciler.store.sql_store import SqlStore
from reconciler.store.sqlite_file import DISK, Disk

if TYPE_CHECKING:
    from reconciler.store.bucket import Obstore

LOCATION = "{location}"
POSTGRES = ("postgresql", "postgres")
OBJECTS = ("s3", "az", "memory")
LOCAL = ("sqlite", "memory")


def is_remote(url: str) -> bool:
    """Whether a host is asked for this state."""
    return _scheme(url) not in LOCAL


def open_reader(url: str) -> AbstractContextManager[StateReader]:
    """State to look at; what is not there is an empty state and is not created."""
    if _scheme(url) in OBJECTS:
        bucket = _bucket(url)
        with _extra("objects"):
            from reconciler.store.object import open_object
        return PlacesReader(Opened(lambda location: open_object(bucket, folder(location))), partial(_folders, bucket))
    if LOCATION in url:
        return PlacesReader(Opened(lambda location: open_reader(_placed(url, location))), partial(_names, url))
    return _tables(url)


def open_store(url: str, *, disk: Disk = DISK) -> AbstractContextManager[StateStore]:
    """State to change; made on first use. `disk`: what a file is stored on."""
    if _scheme(url) in OBJECTS:
        bucket = _bucket(url)
        with _extra("objects"):
            from reconciler.store.bucket import Trial
            from reconciler.store.object import ObjectStore
        trial = Trial(bucket)
        open_one = Opened(lambda location: ObjectStore(bucket, folder(location), trial))
        return PlacesStore(open_one, partial(_folders, bucket))
    if LOCATION in url:
        each = Opened(lambda location: open_store(_placed(url, location), disk=disk))
        return PlacesStore(each, partial(_names, url))
    if _scheme(url) in POSTGRES:
        with _extra("postgres"):
            from reconciler.store import postgres
        return SqlStore(postgres.open_for_writing(url))
    return SqlStore(sqlite.open_for_writing(_sqlite_path(url), disk))


def _tables(url: str) -> SqlReader:
    if _scheme(url) in POSTGRES:
        with _extra("postgres"):
            from reconciler.store import postgres
        return SqlReader(postgres.open_for_reading(url))
    return SqlReader(sqlite.open_for_reading(_sqlite_path(url)))


def folder(location: LocationId) -> str:
    """The location as a part of a path."""
    return quote(location, safe="").replace(".", "%2E")


def _placed(url: str, location: LocationId) -> str:
    return url.replace(LOCATION, folder(location))


def _bucket(url: str) -> Obstore:
    with _extra("objects"):
        from reconciler.store.bucket import open_bucket
    path, mark, parameters = url.partition("?")
    path = path.removesuffix("/").removesuffix(f"/{LOCATION}")
    if LOCATION in path + parameters:
        raise UsageError(
            f"in {_without_secrets(url)!r} {LOCATION} is not at the end of the path",
            hint=f"write {_scheme(url)}://bucket/prefix/{LOCATION}; each location has a place of its own anyhow",
        )
    return open_bucket(path + mark + parameters)


def _folders(bucket: Obstore) -> Sequence[LocationId]:
    return sorted(LocationId(unquote(each)) for each in bucket.folders())


def _names(url: str) -> Sequence[LocationId]:
    """The locations that have state under a URL with {location}."""
    if _scheme(url) in POSTGRES:
        raise UsageError(f"the locations of {_without_secrets(url)} cannot be listed", hint="name them with --location")
    pattern = str(_sqlite_path(url))
    known = re.compile(
        re.escape(pattern).replace(re.escape(LOCATION), "([^/]*)", 1).replace(re.escape(LOCATION), "[^/]*")
    )
    start = Path(pattern[: pattern.index(LOCATION)] + "x").parent
    matches = (known.fullmatch(str(path)) for path in start.rglob("*"))
    return sorted(LocationId(unquote(found[1])) for found in matches if found)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Around the import of what only an extra installs."""
    try:
        yield
    except ImportError as error:
        raise StateError(
            f"this state needs an extra that is not installed: {error}",
            hint=f"install reconciler with the extra [{name}], such as pip install '.[{name}]' in its checkout",
        ) from error


def _sqlite_path(url: str) -> Path:
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "sqlite" or not path or "?" in path:
        raise UsageError(
            f"unknown state {_without_secrets(url)!r}",
            hint="write sqlite:///relative/path.db, sqlite:////absolute/path.db, postgresql://user@host/database, "
            "s3://bucket/prefix or az://container/prefix",
        )
    return Path(path)


def _without_secrets(url: str) -> str:
    """The URL without what stands before an `@`: a password has no place in a message."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if rest else scheme
