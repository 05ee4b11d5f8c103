"""The client of HighLevel's API.

Law: sees ports, wire, the gate and core. The token is in one header, to one origin, and nowhere else. Callers that read
come in by `connect_reader`; the writer, `client.HighLevel`, stands apart, so that no path leads a reader to it. Which
library does HTTP is known to `http_client` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Required, TypedDict, Unpack

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.names import Instant
from reconciler.highlevel.tokens import Agency, find_token, held_in

if TYPE_CHECKING:
    from reconciler.highlevel.http_client import Transport
    from reconciler.highlevel.reader import HighLevelReader

__all__ = ["Agency", "ApiArguments", "connect_reader", "describe_proxy", "find_token", "held_in"]

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


def connect_reader(base_url: str, **arguments: Unpack[ApiArguments]) -> HighLevelReader:
    """One location's API, to read and nothing else; raises NoWay where the environment leads nowhere."""
    from reconciler.highlevel.connection import Connection
    from reconciler.highlevel.reader import HighLevelReader

    return HighLevelReader(Connection(base_url, **arguments))


def describe_proxy(url: str, environment: Mapping[str, str]) -> str:
    """The proxy through which `url` is asked, with the variable that names it; empty for none."""
    from reconciler.highlevel.route import find_route

    return str(find_route(url, environment))
