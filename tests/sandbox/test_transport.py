"""The client sees what a network would show it: answers, and the exceptions of httpx."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Action
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.wire import BulkUpdate, bulk_body, bulk_path, read_bulk_answer
from tests.build import HERE, NOW
from tests.sandbox.builders import ANNA, BERT, a_world
from tests.sandbox.faults import Fault, FaultKind, FaultPlan, Network
from tests.sandbox.transport import SandboxTransport

UPDATE = BulkUpdate(Action.ADD, HERE, (ANNA, BERT), ("x",))
HEADERS = {"Authorization": f"Bearer {DEMO_TOKEN}", "Version": "2021-07-28", "Content-Type": "application/json"}


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.ms = int(NOW)

    def now(self) -> Instant:
        return Instant(self.ms)

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


def send(transport: SandboxTransport) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", timeout=60) as client:
            return await client.post(bulk_path(UPDATE), content=bulk_body(UPDATE), headers=HEADERS)

    return asyncio.run(run())


def faulty(kind: FaultKind) -> tuple[App, SandboxTransport, Clock]:
    app, clock = App(a_world()), Clock()
    network = Network(app, FaultPlan({0: Fault(kind)}))
    return app, SandboxTransport(network, now=clock.now, sleep=clock.sleep), clock


def test_an_answer_arrives_with_its_headers() -> None:
    clock = Clock()
    response = send(SandboxTransport(App(a_world()), now=clock.now, sleep=clock.sleep, latency_ms=2_000))

    assert response.status_code == 201
    assert response.headers["x-ratelimit-remaining"] == "99"
    assert [row.type for row in read_bulk_answer(response.content)] == ["success", "success"]
    assert clock.ms == NOW + 2_000


@pytest.mark.parametrize(
    ("kind", "raised", "effect", "took_ms"),
    [
        (FaultKind.REFUSED, httpx.ConnectError, False, 0),
        (FaultKind.TIMEOUT_BEFORE, httpx.ReadTimeout, False, 60_000),
        (FaultKind.TIMEOUT_AFTER, httpx.ReadTimeout, True, 60_000),
        (FaultKind.LATE, httpx.ReadTimeout, False, 60_000),
        (FaultKind.RESET_BEFORE, httpx.ReadError, False, 0),
        (FaultKind.RESET_AFTER, httpx.ReadError, True, 0),
        (FaultKind.TRUNCATED, httpx.RemoteProtocolError, True, 0),
    ],
)
def test_a_lost_answer_is_an_exception(
    kind: FaultKind, raised: type[httpx.TransportError], effect: bool, took_ms: int
) -> None:
    app, transport, clock = faulty(kind)
    with pytest.raises(raised):
        send(transport)

    assert bool(app.world.transitions) is effect
    assert clock.ms == NOW + took_ms


@pytest.mark.parametrize(
    ("kind", "status", "changed"),
    [
        (FaultKind.ERROR_BEFORE, 503, []),
        (FaultKind.ERROR_AFTER, 503, [ANNA, BERT]),
        (FaultKind.ERROR_HALFWAY, 503, [ANNA]),
        (FaultKind.TOO_MANY, 429, []),
        (FaultKind.UNREADABLE, 201, [ANNA, BERT]),
    ],
)
def test_a_fault_with_an_answer(kind: FaultKind, status: int, changed: list[str]) -> None:
    app, transport, _clock = faulty(kind)
    response = send(transport)

    assert response.status_code == status
    assert [change.contact for change in app.world.transitions] == changed


def test_a_late_effect_lands_when_it_is_due() -> None:
    app, transport, _clock = faulty(FaultKind.LATE)
    with pytest.raises(httpx.ReadTimeout):
        send(transport)
    transport.network.land(Instant(NOW + 29_999))
    before = len(app.world.transitions)
    transport.network.land(Instant(NOW + 30_000))

    assert (before, [change.at for change in app.world.transitions]) == (0, [NOW + 30_000] * 2)


def test_without_sleep_nothing_waits() -> None:
    plan = FaultPlan({0: Fault(FaultKind.TIMEOUT_BEFORE)})
    with pytest.raises(httpx.ReadTimeout):
        send(SandboxTransport(Network(App(a_world()), plan), now=lambda: NOW, latency_ms=5_000))
