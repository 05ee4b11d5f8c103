"""Where a PostgreSQL state is, and how messages call it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from reconciler.core.model.errors import UsageError

SCHEMA = "reconciler"
CONNECT_TIMEOUT_S = "10"


@dataclass(frozen=True, slots=True)
class StateAddress:
    """Where a state is: the URL for libpq, the schema in its database, and how messages call it."""

    url: str
    schema: str
    name: str
    password: str = ""


def address(url: str) -> StateAddress:
    """Of a libpq URL, with `schema` as one more parameter; raises UsageError."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise UsageError("the state's URL cannot be read", hint="write postgresql://user@host/database") from error
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = parameters.pop("schema", "") or SCHEMA
    parameters = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "reconciler"} | parameters
    query = urlencode(parameters, quote_via=quote)
    user = f"{parts.username}@" if parts.username else ""
    return StateAddress(
        url=SplitResult("postgresql", parts.netloc, parts.path, query, "").geturl(),
        schema=schema,
        name=f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}",
        password=parts.password or parameters.get("password", ""),
    )
