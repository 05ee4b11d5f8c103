"""A request and a response without a network, and the vendor's error bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

_ERRORS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
}

JSON = "application/json; charset=utf-8"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """`path` as sent, query included; names of `headers` in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def segments(self) -> list[str]:
        """The path cut at its slashes, each part decoded."""
        path = self.path.partition("?")[0]
        return [unquote(part) for part in path.strip("/").split("/")]


@dataclass(frozen=True, slots=True)
class Response:
    """`body` is JSON, whatever the status, but for `kind` saying otherwise."""

    status: int
    body: bytes
    headers: Headers = ()
    kind: str = JSON


class RefusedRequest(Exception):
    """The request ends here with this answer."""

    def __init__(self, status: int, message: str | list[str], *, headers: Headers = ()) -> None:
        super().__init__(message)
        self.response = error(status, message, headers=headers)


def answer(status: int, document: Mapping[str, Any]) -> Response:
    return Response(status, json.dumps(document).encode())


def error(status: int, message: str | list[str], *, headers: Headers = ()) -> Response:
    """The vendor's bodies: 400 has no `error`, 422 has a list of messages."""
    document: dict[str, Any] = {"statusCode": status, "message": message}
    if status != 400:
        document["error"] = _ERRORS.get(status, "Internal Server Error")
    return Response(status, json.dumps(document).encode(), headers)
