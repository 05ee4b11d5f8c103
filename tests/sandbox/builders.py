"""Worlds, requests and readers that the tests of the sandbox share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.core.model.names import Instant, LocationId
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.saved_world import load_locations, save_locations
from reconciler.sandbox.world import World
from tests.build import CUSTOMER_FIELD, HERE, NOW, contact, name, person

ELSEWHERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
ANNA, BERT, CARA, DORA = map(name, ("Anna", "Bert", "Cara", "Dora"))
GONE, FOREIGN, NOBODY = map(name, ("Gone", "Away", "None"))
HEADERS = {"authorization": f"Bearer {DEMO_TOKEN}", "version": "2021-07-28", "content-type": "application/json"}


def a_world(**assumptions: Any) -> World:
    """Anna with a, Bert with a and b, Cara with nothing; one deleted, one of another location."""
    contacts = [
        contact(ANNA, "a"),
        contact(BERT, "a b"),
        contact(CARA),
        contact(GONE, "a", deleted=True),
        contact(FOREIGN, "a", location=ELSEWHERE),
    ]
    return World(HERE, contacts, assumptions=Assumptions(**assumptions))


def a_peopled_world(**assumptions: Any) -> World:
    """Anna has two of all; Bert and Cara share an e-mail; Dora has nothing; the deleted one had Anna's e-mail."""
    contacts = [
        contact(ANNA, person=person("anna@example.com Anna@example.org", "+442079460001 +442079460002", "K-1")),
        contact(BERT, person=person("both@example.com", "+12025550101")),
        contact(CARA, person=person("both@example.com", customer_no="K-2")),
        contact(DORA),
        contact(GONE, deleted=True, person=person("anna@example.com", "+12025550102", "K-3")),
        contact(FOREIGN, location=ELSEWHERE, person=person("away@example.com", "+12025550103", "K-4")),
    ]
    return World(HERE, contacts, assumptions=Assumptions(**assumptions), custom_fields=[CUSTOMER_FIELD])


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


def save_world(path: Path, world: World) -> None:
    save_locations(path, [App(world)])


def load_world(path: Path) -> World:
    """The world of the one location at `path`."""
    (only,) = load_locations(path)
    return only.world
