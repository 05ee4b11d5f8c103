"""The client of HighLevel's API, and its reader, which can do nothing else: plan, drift and refresh hold it.

Law: sees ports, wire, the gate and core. The token is in one header, to one origin, and nowhere else. No request here
changes a contact: the writer, `client.HighLevel`, stands apart, so that no path leads a reader to it. Which library
does HTTP is known to `http_client` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Required, Self, TypedDict, Unpack

from reconciler.core.model.api_limits import Quota, read_date
from reconciler.core.model.errors import ApiError, AuthRefused, InDoubt, RequestRefused, Unread
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.model.outcome import Rejection
from reconciler.core.observing.diagnosis import Answered
from reconciler.highlevel.tokens import COMMAND_TIMEOUT_S, Agency, find_token, held_in
from reconciler.ports import Reporter
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

if TYPE_CHECKING:
    from reconciler.highlevel.connection import Connection
    from reconciler.highlevel.http_client import Transport

__all__ = [
    "COMMAND_TIMEOUT_S",
    "Agency",
    "ApiArguments",
    "HighLevelReader",
    "connect_reader",
    "describe_proxy",
    "find_token",
    "held_in",
]

# the HTTP library takes a tenth of a second to load: the functions below load it, so that a command that asks the API
# nothing does not


class ApiArguments(TypedDict, total=False):
    """The arguments of a `Connection` but for its origin; `token` in any case."""

    token: Required[str]
    held_in: str
    agency: Agency | None
    version: str
    timeout_s: float
    transport: Transport | None
    environment: Mapping[str, str]
    on_quota: Callable[[Quota], None]
    now: Callable[[], Instant]
    location: LocationId
    report: Reporter


def connect_reader(base_url: str, **arguments: Unpack[ApiArguments]) -> HighLevelReader:
    """One location's API, to read and nothing else; raises NoWay where the environment leads nowhere."""
    from reconciler.highlevel.connection import Connection

    return HighLevelReader(Connection(base_url, **arguments))


def describe_proxy(url: str, environment: Mapping[str, str]) -> str:
    """The proxy through which `url` is asked, with the variable that names it; empty for none."""
    from reconciler.highlevel.route import find_route

    return str(find_route(url, environment))


class Client:
    """One connection, closed at the end of a `with`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


class HighLevelReader(Client):
    """A TagReader over HTTP."""

    async def ready(self) -> None:
        """Exchanges the token where that is due. Raises NotApplied or AuthRefused."""
        await self._connection.token()

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        try:
            answer = await self._connection.ask("GET", contact_path(contact))
        except ApiError as error:
            return tell_absence(error)
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


def tell_absence(error: ApiError) -> Rejection:
    """The absence that the API states of the contact; raises the error where it states none."""
    status = error.status if isinstance(error, AuthRefused | RequestRefused) else 0
    if absence := classify_absence(error.said, status):
        return absence
    # a 4xx in other words may come from a proxy or a gateway, and pass
    if isinstance(error, RequestRefused) and 400 <= status < 500:
        raise InDoubt(error.message, said=error.said) from None
    raise error
