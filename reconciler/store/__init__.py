"""Where state lives. Law: sees ports and core. One door: `open_reader(url)` to look, `open_store(url)` to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from reconciler.core.errors import StateError, UsageError
from reconciler.ports import StateReader, StateStore
from reconciler.store import connection
from reconciler.store.disk import DISK, Disk
from reconciler.store.sql import SqlReader, SqlStore

DEFAULT_URL = "sqlite:///.reconciler/state.db"
POSTGRES = ("postgresql", "postgres")


def open_reader(url: str) -> AbstractContextManager[StateReader]:
    """State to look at; what is not there is an empty state and is not created."""
    if _scheme(url) in POSTGRES:
        with _extra("postgres"):
            from reconciler.store import postgres
        return SqlReader(postgres.open_for_reading(url))
    return SqlReader(connection.open_for_reading(_sqlite_path(url)))


def open_store(url: str, *, disk: Disk = DISK) -> AbstractContextManager[StateStore]:
    """State to change; made on first use. `disk`: what a file is stored on."""
    if _scheme(url) in POSTGRES:
        with _extra("postgres"):
            from reconciler.store import postgres
        return SqlStore(postgres.open_for_writing(url))
    return SqlStore(connection.open_for_writing(_sqlite_path(url), disk))


def _scheme(url: str) -> str:
    return url.partition("://")[0]


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Around the import of what only an extra installs."""
    try:
        yield
    except ImportError as error:
        raise StateError(
            f"this state needs an extra that is not installed: {error}", hint=f"pip install 'reconciler[{name}]'"
        ) from error


def _sqlite_path(url: str) -> Path:
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "sqlite" or not path:
        raise UsageError(
            f"unknown state {_without_secrets(url)!r}",
            hint="write sqlite:///relative/path.db, sqlite:////absolute/path.db, or postgresql://user@host/database",
        )
    return Path(path)


def _without_secrets(url: str) -> str:
    """The URL without what stands before an `@`: a password has no place in a message."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else scheme
