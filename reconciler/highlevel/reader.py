"""Reads contacts and can do nothing else: what plan, drift and refresh hold. Law: no request here changes anything."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from reconciler.core.model.errors import ApiError, AuthRefused, InDoubt, RequestRefused, Unread
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.outcome import Rejection
from reconciler.headers import read_date
from reconciler.highlevel.connection import Connection
from reconciler.wire import (
    SEARCH_PATH,
    ContactRead,
    Page,
    absence,
    contact_path,
    read_contact,
    read_page,
    search_body,
)


class HighLevelReader:
    """A TagReader over HTTP."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        try:
            answer = await self._connection.answer("GET", contact_path(contact))
        except ApiError as error:
            return _absent(error)
        except ValueError:
            return Rejection.INVALID
        found = self._connection.read(read_contact, answer.body)
        if found.id != contact:
            raise Unread(f"contact {contact} was answered as {self._connection.clean(found.id)}: merged?")
        return replace(found, served=read_date(answer.headers))

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        body = await self._connection.send("POST", SEARCH_PATH, search_body(location, cursor, tag=tag))
        return self._connection.read(read_page, body)


def _absent(error: ApiError) -> Rejection:
    """What the API says of the contact; raises the error where it says nothing of it. A 4xx in other words may pass."""
    status = error.status if isinstance(error, AuthRefused | RequestRefused) else 0
    if found := absence(error.said, status):
        return found
    if isinstance(error, RequestRefused) and 400 <= status < 500:
        raise InDoubt(error.message, said=error.said) from None
    raise error
