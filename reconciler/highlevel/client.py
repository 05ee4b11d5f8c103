"""One location's API, to read and to write: apply and revert hold this. The only module that can ask for a write."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar, Unpack

from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.model.outcome import ResponseRows
from reconciler.core.observing.trial import ShownContact, WrittenRow
from reconciler.highlevel import ApiArguments, HighLevelReader
from reconciler.highlevel.connection import Connection
from reconciler.wire import (
    SEARCH_PATH,
    BulkUpdate,
    bulk_body,
    bulk_path,
    contact_path,
    read_bulk_answer,
    read_page,
    search_body,
)
from reconciler.wire_trial import read_shown, read_written

T = TypeVar("T")


class HighLevel(HighLevelReader):
    """A TagWriter and TagReader over HTTP; the arguments are those of its Connection."""

    def __init__(self, base_url: str, **arguments: Unpack[ApiArguments]) -> None:
        super().__init__(Connection(base_url, **arguments))

    def update_tags(self, update: BulkUpdate) -> Coroutine[Any, Any, ResponseRows]:
        """The rows of the answer. Raises NotApplied, InDoubt, RequestRefused or AuthRefused."""
        # dated by the call, at which the gate has let it go, and not when the loop comes to it
        return self._update_tags(update, self._connection.now())

    async def _update_tags(self, update: BulkUpdate, let_go: Instant) -> ResponseRows:
        path, body = bulk_path(update), bulk_body(update)
        # never resent here: whether a pair may be sent twice is for the plan to say
        answer = await self._connection.ask("POST", path, body, resends=False, let_go=let_go)
        return self._connection.read(read_bulk_answer, answer.body)


class TrialApi:
    """The requests of a trial, their answers as they are spelt; the arguments are those of its Connection."""

    def __init__(self, base_url: str, **arguments: Unpack[ApiArguments]) -> None:
        self._connection = Connection(base_url, **arguments)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.close()

    async def ready(self) -> None:
        await self._connection.token()

    async def token(self) -> str:
        """The token of the location, exchanged where it is an agency's."""
        return await self._connection.token()

    async def update_tags(self, update: BulkUpdate) -> WrittenRow:
        """The answer to an update of one contact. Raises ApiError."""
        answer = await self._connection.ask("POST", bulk_path(update), bulk_body(update), resends=False)
        return self._connection.read(lambda body: read_written(answer.status, body), answer.body)

    async def get_contact(self, contact: ContactId) -> ShownContact:
        """Raises ApiError."""
        return await self._read("GET", contact_path(contact), None, read_shown)

    async def has_shown(self, location: LocationId, tag: str) -> bool:
        """Whether a search for a tag shows a contact. Raises ApiError."""
        page = await self._read("POST", SEARCH_PATH, search_body(location, None, tag=tag), read_page)
        return bool(page.contacts)

    async def _read(self, method: str, path: str, body: bytes | None, reader: Callable[[bytes], T]) -> T:
        answer = await self._connection.ask(method, path, body)
        return self._connection.read(reader, answer.body)
