"""Reads contacts and can do nothing else: what plan, drift and refresh hold. Law: no request here changes anything."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from reconciler.core.errors import RequestRefused
from reconciler.core.names import ContactId, LocationId
from reconciler.highlevel.connection import Connection
from reconciler.wire import (
    SEARCH_PATH,
    ContactRead,
    Page,
    contact_path,
    read_contact,
    read_date,
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

    async def get_contact(self, contact: ContactId) -> ContactRead | None:
        """None where the API does not have the contact: an invalid id, or one that it calls gone."""
        try:
            response = await self._connection.answer("GET", contact_path(contact))
        except RequestRefused as error:
            if error.status in (400, 404, 422):
                return None
            raise
        except ValueError:
            return None
        found = self._connection.read(read_contact, response.content)
        return replace(found, served=read_date(response.headers))

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        body = await self._connection.send("POST", SEARCH_PATH, search_body(location, cursor, tag=tag))
        return self._connection.read(read_page, body)
