"""Reads contacts and can do nothing else: plan, drift and refresh hold this. Law: no request here changes a contact."""

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
            answer = await self._connection.ask("GET", contact_path(contact))
        except ApiError as error:
            return _absent(error)
        except ValueError:
            return Rejection.INVALID
        shown = self._connection.read(read_contact, answer.body)
        if shown.id != contact:
            raise Unread(f"contact {contact} was answered as {self._connection.clean(shown.id)}: merged?")
        return replace(shown, served=read_date(answer.headers))

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        answer = await self._connection.ask("POST", SEARCH_PATH, search_body(location, cursor, tag=tag))
        return self._connection.read(read_page, answer.body)

    async def probe(self, gate: RequestGate) -> tuple[Answered, Answered]:
        """Reads one contact, then the location's tags: the answers show the token's rights and the API's time.

        A refresh reads alike, through a gate: a right that it could not use is not granted here either.
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
            _, answer = await gate.read(lambda: self._connection.ask(method, path, body))
            self._connection.read(reader, answer.body)
        except ApiError as error:
            return Answered(error)
        return Answered(date=read_date(answer.headers))


def _absent(error: ApiError) -> Rejection:
    """The absence that the API states of the contact; raises the error where it states none."""
    status = error.status if isinstance(error, AuthRefused | RequestRefused) else 0
    if absence := classify_absence(error.said, status):
        return absence
    # a 4xx in other words may come from a proxy or a gateway, and pass
    if isinstance(error, RequestRefused) and 400 <= status < 500:
        raise InDoubt(error.message, said=error.said) from None
    raise error
