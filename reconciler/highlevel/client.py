"""One location's API, to read and to write: apply and revert hold this. The only module that can ask for a write."""

from __future__ import annotations

from typing import Unpack

from reconciler.core.model.outcome import ResponseRows
from reconciler.highlevel import ApiArguments, HighLevelReader
from reconciler.highlevel.connection import Connection
from reconciler.wire import BulkUpdate, bulk_body, bulk_path, read_bulk_answer


class HighLevel(HighLevelReader):
    """A TagWriter and TagReader over HTTP; the arguments are those of its Connection."""

    def __init__(self, base_url: str, **arguments: Unpack[ApiArguments]) -> None:
        super().__init__(Connection(base_url, **arguments))

    async def update_tags(self, update: BulkUpdate) -> ResponseRows:
        """The rows of the answer. Raises NotApplied, InDoubt, RequestRefused or AuthRefused."""
        answer = await self._connection.ask("POST", bulk_path(update), bulk_body(update), resends=False)
        return self._connection.read(read_bulk_answer, answer.body)
