"""Reads contacts and can do nothing else: what plan, drift and refresh hold. Law: no request here changes anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from reconciler.core.model.errors import ApiError, AuthRefused, InDoubt, RequestRefused, Unread
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.outcome import Rejection
from reconciler.core.observing.diagnosis import Answered
from reconciler.highlevel.connection import Connection
from reconciler.request_gate import RequestGate
from reconciler.wire import (
    SEARCH_PATH,
    ContactRead,
    Page,
    classify_absence,
    contact_path,
    probe_body,
    read_contact,
    read_page,
    read_tag_list,
    search_body,
    tags_path,
)
from reconciler.wire_session import read_date


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

    async def ready(self) -> None:
        """Exchanges the token where that is due. Raises NotApplied or AuthRefused."""
        await self._connection.token()

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

    async def probe(self, gate: RequestGate) -> tuple[Answered, Answered]:
        """Two reads whose answers tell what the token may do, and the API's time: a contact, then the location's tags.

        They leave as a refresh's reads do, through the same gate: what a refresh could not read is not granted here.
        """
        search = await self._probe(gate, "POST", SEARCH_PATH, probe_body(gate.location), read_page)
        try:
            path = tags_path(gate.location)
        except ValueError as error:
            return search, Answered(RequestRefused(f"location {gate.location}: {error}", status=0))
        return search, await self._probe(gate, "GET", path, None, read_tag_list)

    async def _probe(
        self, gate: RequestGate, method: str, path: str, body: bytes | None, reader: Callable[[bytes], object]
    ) -> Answered:
        try:
            _, answer = await gate.read(lambda: self._connection.answer(method, path, body))
            self._connection.read(reader, answer.body)
        except ApiError as error:
            return Answered(error)
        return Answered(date=read_date(answer.headers))


def _absent(error: ApiError) -> Rejection:
    """What the API says of the contact; raises the error where it says nothing of it. A 4xx in other words may pass."""
    status = error.status if isinstance(error, AuthRefused | RequestRefused) else 0
    if found := classify_absence(error.said, status):
        return found
    if isinstance(error, RequestRefused) and 400 <= status < 500:
        raise InDoubt(error.message, said=error.said) from None
    raise error
