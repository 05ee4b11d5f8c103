"""Requests and responses without a network: bodies checked as the vendor checks them, the vendor's error bodies. Pure.

Rules
1. A key that is not asked for is refused, and so are a wrong type and too many elements: all problems in one answer.
2. The location is checked before the rest, as the token is good for one only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, unquote

from reconciler.core.model import JsonObject
from reconciler.core.model.names import LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.sandbox.assumptions import Assumptions, Oversize

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
    """A request as the network carries it."""

    method: str
    path: str
    """As sent, query included."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""

    @property
    def segments(self) -> list[str]:
        """The path cut at its slashes, each part decoded."""
        path = self.path.partition("?")[0]
        return [unquote(part) for part in path.strip("/").split("/")]

    @property
    def query(self) -> dict[str, str]:
        """The parameters behind the `?`; of a key that is there twice, the last value."""
        return dict(parse_qsl(self.path.partition("?")[2]))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as the network carries it."""

    status: int
    body: bytes
    headers: Headers = ()
    kind: str = JSON
    """The type of the body: JSON at every status, as the vendor answers."""


class Loss(StrEnum):
    """How a client learns that it gets no answer."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The part of an answer that reaches the client: all, nothing, or the beginning (`TRUNCATED`)."""

    response: Response | None
    loss: Loss | None = None


class RefusedRequest(Exception):
    """The request ends here with this answer."""

    def __init__(self, status: int, message: str | list[str], *, headers: Headers = ()) -> None:
        super().__init__(message)
        self.response = error_response(status, message, headers=headers)


def json_response(status: int, document: JsonObject) -> Response:
    return Response(status, json.dumps(document).encode())


def error_response(status: int, message: str | list[str], *, headers: Headers = ()) -> Response:
    """The vendor's bodies: 400 has no `error`, 422 has a list of messages."""
    document: JsonObject = {"statusCode": status, "message": message}
    if status != 400:
        document["error"] = _ERRORS.get(status, "Internal Server Error")
    return Response(status, json.dumps(document).encode(), headers)


NO_ACCESS = "The token does not have access to this location."
NO_LOCATION = "LocationId can't be undefined"

_BULK_KEYS = frozenset({"contacts", "tags", "locationId", "removeAllTags"})
_SWITCH = {True: True, False: False, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class BulkBody:
    """A bulk request that is fit to be carried out."""

    contacts: tuple[str, ...]
    tags: tuple[str, ...]
    everything: bool
    """`removeAllTags`: the tags of the request do not matter."""


def read_json(request: Request) -> JsonObject:
    """The body as an object: empty where it is another value or of another type; RefusedRequest (400) for no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or not request.body:
        return {}
    try:
        document = json.loads(request.body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RefusedRequest(400, "the request body is not valid JSON") from None
    return document if isinstance(document, dict) else {}


def check_location(document: JsonObject, location: LocationId, *, in_search: bool = False) -> None:
    """Raises RefusedRequest where the body names no location, or another one than the token is good for."""
    named = document.get("locationId")
    if named is None and not in_search:
        raise RefusedRequest(400, NO_LOCATION)
    if not isinstance(named, str):
        raise RefusedRequest(422, ["locationId must be a string"])
    if named != location:
        raise RefusedRequest(403, NO_ACCESS)


def read_bulk(document: JsonObject, action: Action, rules: Assumptions) -> BulkBody:
    """The bulk request in a body; raises RefusedRequest (422) with every problem."""
    problems = unknown_keys(document, _BULK_KEYS) if rules.extra_keys_refused else []
    contacts = _read_texts(document, "contacts", problems, refuse_empty=rules.empty_lists_refused)
    everything = _read_switch(document, problems)
    if everything and action is Action.ADD and rules.remove_all_on_add_refused:
        problems.append("removeAllTags can only be used with remove type")
    # to remove everything, no tags need be named
    tags = _read_texts(document, "tags", problems, refuse_empty=rules.empty_lists_refused and not everything)
    problems += _tag_problems(tags, rules)
    if rules.oversize is Oversize.REFUSED:
        too_many = _too_many("contacts", contacts, rules.max_contacts) + _too_many("tags", tags, rules.max_tags)
        if too_many and not rules.oversize_names_limit:
            raise RefusedRequest(400, "Bad Request")
        problems += too_many
    refuse_problems(problems)
    # a server that cuts tells nothing of the contacts that it left out: rows are missing
    if rules.oversize is Oversize.CUT:
        contacts, tags = contacts[: rules.max_contacts], tags[: rules.max_tags]
    return BulkBody(contacts, tags, everything)


def read_tags(document: JsonObject, rules: Assumptions) -> tuple[str, ...]:
    """The tags in the body of the endpoints for one contact; raises RefusedRequest (422) with every problem."""
    problems = unknown_keys(document, frozenset({"tags"})) if rules.extra_keys_refused else []
    tags = _read_texts(document, "tags", problems, refuse_empty=rules.empty_lists_refused)
    refuse_problems(problems + _tag_problems(tags, rules))
    return tags


def unknown_keys(document: JsonObject, allowed: frozenset[str]) -> list[str]:
    return [f"property {key} should not exist" for key in document if key not in allowed]


def refuse_problems(problems: list[str]) -> None:
    if problems:
        raise RefusedRequest(422, problems)


def refuse_unknown_tags(tags: Iterable[str], known: Collection[Tag], rules: Assumptions) -> None:
    """Raises RefusedRequest (422) where tags are to be added that the location never had, and it makes none."""
    if rules.unknown_tags_refused:
        refuse_problems([f"tag {tag} does not exist" for tag in tags if rules.spell(tag) not in known])


def _read_texts(document: JsonObject, key: str, problems: list[str], *, refuse_empty: bool) -> tuple[str, ...]:
    value = document.get(key)
    if not isinstance(value, list):
        problems.append(f"{key} must be an array")
        return ()
    if not all(isinstance(item, str) for item in value):
        problems.append(f"each value in {key} must be a string")
        return ()
    if not value and refuse_empty:
        problems.append(f"{key} should not be empty")
    return tuple(value)


def _read_switch(document: JsonObject, problems: list[str]) -> bool:
    value = document.get("removeAllTags", False)
    # the vendor's type is boolean, the example the text "false": both are read
    if isinstance(value, bool | str) and value in _SWITCH:
        return _SWITCH[value]
    problems.append("removeAllTags must be a boolean value")
    return False


def _tag_problems(tags: Iterable[str], rules: Assumptions) -> list[str]:
    spelt = [rules.spell(tag) for tag in tags]
    problems = []
    if rules.blank_tags_refused and not all(spelt):
        problems.append("each value in tags should not be empty")
    if rules.longest_tag and any(len(tag) > rules.longest_tag for tag in spelt):
        problems.append(f"each value in tags must be shorter than or equal to {rules.longest_tag} characters")
    return problems


def _too_many(key: str, values: tuple[str, ...], limit: int) -> list[str]:
    return [f"{key} must contain not more than {limit} elements"] if len(values) > limit else []


def _no_constant(name: str) -> None:
    # Python reads NaN and Infinity, which no JSON has
    raise ValueError(f"{name} is not JSON")
