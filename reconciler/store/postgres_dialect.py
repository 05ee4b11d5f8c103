"""What PostgreSQL cannot say as we do: text that it does not hold, and errors, without the password.

It cannot hold every text: NUL and half surrogate pairs are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.adapt import Loader

from reconciler.core.model.errors import StateCorrupted, StateError
from reconciler.store.database import Undecodable
from reconciler.store.postgres_url import Address

_NOT_STORABLE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")


def storable(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _NOT_STORABLE.sub(lambda found: f"\x1a{ord(found[0]):04x}", value)


class TextLoader(Loader):
    """Text as it was before `storable`."""

    def load(self, data: Any) -> str:
        text = bytes(data).decode()
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\x1a" in text else text


_DAMAGED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.DuplicateTable)
_DAMAGED_CLASSES = ("XX", "23")
"""Corrupted data or indexes; rows that contradict one another."""


@contextmanager
def errors(place: Address) -> Iterator[None]:
    """Errors of the server and of the way to it, as StateError with the state's name and a way out."""
    try:
        yield
    except psycopg.Error as error:
        text = _told(error, place)
        if isinstance(error, _DAMAGED) or (error.sqlstate or "").startswith(_DAMAGED_CLASSES):
            raise damaged(place, text) from None
        raise StateError(
            f"the state {place.name} cannot be used: {text}",
            hint="see that the server is there and that the user of the URL may write to the schema",
        ) from None
    except (Undecodable, UnicodeDecodeError) as error:
        raise damaged(place, error) from error


def _told(error: psycopg.Error, place: Address) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    for secret in {place.url, place.password, quote(place.password)} - {""}:
        text = text.replace(secret, "***")
    return text


def damaged(place: Address, why: object) -> StateCorrupted:
    return StateCorrupted(
        f"the state {place.name} is damaged: {why}",
        hint="restore it from a backup, or name another schema to start from what the API will tell",
    )
