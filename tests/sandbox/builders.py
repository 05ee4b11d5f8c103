"""Worlds, requests and readers that the tests of the sandbox share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.world import Contact, World

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
ELSEWHERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
ANNA, BERT, CARA = (ContactId(name * 5) for name in ("Anna", "Bert", "Cara"))
GONE, FOREIGN, NOBODY = (ContactId(name * 5) for name in ("Gone", "Away", "None"))
NOW = Instant(1_795_000_000_000)
HEADERS = {"authorization": f"Bearer {DEMO_TOKEN}", "version": "2021-07-28", "content-type": "application/json"}


def contact(name: str, *tags: str, location: LocationId = HERE, deleted: bool = False) -> Contact:
    since = Instant(NOW - 86_400_000)
    return Contact(ContactId(name), location, frozenset(map(Tag, tags)), since, since, since if deleted else None)


def a_world(**assumptions: Any) -> World:
    """Anna with a, Bert with a and b, Cara with nothing; one deleted, one of another location."""
    contacts = [
        contact(ANNA, "a"),
        contact(BERT, "a", "b"),
        contact(CARA),
        contact(GONE, "a", deleted=True),
        contact(FOREIGN, "a", location=ELSEWHERE),
    ]
    return World(HERE, contacts, assumptions=Assumptions(**assumptions))


def call(
    app: App,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str | None] | None = None,
    now: int = NOW,
) -> Response:
    """One request; a header given as None is left out, a body given as bytes is sent as it is."""
    merged = HEADERS | dict(headers or {})
    sent = {name: value for name, value in merged.items() if value is not None}
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return app.handle(Request(method, path, sent, raw), Instant(now))


def bulk(app: App, action: str, contacts: list[str], tags: list[str], **more: Any) -> Response:
    body = {"contacts": contacts, "tags": tags, "locationId": HERE}
    return call(app, "POST", f"/contacts/bulk/tags/update/{action}", body, **more)


def document(response: Response) -> dict[str, Any]:
    found = json.loads(response.body)
    assert isinstance(found, dict)
    return found
