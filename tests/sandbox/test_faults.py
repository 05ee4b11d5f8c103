"""A plan of faults is the same for ever; what was lost had the effect that its name says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.names import Instant
from reconciler.sandbox.app import App
from reconciler.sandbox.faults import Fault, FaultPlan, Kind, Loss, Network
from reconciler.sandbox.limiter import Limits
from reconciler.sandbox.message import Request
from tests.sandbox.builders import ANNA, HEADERS, NOW, a_world


def add(tag: str) -> Request:
    body = f'{{"contacts": ["{ANNA}"], "tags": ["{tag}"], "locationId": "asdrwHvLUxlfw5SqKVCN"}}'
    return Request("POST", "/contacts/bulk/tags/update/add", HEADERS, body.encode())


@given(st.integers(), st.lists(st.integers(0, 500), max_size=20))
def test_a_seed_decides_in_any_order(seed: int, asked: list[int]) -> None:
    plan = FaultPlan(seed=seed, rate=0.5)
    in_order = [plan.at(nth) for nth in range(501)]

    assert [plan.at(nth) for nth in asked] == [in_order[nth] for nth in asked]


def test_a_seed_meets_every_kind_at_about_its_rate() -> None:
    plan = FaultPlan(seed=7, rate=0.2)
    faults = [fault for nth in range(2_000) if (fault := plan.at(nth))]

    assert {fault.kind for fault in faults} == set(Kind)
    assert 300 < len(faults) < 500


def test_only_the_named_path_is_counted() -> None:
    network = Network(App(a_world()), FaultPlan({1: Fault(Kind.RESET_BEFORE)}, path="/contacts/bulk/"))
    read = Request("GET", f"/contacts/{ANNA}", HEADERS)
    losses = [network.handle(request, NOW).loss for request in (read, add("x"), read, add("y"))]

    assert losses == [None, None, None, Loss.RESET]
    assert network.met == [(1, Fault(Kind.RESET_BEFORE))]


def test_late_effects_land_in_the_order_in_which_they_are_due() -> None:
    plan = FaultPlan({0: Fault(Kind.LATE, delay_ms=9_000), 1: Fault(Kind.LATE, delay_ms=5_000)})
    network = Network(App(a_world()), plan)
    network.handle(add("slow"), NOW)
    network.handle(add("quick"), NOW)
    network.handle(Request("GET", "/", HEADERS), Instant(NOW + 10_000))

    log = network.app.world.transitions
    assert [(change.tag, change.at - NOW) for change in log] == [("quick", 5_000), ("slow", 9_000)]


def test_a_late_request_counts_when_it_arrives() -> None:
    app = App(a_world(), limits=Limits(requests=1))
    network = Network(app, FaultPlan({0: Fault(Kind.LATE), 1: Fault(Kind.LATE)}))
    first, second = network.handle(add("x"), NOW), network.handle(add("y"), NOW)

    assert first.loss is Loss.TIMEOUT
    assert second.response is not None
    assert second.response.status == 429


@given(st.sampled_from(Kind), st.sampled_from((b"", b"{", b"[]", b"7", b'{"contacts": 3}', b"[" * 50_000)))
def test_no_body_breaks_a_fault(kind: Kind, body: bytes) -> None:
    network = Network(App(a_world()), FaultPlan({0: Fault(kind)}))
    delivery = network.handle(Request("POST", "/contacts/bulk/tags/update/add", HEADERS, body), NOW)

    assert (delivery.response is None) <= (delivery.loss is not None)
