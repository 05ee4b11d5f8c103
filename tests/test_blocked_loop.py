"""A loop that is blocked for longer than the time-out: an answer that waits in the socket is read all the same."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Action
from reconciler.core.running.pace import Pace
from reconciler.highlevel.client import HighLevel
from reconciler.highlevel.http_client import (
    LISTENING_STEPS,
    HttpAnswer,
    HttpClient,
    NoAnswer,
    Proxy,
    Unsent,
    read_proxy,
)
from reconciler.request_gate import NoLease, RequestGate
from reconciler.system import SystemClock
from reconciler.wire import BulkUpdate
from tests.build import HERE
from tests.tls import make_certificate

TIMEOUT_S = 60.0
AT_MOST_S = 30.0
T = TypeVar("T")


class BlockableLoop(asyncio.SelectorEventLoop):
    """A loop that a test blocks; its time goes on by as much as the block is to last."""

    missed_s = 0.0

    def time(self) -> float:
        return super().time() + self.missed_s

    def block(self, meeting: Meeting, seconds: float = 10 * TIMEOUT_S) -> None:
        meeting.blocked.set()
        assert meeting.done.wait(AT_MOST_S)
        self.missed_s += seconds


@dataclass(frozen=True, slots=True)
class Meeting:
    """Server and client meet at `reached`; the server does its part while the loop is `blocked`, until it is `done`."""

    reached: Event = field(default_factory=Event)
    blocked: Event = field(default_factory=Event)
    done: Event = field(default_factory=Event)

    def arrive(self) -> None:
        """The server's side: returns once the loop is blocked."""
        self.reached.set()
        assert self.blocked.wait(AT_MOST_S)


Serve = Callable[[socket.socket], None]
BODY = b'{"responses": []}'
HUGE = b'{"responses": [' + b" " * 8_000_000 + b"]}"


def read_request(connection: socket.socket) -> bytes:
    """A whole request."""
    received = read_head(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += receive(connection)
    return body


def read_head(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += receive(connection)
    return received


def receive(connection: socket.socket) -> bytes:
    """Raises ConnectionError where the other side has closed: asking again and again gives nothing, at once."""
    if received := connection.recv(1_000_000):
        return received
    raise ConnectionError("closed")


def head_of(body: bytes) -> bytes:
    return b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)


@contextmanager
def a_server(serve: Serve, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server in a thread; `serve` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted, _ = listening.accept()
                    Thread(target=talk, args=(accepted,), daemon=True).start()

        def talk(accepted: socket.socket) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(accepted, server_side=True) if context else accepted as connection,
            ):
                serve(connection)

        accepting = Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            # closing alone does not wake up who accepts
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join(AT_MOST_S)


@contextmanager
def a_proxy() -> Iterator[Proxy]:
    """A proxy that tunnels."""

    def serve(connection: socket.socket) -> None:
        _, target, _ = read_head(connection).split(b" ", 2)
        host, _, port = target.decode().partition(":")
        with socket.create_connection((host, int(port))) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            Thread(target=carry, args=(onward, connection), daemon=True).start()
            carry(connection, onward)

    def carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with a_server(serve) as url:
        yield read_proxy(url)


@dataclass(frozen=True, slots=True)
class Network:
    """How the server is reached: as it is, by TLS, or by TLS through a proxy."""

    client: ssl.SSLContext
    server: ssl.SSLContext | None = None
    proxied: bool = False

    async def ask(self, url: str, proxy: Proxy | None, body: bytes | None, timeout_s: float) -> HttpAnswer:
        client = HttpClient(url, version="1", timeout_s=timeout_s, context=self.client, proxy=proxy)
        try:
            return await client.ask("POST", "/", body, token="secret")
        finally:
            await client.close()

    @contextmanager
    def serving(self, serve: Serve) -> Iterator[Callable[..., Awaitable[HttpAnswer]]]:
        """What asks the server, once."""
        with a_server(serve, self.server) as url, a_proxy() as proxy:

            def ask(body: bytes | None = b"{}", timeout_s: float = TIMEOUT_S) -> Awaitable[HttpAnswer]:
                return self.ask(url, proxy if self.proxied else None, body, timeout_s)

            yield ask


@pytest.fixture(params=["plain", "tls", "tls by proxy"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Network:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if request.param == "plain":
        return Network(trusting)
    certificate, server = make_certificate(tmp_path, "127.0.0.1")
    trusting.load_verify_locations(certificate)
    return Network(trusting, server, proxied=request.param == "tls by proxy")


def run(work: Callable[[BlockableLoop], Awaitable[T]]) -> T:
    async def within() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, BlockableLoop)
        return await work(loop)

    with asyncio.Runner(loop_factory=BlockableLoop) as runner:
        return runner.run(within())


def run_blocked(asking: Callable[[], Awaitable[T]], meeting: Meeting, *, steps: int = 0) -> T:
    """What `asking` gives; the loop is blocked from the meeting on until the server has done its part.

    `steps`: so much of the time-out is over by then.
    """

    async def work(loop: BlockableLoop) -> T:
        task = asyncio.ensure_future(asking())
        assert await asyncio.to_thread(meeting.reached.wait, AT_MOST_S)
        for _ in range(steps):
            loop.missed_s += TIMEOUT_S / LISTENING_STEPS
            await asyncio.sleep(0)
        loop.block(meeting)
        return await task

    return run(work)


@pytest.mark.parametrize("steps", [0, LISTENING_STEPS - 1, LISTENING_STEPS])
def test_an_answer_that_came_while_the_loop_was_blocked_is_read(network: Network, steps: int) -> None:
    meeting = Meeting()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        meeting.arrive()
        connection.sendall(head_of(BODY) + BODY)
        meeting.done.set()

    with network.serving(serve) as ask:
        assert run_blocked(ask, meeting, steps=steps).body == BODY


@pytest.mark.one_in(2)
@pytest.mark.parametrize("body", [BODY, HUGE], ids=["small", "huge"])
def test_so_is_one_whose_body_came_in_pieces(network: Network, body: bytes) -> None:
    meeting = Meeting()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head_of(body) + body[:9])
        meeting.arrive()
        # what no socket holds is sent once the client reads again
        meeting.done.set()
        for start in range(9, len(body), 1_000_000):
            connection.sendall(body[start : start + 1_000_000])

    with network.serving(serve) as ask:
        assert run_blocked(ask, meeting).body == body


@pytest.mark.slow
def test_a_request_that_was_being_sent_goes_on_and_is_answered(network: Network) -> None:
    meeting, received = Meeting(), bytearray()

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        meeting.arrive()
        meeting.done.set()
        received.extend(read_request(connection))
        connection.sendall(head_of(BODY) + BODY)

    with network.serving(serve) as ask:
        assert run_blocked(lambda: ask(HUGE), meeting).body == BODY
    assert bytes(received) == HUGE


@pytest.mark.one_in(7)
@pytest.mark.parametrize("hops", range(0, 40, 2))
def test_wherever_it_was_blocked_a_request_is_answered_or_never_left(network: Network, hops: int) -> None:
    """After so many hops to a thread and back: while it connects, agrees on TLS, sends, or waits."""
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(head_of(BODY) + BODY)

    async def work(loop: BlockableLoop) -> HttpAnswer:
        task = asyncio.ensure_future(ask())
        for _ in range(hops):
            await asyncio.to_thread(int)
        loop.missed_s += 10 * TIMEOUT_S
        return await task

    with network.serving(serve) as ask:
        try:
            assert run(work).body == BODY
        except Unsent:
            assert not requests


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_given_up_at_the_time_out(network: Network) -> None:
    over = Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        over.wait(AT_MOST_S)

    async def work(loop: BlockableLoop) -> float:
        began = loop.time()
        with pytest.raises(NoAnswer, match=r"^nothing came within the time-out$") as caught:
            await ask(timeout_s=0.5)
        assert not isinstance(caught.value, Unsent)
        return loop.time() - began

    with network.serving(serve) as ask:
        assert 0.5 <= run(work) < 1.5
    over.set()


@pytest.mark.slow
def test_so_is_one_that_never_ends_its_answer(network: Network) -> None:
    over = Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head_of(HUGE))
        while not over.wait(0.01):
            connection.sendall(b" ")

    with network.serving(serve) as ask, pytest.raises(NoAnswer):
        run(lambda loop: ask(timeout_s=0.3))
    over.set()


@pytest.mark.slow
def test_a_request_that_a_proxy_never_carries_on_was_not_sent() -> None:
    over = Event()

    def hold(connection: socket.socket) -> None:
        read_head(connection)
        over.wait(AT_MOST_S)

    network = Network(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with a_server(hold) as url, pytest.raises(Unsent) as caught:
        run(lambda loop: network.ask("https://services.example", read_proxy(url), b"{}", 0.3))
    over.set()
    assert str(caught.value) == "nothing came within the time-out"


def test_a_write_through_the_gate_with_its_heartbeats_is_answered_too() -> None:
    meeting, beats = Meeting(), 0

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        meeting.arrive()
        connection.sendall(head_of(BODY) + BODY)
        meeting.done.set()

    class Beating(NoLease):
        async def during(self, work: Awaitable[T]) -> T:
            return await clock.during(work, beat, every_ms=10_000)

    def beat() -> None:
        nonlocal beats
        beats += 1

    clock = SystemClock()
    gate = RequestGate(HERE, Pace(Rate()), clock, lambda event: None, Beating(clock))

    async def write() -> object:
        async with HighLevel(url, token="secret", timeout_s=TIMEOUT_S) as api:
            update = BulkUpdate(Action.ADD, HERE, (ContactId("Anna" * 5),), ("vip",))
            return await gate.write(await gate.take_turn(api.ready), api.update_tags(update))

    with a_server(serve) as url:
        assert list(run_blocked(write, meeting)) == []
    assert beats
