"""One location's API, to read and to write: apply and revert hold this. The only module that can ask for a write."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, Unpack

from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.outcome import Rejection, ResponseRow
from reconciler.highlevel import ApiArguments, HighLevelReader
from reconciler.highlevel.connection import Connection
from reconciler.wire import BulkUpdate, ContactRead, Page, bulk_body, bulk_path, read_bulk_answer


class HighLevel:
    """A TagWriter and TagReader over HTTP; the arguments are those of its Connection."""

    def __init__(self, base_url: str, **arguments: Unpack[ApiArguments]) -> None:
        self._connection = Connection(base_url, **arguments)
        self._reader = HighLevelReader(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def ready(self) -> None:
        """Exchanges the token where that is due. Raises NotApplied or AuthRefused."""
        await self._connection.token()

    async def update_tags(self, update: BulkUpdate) -> tuple[ResponseRow, ...]:
        """The rows of the answer. Raises NotApplied, InDoubt, RequestRefused or AuthRefused."""
        answer = await self._connection.ask("POST", bulk_path(update), bulk_body(update), resends=False)
        return self._connection.read(read_bulk_answer, answer.body)

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        return await self._reader.get_contact(contact)

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        return await self._reader.search(location, cursor, tag=tag)
