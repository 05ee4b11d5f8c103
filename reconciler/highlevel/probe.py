"""Two reading requests whose answers tell what a token may do and what time the API has.

Rule: they leave and are read as a refresh does it, by the same connection and the same readers: what a refresh could
not read is not granted here.
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.core.model.errors import ApiError, RequestRefused
from reconciler.core.model.names import LocationId
from reconciler.core.observing.diagnosis import Answered
from reconciler.headers import read_date
from reconciler.highlevel.connection import Connection
from reconciler.wire import SEARCH_PATH, probe_body, read_page, read_tag_list, tags_path


async def probe(connection: Connection, location: LocationId) -> tuple[Answered, Answered]:
    """A search for one contact, then the location's tags."""
    found = await _ask(connection, "POST", SEARCH_PATH, probe_body(location), read_page)
    try:
        path = tags_path(location)
    except ValueError as error:
        return found, Answered(RequestRefused(f"location {location}: {error}", status=0))
    return found, await _ask(connection, "GET", path, None, read_tag_list)


async def _ask(
    connection: Connection, method: str, path: str, body: bytes | None, reader: Callable[[bytes], object]
) -> Answered:
    try:
        answer = await connection.answer(method, path, body)
        connection.read(reader, answer.body)
    except ApiError as error:
        return Answered(error)
    return Answered(date=read_date(answer.headers))
