"""One location's API, to read and to write: what apply and revert hold. The only module that can ask for a write."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from reconciler.core.names import ContactId, Instant, LocationId
from reconciler.core.outcome import Row
from reconciler.highlevel.connection import Connection, Heard, ignore, wall_clock
from reconciler.highlevel.reader import HighLevelReader
from reconciler.wire import API_VERSION, BulkUpdate, ContactRead, Page, bulk_body, bulk_path, read_bulk_answer


class HighLevel:
    """A TagWriter and TagReader over HTTP; the arguments are those of its Connection."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str,
        version: str = API_VERSION,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
        heard: Heard = ignore,
        now: Callable[[], Instant] = wall_clock,
    ) -> None:
        self._connection = Connection(
            base_url,
            token=token,
            version=version,
            timeout_s=timeout_s,
            transport=transport,
            heard=heard,
            now=now,
        )
        self._reader = HighLevelReader(self._connection)

    @classmethod
    def over(cls, connection: Connection) -> Self:
        """On a connection that is there already."""
        made = cls.__new__(cls)
        made._connection, made._reader = connection, HighLevelReader(connection)
        return made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def update_tags(self, update: BulkUpdate) -> tuple[Row, ...]:
        """The rows of the answer. Raises NotApplied, InDoubt, RequestRefused or AuthRefused."""
        body = await self._connection.send("POST", bulk_path(update), bulk_body(update))
        return self._connection.read(read_bulk_answer, body)

    async def get_contact(self, contact: ContactId) -> ContactRead | None:
        return await self._reader.get_contact(contact)

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        return await self._reader.search(location, cursor, tag=tag)
