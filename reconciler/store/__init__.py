"""Where state lives. Law: sees ports and core. One door: `open_reader(url)` to look, `open_store(url)` to change."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from reconciler.core.errors import UsageError
from reconciler.ports import StateReader, StateStore
from reconciler.store.sqlite import SqliteReader, SqliteStore

DEFAULT_URL = "sqlite:///.reconciler/state.db"


def open_reader(url: str) -> AbstractContextManager[StateReader]:
    """State to look at; a file that is not there is an empty state and is not created."""
    return SqliteReader(_sqlite_path(url))


def open_store(url: str) -> AbstractContextManager[StateStore]:
    """State to change; made on first use."""
    return SqliteStore(_sqlite_path(url))


def _sqlite_path(url: str) -> Path:
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "sqlite" or not path:
        raise UsageError(
            f"unknown state {_without_secrets(url)!r}",
            hint="write sqlite:///relative/path.db, or sqlite:////absolute/path.db",
        )
    return Path(path)


def _without_secrets(url: str) -> str:
    """The URL without what stands before an `@`: a password has no place in a message."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else scheme
