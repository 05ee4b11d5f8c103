"""A plan of faults is the same for ever; what was lost had the effect that its name says."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import Instant
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.messages import Loss, Request, Response
from tests.build import HERE, NOW
from tests.sandbox.builders import ANNA, BERT, GONE, HEADERS, a_world
from tests.sandbox.faults import EVERYDAY, Fault, FaultKind, FaultPlan, Network


def add(tag: str) -> Request:
    body = f'{{"contacts": ["{ANNA}"], "tags": ["{tag}"], "locationId": "asdrwHvLUxlfw5SqKVCN"}}'
    return Request("POST", "/contacts/bulk/tags/update/add", HEADERS, body.encode())


@pytest.mark.slow
@given(st.integers(), st.lists(st.integers(0, 500), max_size=20))
def test_a_seed_decides_in_any_order(seed: int, asked: list[int]) -> None:
    plan = FaultPlan(seed=seed, rate=0.5)
    in_order = [plan.at(nth) for nth in range(501)]

    assert [plan.at(nth) for nth in asked] == [in_order[nth] for nth in asked]


def test_a_seed_meets_every_kind_at_about_its_rate() -> None:
    plan = FaultPlan(seed=7, rate=0.2)
    faults = [fault for nth in range(2_000) if (fault := plan.at(nth))]

    assert {fault.kind for fault in faults} == set(EVERYDAY)
    assert 300 < len(faults) < 500


def test_only_the_named_path_is_counted() -> None:
    network = Network(App(a_world()), FaultPlan({1: Fault(FaultKind.RESET_BEFORE)}, path="/contacts/bulk/"))
    read = Request("GET", f"/contacts/{ANNA}", HEADERS)
    losses = [network.handle(request, NOW).loss for request in (read, add("x"), read, add("y"))]

    assert losses == [None, None, None, Loss.RESET]
    assert network.met == [(1, Fault(FaultKind.RESET_BEFORE))]


def test_late_effects_land_in_the_order_in_which_they_are_due() -> None:
    plan = FaultPlan({0: Fault(FaultKind.LATE, delay_ms=9_000), 1: Fault(FaultKind.LATE, delay_ms=5_000)})
    network = Network(App(a_world()), plan)
    network.handle(add("slow"), NOW)
    network.handle(add("quick"), NOW)
    network.handle(Request("GET", "/", HEADERS), Instant(NOW + 10_000))

    log = network.app.world.transitions
    assert [(change.tag, change.at - NOW) for change in log] == [("quick", 5_000), ("slow", 9_000)]


def test_a_late_request_counts_when_it_arrives() -> None:
    app = App(a_world(), limits=Limits(requests=1))
    network = Network(app, FaultPlan({0: Fault(FaultKind.LATE), 1: Fault(FaultKind.LATE)}))
    first, second = network.handle(add("x"), NOW), network.handle(add("y"), NOW)

    assert first.loss is Loss.TIMEOUT
    assert second.response is not None
    assert second.response.status == 429


@given(st.sampled_from(EVERYDAY), st.sampled_from((b"", b"{", b"[]", b"7", b'{"contacts": 3}', b"[" * 50_000)))
def test_no_body_breaks_a_fault(kind: FaultKind, body: bytes) -> None:
    network = Network(App(a_world()), FaultPlan({0: Fault(kind)}))
    delivery = network.handle(Request("POST", "/contacts/bulk/tags/update/add", HEADERS, body), NOW)

    assert (delivery.response is None) <= (delivery.loss is not None)


def told(fault: Fault, request: Request | None = None, **assumptions: bool) -> tuple[App, Response]:
    """The answer to a request that meets the fault."""
    app = App(a_world(**assumptions))
    asked = request or Request("POST", "/contacts/bulk/tags/update/add", HEADERS, json.dumps(BOTH).encode())
    delivery = Network(app, FaultPlan({0: fault})).handle(asked, NOW)
    assert delivery.response is not None
    return app, delivery.response


BOTH = {"contacts": [ANNA, BERT], "tags": ["x"], "locationId": HERE}


@pytest.mark.parametrize(
    ("fault", "changed", "message"),
    [
        (Fault(FaultKind.REFUSED_AFTER), [ANNA, BERT], "Bad Request"),
        (Fault(FaultKind.REFUSED_AFTER, 422), [ANNA, BERT], ["Bad Request"]),
        (Fault(FaultKind.REFUSED_HALFWAY), [ANNA], "Bad Request"),
        (Fault(FaultKind.REFUSED_HALFWAY, 422), [ANNA], ["Bad Request"]),
        (Fault(FaultKind.REFUSED_LATE, 409), [], "Bad Request"),
        (Fault(FaultKind.UNFOUND), [], "Contact not found"),
        (Fault(FaultKind.UNFOUND, 422), [], ["Contact not found"]),
        (Fault(FaultKind.TRY_LATER), [], "Please try again later"),
        (Fault(FaultKind.TRY_LATER, 409), [], "Please try again later"),
        (Fault(FaultKind.TRY_LATER, 422), [], ["Please try again later"]),
    ],
)
def test_a_refusal_says_nothing_of_the_effect(fault: Fault, changed: list[str], message: object) -> None:
    app, response = told(fault)

    assert [change.contact for change in app.world.transitions] == changed
    assert response.status == (fault.status or 400)
    assert json.loads(response.body)["message"] == message


def test_what_was_refused_may_land_later() -> None:
    network = Network(App(a_world()), FaultPlan({0: Fault(FaultKind.REFUSED_LATE, delay_ms=9_000)}))
    delivery = network.handle(add("x"), NOW)
    assert delivery.response is not None
    assert (delivery.response.status, network.app.world.transitions) == (400, [])
    network.land(Instant(NOW + 9_000))
    assert [(change.contact, change.at - NOW) for change in network.app.world.transitions] == [(ANNA, 9_000)]


def test_a_contact_that_is_there_may_be_said_not_to_be() -> None:
    app, response = told(Fault(FaultKind.UNFOUND, 404), Request("GET", f"/contacts/{ANNA}", HEADERS))

    assert (response.status, app.world.find(ANNA) is None) == (404, False)
    assert json.loads(response.body)["message"] == "Contact not found"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [200, 400, 404, 422])
def test_a_gateway_answers_with_a_page_of_its_own(method: str, status: int) -> None:
    request = add("x") if method == "POST" else Request("GET", f"/contacts/{ANNA}", HEADERS)
    app, response = told(Fault(FaultKind.GATEWAY, status), request)

    assert (response.status, response.kind, app.world.transitions) == (status, "text/html", [])
    assert response.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("as_text", [False, True])
def test_a_row_may_say_the_token(*, as_text: bool) -> None:
    _app, response = told(Fault(FaultKind.TOKEN_ECHOED), rows_as_text=as_text)

    assert [DEMO_TOKEN in str(row) for row in json.loads(response.body)["responses"]] == [True, True]


def test_a_refusal_may_say_the_token() -> None:
    _app, response = told(Fault(FaultKind.TOKEN_ECHOED), Request("GET", f"/contacts/{GONE}", HEADERS))

    assert json.loads(response.body)["message"] == f"Contact not found (Bearer {DEMO_TOKEN})"


@pytest.mark.slow
def test_a_bomb_is_small_until_it_is_unpacked() -> None:
    app, response = told(Fault(FaultKind.BOMB))
    unpacked = gzip.decompress(response.body)

    assert len(app.world.transitions) == 2
    assert dict(response.headers)["Content-Encoding"] == "gzip"
    assert len(response.body) < 100_000
    assert len(unpacked) > 64 * 1024 * 1024
    assert json.loads(unpacked)["errorCount"] == 0
