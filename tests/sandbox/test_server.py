"""The server speaks HTTP to any client, survives hostile ones, and stops without cutting answers off."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Action
from reconciler.sandbox import HOST, Running, in_background
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.connection import MOST_BODY
from reconciler.wire import BulkUpdate, bulk_body, bulk_path, read_bulk_answer
from tests.build import HERE
from tests.sandbox.builders import ANNA, BERT, a_world
from tests.sandbox.faults import Fault, FaultKind, FaultPlan, Network

HEADERS = {"Authorization": f"Bearer {DEMO_TOKEN}", "Version": "2021-07-28", "Content-Type": "application/json"}
UPDATE = BulkUpdate(Action.ADD, HERE, (ANNA, BERT), ("x",))
HEAD = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
GET = f"GET /contacts/{ANNA} HTTP/1.1\r\nHost: x\r\n{HEAD}\r\n".encode()

OWN_PROCESS = """
from reconciler.sandbox.app import App
from reconciler.sandbox.saved_world import make_world
from reconciler.sandbox import run
run(App(make_world("asdrwHvLUxlfw5SqKVCN", [], seed=1)), port=0, ready=lambda port: print(port, flush=True))
print("saved")
"""


def an_app() -> App:
    return App(a_world(), limits=Limits(requests=1_000_000, requests_per_day=1_000_000))


@pytest.fixture
def running() -> Iterator[Running]:
    with in_background(an_app()) as found:
        yield found


@contextmanager
def a_client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, headers=HEADERS, trust_env=False, timeout=5) as client:
        yield client


def raw(running: Running, *parts: bytes) -> bytes:
    """Everything that the server says to these bytes until it closes, after we have closed our side."""
    with socket.create_connection((HOST, running.port), timeout=5) as link:
        try:
            for part in parts:
                link.sendall(part)
            link.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has already said no
        said = b""
        while chunk := link.recv(65_536):
            said += chunk
    return said


def test_a_client_writes_and_reads_over_one_connection(running: Running) -> None:
    with a_client(running) as client:
        added = client.post(bulk_path(UPDATE), content=bulk_body(UPDATE))
        shown = client.get(f"/contacts/{ANNA}")

    assert [row.added for row in read_bulk_answer(added.content)] == [{"x"}, {"x"}]
    assert shown.json()["contact"]["tags"] == ["a", "x"]
    assert shown.headers["x-ratelimit-daily-remaining"] == "999998"


def test_somebody_else_acts_between_requests(running: Running) -> None:
    tags = running.do(lambda world, now: world.add(ANNA, ["y"], now=now, by="somebody"))

    assert tags == running.world.tags_of(ANNA) == {"a", "y"}


def test_a_failure_of_somebody_else_comes_back(running: Running) -> None:
    with pytest.raises(KeyError):
        running.do(lambda world, now: world.add("nobody", ["y"], now=now, by="somebody"))


def test_it_listens_on_loopback_only(running: Running) -> None:
    assert running.url == f"http://127.0.0.1:{running.port}"


def test_a_chunked_body_is_read(running: Running) -> None:
    with a_client(running) as client:
        body = bulk_body(UPDATE)
        response = client.post(bulk_path(UPDATE), content=iter([body[:9], body[9:]]))

    assert response.status_code == 201


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    said = raw(running, GET * 50)

    assert said.count(b"HTTP/1.1 200") == 50


def test_a_client_that_waits_to_send_its_body_is_encouraged(running: Running) -> None:
    body = bulk_body(UPDATE)
    head = f"POST {bulk_path(UPDATE)} HTTP/1.1\r\nHost: x\r\n{HEAD}Expect: 100-continue\r\n"
    with socket.create_connection((HOST, running.port), timeout=5) as link:
        link.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        first = link.recv(1_000)
        link.sendall(body)
        second = link.recv(10_000)

    assert first.startswith(b"HTTP/1.1 100")
    assert second.startswith(b"HTTP/1.1 201")


def test_head_has_no_body(running: Running) -> None:
    said = raw(running, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", GET)

    assert said.startswith(b"HTTP/1.1 401")
    assert b"HTTP/1.1 200" in said.partition(b"\r\n\r\n")[2]


def test_a_huge_body_is_refused_and_the_server_lives(running: Running) -> None:
    head = f"POST {bulk_path(UPDATE)} HTTP/1.1\r\nHost: x\r\n{HEAD}Content-Length: {MOST_BODY * 3}\r\n\r\n"
    said = raw(running, head.encode(), b"x" * (MOST_BODY * 3))

    assert said.startswith(b"HTTP/1.1 413")
    assert raw(running, GET).startswith(b"HTTP/1.1 200")


def test_endless_headers_are_refused(running: Running) -> None:
    assert raw(running, b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "junk",
    [b"\x16\x03\x01\x02\x00", b"\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"],
)
def test_what_is_not_http_is_refused(running: Running, junk: bytes) -> None:
    assert raw(running, junk).partition(b"\r\n")[0] in {b"HTTP/1.1 400 ", b""}
    assert raw(running, GET).startswith(b"HTTP/1.1 200")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_random_bytes_do_not_stop_it(running: Running, first: bytes, second: bytes, framed: bool) -> None:
    head = f"POST /contacts/search HTTP/1.1\r\nHost: x\r\n{HEAD}Content-Length: {len(first)}\r\n\r\n".encode()
    raw(running, head if framed else b"", first, second)

    assert raw(running, GET).startswith(b"HTTP/1.1 200")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("kind", "raised", "effect"),
    [
        (FaultKind.TIMEOUT_BEFORE, httpx.ReadTimeout, False),
        (FaultKind.TIMEOUT_AFTER, httpx.ReadTimeout, True),
        (FaultKind.RESET_BEFORE, httpx.ReadError, False),
        (FaultKind.RESET_AFTER, httpx.ReadError, True),
        (FaultKind.TRUNCATED, httpx.RemoteProtocolError, True),
    ],
)
def test_a_fault_is_seen_as_on_a_network(kind: FaultKind, raised: type[httpx.TransportError], effect: bool) -> None:
    network = Network(an_app(), FaultPlan({0: Fault(kind)}))
    with in_background(network) as running, a_client(running) as client:
        with pytest.raises(raised):
            client.post(bulk_path(UPDATE), content=bulk_body(UPDATE), timeout=0.2)
        assert client.get(f"/contacts/{ANNA}").status_code == 200

    assert bool(network.app.world.transitions) is effect


def test_an_answer_under_way_leaves_before_the_stop() -> None:
    arrived = threading.Event()

    def now() -> Instant:
        arrived.set()
        return Instant(0)

    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        with in_background(an_app(), latency_ms=200, now=now) as running:
            client = stack.enter_context(a_client(running))
            answer = pool.submit(client.get, f"/contacts/{ANNA}")
            # the effect is there and half of the latency is left: stop now
            assert arrived.wait(5)

        assert answer.result(5).status_code == 200
        assert answer.result().headers["connection"] == "close"


def test_a_port_in_use_is_a_clear_error(running: Running) -> None:
    with pytest.raises(ReconcilerError) as caught, in_background(an_app(), port=running.port):
        pass

    assert caught.value.message == f"port {running.port} on 127.0.0.1 is in use"
    assert "another port" in caught.value.hint


@pytest.mark.parametrize("port", [-1, 65_536, 10**12])
def test_a_port_that_is_none_is_a_clear_error(port: int) -> None:
    with pytest.raises(ReconcilerError, match="cannot listen"), in_background(an_app(), port=port):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_of_its_own_ends_well_on_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", OWN_PROCESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        answer = httpx.get(f"http://{HOST}:{port}/contacts/{ANNA}", headers=HEADERS, trust_env=False)
        process.send_signal(number)
        said = process.stdout.read()

    assert (answer.status_code, said, process.returncode) == (400, "saved\n", 0)


@pytest.mark.slow
def test_the_port_is_free_again_afterwards() -> None:
    with in_background(an_app()) as running, a_client(running) as client:
        client.get("/")
    with in_background(an_app(), port=running.port) as again, a_client(again) as client:
        assert client.get(f"/contacts/{ANNA}").status_code == 200
