"""The emulated API as a function: a request and the time in, an answer out. No sockets, no clock.

Rules
1. In this order: token, version, rate limit, path, scope, location, body. The first that fails answers.
2. Every answer carries the headers of the rate limit; a request without a good token does not count, nor does an
   exchange of an agency's token (A).
3. Only the endpoints that concern tags, and those that find people, exist. Writes of one contact are logged as done by
   `SOMEBODY`: reconciler itself only ever uses the bulk endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.core.model import JsonObject
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Action, ResponseRow
from reconciler.sandbox.access import Limiter, Limits, SandboxAgency, TokenExchange
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import (
    NO_ACCESS,
    RefusedRequest,
    Request,
    Response,
    check_location,
    error_response,
    json_response,
    read_bulk,
    read_json,
    read_tags,
    refuse_unknown_tags,
)
from reconciler.sandbox.people import field_document
from reconciler.sandbox.search import Search, contact_document, find_duplicate, read_query
from reconciler.sandbox.world import Contact, World, made_up_id
from reconciler.wire import API_VERSION, bulk_answer, row_document

DEMO_TOKEN = "pit-sandbox-00000000-0000-4000-8000-000000000000"  # noqa: S105  opens nothing but a sandbox
SOMEBODY = "somebody"


def sandbox_token(location: str) -> str:
    """The token of one location of many: it can be told from the id, and opens nothing but a sandbox."""
    return f"pit-sandbox-{location}"


READ_CONTACTS = "contacts.readonly"
WRITE_CONTACTS = "contacts.write"
READ_TAGS = "locations/tags.readonly"
READ_FIELDS = "locations/customFields.readonly"
SCOPES = frozenset({READ_CONTACTS, WRITE_CONTACTS, READ_TAGS, READ_FIELDS})

NO_TOKEN = "Invalid token: access token is invalid"  # noqa: S105  the vendor's message
NO_SCOPE = "The token is not authorized for this scope."
NO_VERSION = "version header was not found."
BAD_VERSION = "version header is invalid"
TOO_MANY = "Too Many Requests"
NOT_UPDATED = "Tags could not be updated"

_VERSIONS = frozenset({API_VERSION, "2023-02-21", "v3"})
"""S: the first and the last; F: the one between, which the vendor's npm SDK sends."""


@dataclass(frozen=True, slots=True)
class Access:
    """A token of the location and its rights."""

    token: str = DEMO_TOKEN
    scopes: frozenset[str] = SCOPES
    name: str = "api"
    """The name under which its bulk writes are logged."""


class App:
    """One location behind its API. Its state: the world, the rate limit, the last search, how many bulk requests took
    effect, and issued tokens.

    The token of `agency` can be exchanged for tokens of the location.
    """

    def __init__(
        self,
        world: World,
        *,
        accesses: Iterable[Access] = (Access(),),
        limits: Limits | None = None,
        agency: SandboxAgency | None = None,
    ) -> None:
        self.world = world
        self.exchange = None if agency is None else TokenExchange(agency, world.location, world.assumptions)
        self.limiter = Limiter(limits or Limits(), world.assumptions)
        self._accesses = {access.token: access for access in accesses}
        self._search = Search(world)
        self._bulk_writes = 0

    @property
    def accesses(self) -> tuple[Access, ...]:
        return tuple(self._accesses.values())

    @property
    def tokens(self) -> frozenset[str]:
        """Those that are of this location alone, without the ones that an agency's was exchanged for."""
        return frozenset(self._accesses)

    def handle(self, request: Request, now: Instant) -> Response:
        """The answer; there is one to every request."""
        return self.admit(request, now) or self.perform(request, now)

    def admit(self, request: Request, now: Instant) -> Response | None:
        """The refusal of a request that comes too often, or None: then it has been counted."""
        # a request without a good token is refused later, with 401, and takes nothing from the limit
        if self._find_access(request, now) is None or self.limiter.admit(now):
            return None
        return self._with_limits(self._too_many(now), now)

    def perform(self, request: Request, now: Instant) -> Response:
        """The answer to a request that has been counted already."""
        try:
            response = self._answer_request(request, now)
        except RefusedRequest as refused:
            response = refused.response
        return self._with_limits(response, now)

    def _answer_request(self, request: Request, now: Instant) -> Response:
        if self.exchange is not None and bearer_token(request) == self.exchange.agency.token:
            return self._exchange_token(self.exchange, request, now)
        return self._route_request(request, self._check_access(request, now), now)

    def too_many(self, now: Instant) -> Response:
        """The answer beyond the rate limit, as if others had used it up."""
        return self._with_limits(self._too_many(now), now)

    def _too_many(self, now: Instant) -> Response:
        # whole seconds, rounded up: a client that waits no longer must get through
        seconds = -(-self.limiter.wait_ms(now) // 1000)
        headers = (("Retry-After", str(max(1, seconds))),) if self.world.assumptions.retry_after else ()
        return error_response(429, TOO_MANY, headers=headers)

    def _with_limits(self, response: Response, now: Instant) -> Response:
        return replace(response, headers=response.headers + self.limiter.headers(now))

    def _find_access(self, request: Request, now: Instant) -> Access | None:
        token = bearer_token(request)
        if self.exchange is not None and self.exchange.is_good(token, now):
            return Access(token, self.exchange.agency.scopes)
        return self._accesses.get(token)

    def _check_access(self, request: Request, now: Instant) -> Access:
        access = self._find_access(request, now)
        # the vendor answers a lacking scope, and no version, with 401 as well: the status does not tell them apart
        if access is None:
            raise RefusedRequest(401, NO_TOKEN)
        _check_version(request, self.world.assumptions)
        return access

    def _exchange_token(self, exchange: TokenExchange, request: Request, now: Instant) -> Response:
        """The one request that an agency's token may make."""
        _check_version(request, self.world.assumptions)
        if (request.method, request.segments) != ("POST", ["oauth", "locationToken"]):
            raise RefusedRequest(401, NO_SCOPE)
        return json_response(self.world.assumptions.exchange_status, exchange.issue_token(request, now))

    def _route_request(self, request: Request, access: Access, now: Instant) -> Response:
        match request.method, request.segments:
            case "POST", ["contacts", "bulk", "tags", "update", ("add" | "remove") as action]:
                return self._update_tags(request, access, Action(action), now)
            case "POST", ["contacts", "search"]:
                return self._search_contacts(request, access, now)
            case "GET", ["contacts", "search", "duplicate"]:
                return self._show_duplicate(request, access, now)
            case "GET", ["contacts", contact]:
                return self._show_contact(contact, access, now)
            case ("POST" | "DELETE") as method, ["contacts", contact, "tags"]:
                return self._change_contact(request, contact, access, now, adding=method == "POST")
            case "GET", ["locations", location, "tags"]:
                return self._location_tags(location, access)
            case "GET", ["locations", location, "customFields"]:
                return self._location_fields(request, location, access)
        raise RefusedRequest(404, f"Cannot {request.method} {request.path.partition('?')[0]}")

    def _update_tags(self, request: Request, access: Access, action: Action, now: Instant) -> Response:
        _require_scope(access, WRITE_CONTACTS)
        document = read_json(request)
        check_location(document, self.world.location)
        rules = self.world.assumptions
        body = read_bulk(document, action, rules)
        if action is Action.ADD:
            refuse_unknown_tags(body.tags, self.world.known_tags, rules)
        rows = self.world.bulk(action, body.contacts, body.tags, now=now, by=access.name, everything=body.everything)
        self._bulk_writes += 1
        if rules.writes_refused_after_effect and self._bulk_writes % rules.writes_refused_after_effect == 0:
            raise RefusedRequest(422, [NOT_UPDATED])
        return json_response(201, self._bulk_document(rows, request.headers["version"]))

    def _bulk_document(self, rows: tuple[ResponseRow, ...], version: str) -> JsonObject:
        rules = self.world.assumptions
        document = bulk_answer(rows)
        # `succeded` is the vendor's spelling; from `v3` on the right one stands beside it
        if not rules.succeeds_with_errors:
            document["succeded"] = document["errorCount"] == 0
        if rules.spells_succeeded or not rules.spells_succeded or version == "v3":
            document["succeeded"] = document["succeded"]
        if not rules.spells_succeded:
            del document["succeded"]
        if not rules.counts_errors:
            document["errorCount"] = 0
        if rules.rows_as_text:
            document["responses"] = [json.dumps(row_document(row)) for row in rows]
        return document

    def _search_contacts(self, request: Request, access: Access, now: Instant) -> Response:
        _require_scope(access, READ_CONTACTS)
        document = read_json(request)
        check_location(document, self.world.location, in_search=True)
        return json_response(200, self._search.run(read_query(document, self.world), now))

    def _show_duplicate(self, request: Request, access: Access, now: Instant) -> Response:
        _require_scope(access, READ_CONTACTS)
        query = request.query
        check_location(dict(query), self.world.location)
        contact = find_duplicate(self.world, query, now)
        shown = None if contact is None else contact_document(contact, self.world.assumptions)
        return json_response(200, {"contact": shown})

    def _show_contact(self, contact: str, access: Access, now: Instant) -> Response:
        _require_scope(access, READ_CONTACTS)
        shown = contact_document(self._check_contact(contact, self.world.show(contact, now)), self.world.assumptions)
        rules = self.world.assumptions
        if rules.read_without_location:
            del shown["locationId"]
        # by the sum of its letters: the same contacts each time
        if rules.read_under_other_id and sum(contact.encode()) % rules.read_under_other_id == 0:
            shown["id"] = made_up_id(contact, "read")
        return json_response(200, {"contact": shown})

    def _change_contact(
        self, request: Request, contact: str, access: Access, now: Instant, *, adding: bool
    ) -> Response:
        _require_scope(access, WRITE_CONTACTS)
        tags = read_tags(read_json(request), self.world.assumptions)
        if adding:
            refuse_unknown_tags(tags, self.world.known_tags, self.world.assumptions)
        holder = self._check_contact(contact, self.world.find(contact)).id
        change = self.world.add if adding else self.world.remove
        return json_response(201 if adding else 200, {"tags": sorted(change(holder, tags, now=now, by=SOMEBODY))})

    def _location_tags(self, location: str, access: Access) -> Response:
        _require_scope(access, READ_TAGS)
        if location != self.world.location:
            raise RefusedRequest(403, NO_ACCESS)
        # every tag the location ever had: the vendor's list keeps one whose last holder lost it
        tags = [{"id": made_up_id(location, tag), "name": tag, "locationId": location} for tag in self.world.known_tags]
        return json_response(200, {"tags": tags})

    def _location_fields(self, request: Request, location: str, access: Access) -> Response:
        _require_scope(access, READ_FIELDS)
        if location != self.world.location:
            raise RefusedRequest(403, NO_ACCESS)
        # the location's fields for opportunities are none
        shown = self.world.custom_fields if request.query.get("model") != "opportunity" else ()
        return json_response(200, {"customFields": [field_document(custom, location) for custom in shown]})

    def _check_contact(self, named: str, contact: Contact | None) -> Contact:
        rules = self.world.assumptions
        if contact is None and self.world.lives_elsewhere(named):
            raise RefusedRequest(403, NO_ACCESS)
        if contact is None:
            raise RefusedRequest(rules.missing_contact_status, rules.missing_contact_message)
        if contact.location != self.world.location:
            raise RefusedRequest(403, NO_ACCESS)
        return contact


def bearer_token(request: Request) -> str:
    """The token that a request carries; empty where it carries none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _check_version(request: Request, rules: Assumptions) -> None:
    version = request.headers.get("version", "")
    if not version:
        raise RefusedRequest(401, NO_VERSION)
    if version not in _VERSIONS:
        raise RefusedRequest(rules.unknown_version_status, BAD_VERSION)


def _require_scope(access: Access, scope: str) -> None:
    if scope not in access.scopes:
        raise RefusedRequest(401, NO_SCOPE)
