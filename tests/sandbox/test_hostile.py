"""Whatever is asked, and in whatever shape, the app answers with JSON and a status of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import Instant
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import App
from reconciler.sandbox.messages import Request
from tests.build import HERE, NOW
from tests.sandbox.builders import ANNA, HEADERS, a_world, call, document

PATHS = (
    "/contacts/bulk/tags/update/add",
    "/contacts/bulk/tags/update/remove",
    "/contacts/search",
    f"/contacts/{ANNA}",
    f"/contacts/{ANNA}/tags",
    f"/locations/{HERE}/tags",
)
KEYS = ("contacts", "tags", "locationId", "removeAllTags", "pageLimit", "page", "searchAfter", "filters", "value")
STATUSES = {200, 201, 400, 401, 403, 404, 422, 429}

leaves = (
    st.sampled_from((None, True, 0, 1, 500, -1, 10**40, 1.5, HERE, ANNA, "a", "tags", "\ud800", "\0"))
    | st.text(max_size=5)
    | st.integers()
)
bodies = st.dictionaries(
    st.sampled_from(KEYS),
    st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(("field", "operator", "value")), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)


def check(app: App, method: str, path: str, body: object) -> int:
    response = call(app, method, path, body)
    assert response.status in STATUSES
    assert isinstance(json.loads(response.body), dict)
    return response.status


@given(st.sampled_from(("GET", "POST", "DELETE", "PUT", "")), st.sampled_from(PATHS), bodies)
def test_any_document_is_answered(method: str, path: str, body: dict[str, Any]) -> None:
    check(App(a_world()), method, path, {"locationId": HERE} | body)


@given(st.sampled_from(PATHS), st.binary(max_size=200))
def test_any_bytes_are_answered(path: str, body: bytes) -> None:
    check(App(a_world()), "POST", path, body)


@given(st.text(max_size=30), st.dictionaries(st.sampled_from(tuple(HEADERS)), st.text(max_size=20)))
def test_any_path_and_headers_are_answered(path: str, headers: dict[str, str]) -> None:
    app = App(a_world())
    assert app.handle(Request("GET", path, headers), NOW).status in STATUSES
    assert app.handle(Request("GET", path, HEADERS), NOW).status in STATUSES


@pytest.mark.parametrize("path", PATHS[:3])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"contacts":' * 200_000,
        b'{"locationId": ' + b"9" * 100_000 + b"}",
        b'{"filters": ' + b"[" * 900 + b"]" * 900 + b"}",
        json.dumps({"locationId": HERE, "tags": ["x" * 2_000_000], "contacts": ["y" * 2_000_000]}).encode(),
        json.dumps({"locationId": HERE, "tags": ["x"] * 100_000, "contacts": [ANNA] * 100_000}).encode(),
    ],
)
def test_deep_and_huge_bodies_are_refused(path: str, body: bytes) -> None:
    app = App(a_world(), limits=Limits(requests=1_000))
    status = check(app, "POST", path, body)

    assert status in {201, 400, 422}
    assert check(app, "GET", f"/contacts/{ANNA}", None) == 200


@given(st.integers(-(10**15), 10**14))
def test_any_moment_is_answered(at: int) -> None:
    app = App(a_world())
    assert app.handle(Request("GET", f"/contacts/{ANNA}", HEADERS), Instant(at)).status == 200
    assert document(call(app, "POST", f"/contacts/{ANNA}/tags", {"tags": ["x"]}, now=at))["tags"] == ["a", "x"]
