"""The emulated API over real HTTP, on loopback only.

    with in_background(app) as running:       # tests and the demo: a thread of its own, any free port
        client.post(running.url + ...)
        running.do(lambda world, now: world.add(contact, ["vip"], now=now, by="a workflow"))

    with in_background(Locations(apps)) as running:   # many locations: each has its own tokens
        running.do(lambda world, now: ..., location)

    run(app, port=8765, ready=print)          # a process of its own, until SIGINT or SIGTERM

Rules
1. The worlds belong to the thread of the server: others change them through `Running.do`.
2. Nothing is shared with the client that it answers, but the wire and the words of the core.
3. Stopping lets answers under way leave, for at most `GRACE_S` beyond the latency.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import Instant
from reconciler.sandbox.app import App
from reconciler.sandbox.connection import Connections, SandboxConnection
from reconciler.sandbox.locations import Locations, Network
from reconciler.sandbox.world import World
from reconciler.system import wall_clock

HOST = "127.0.0.1"
GRACE_S = 2.0
LAST_TURNS = 4

_T = TypeVar("_T")


class PortUnavailable(ReconcilerError):
    """The server cannot listen where it was told to."""


def url_of(port: int) -> str:
    return f"http://{HOST}:{port}"


async def serve(
    network: Network | App | Locations,
    *,
    stop: asyncio.Event,
    ready: Callable[[int], None],
    port: int = 0,
    now: Callable[[], Instant] = wall_clock,
    latency_ms: int = 0,
) -> None:
    """Answers requests until `stop` is set; calls `ready` with the real port. Raises PortUnavailable."""
    shared = Connections(_as_locations(network), now, latency_ms / 1000)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: SandboxConnection(shared), HOST, port)
    except (OSError, OverflowError) as problem:
        raise _port_error(port, problem) from problem
    # the port is only known now where 0 was asked for
    try:
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
    finally:
        server.close()
        await _drain_connections(shared)


def run(
    network: Network | App | Locations,
    *,
    port: int,
    ready: Callable[[int], None],
    now: Callable[[], Instant] = wall_clock,
    latency_ms: int = 0,
) -> None:
    """Serves until SIGINT or SIGTERM, then returns. Raises PortUnavailable."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(network, stop=stop, ready=ready, port=port, now=now, latency_ms=latency_ms)

    asyncio.run(until_signal())


@dataclass(frozen=True, slots=True)
class Running:
    """A server in a thread of its own."""

    port: int
    locations: Locations
    now: Callable[[], Instant]
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return url_of(self.port)

    @property
    def network(self) -> Network:
        """That of the only location."""
        return self.locations.at()

    @property
    def world(self) -> World:
        """The only location's, to be read while no request is under way; `do` changes it."""
        return self.network.app.world

    def at(self, location: str) -> Network:
        """The network of one location of many. Raises KeyError."""
        return self.locations.at(location)

    def do(self, act: Callable[[World, Instant], _T], location: str = "") -> _T:
        """The result of `act` on the world of a location, by default the only one, run between two requests."""

        async def between() -> _T:
            return act(self.locations.at(location).app.world, self.now())

        return asyncio.run_coroutine_threadsafe(between(), self.loop).result()


@contextmanager
def in_background(
    network: Network | App | Locations,
    *,
    port: int = 0,
    now: Callable[[], Instant] = wall_clock,
    latency_ms: int = 0,
) -> Iterator[Running]:
    """A server for the length of a `with` block. Raises PortUnavailable."""
    locations = _as_locations(network)
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(
            locations,
            stop=stop,
            ready=lambda listening: started.set_result((listening, loop, stop)),
            port=port,
            now=now,
            latency_ms=latency_ms,
        )

    def body() -> None:
        try:
            asyncio.run(main())
        except PortUnavailable as problem:
            started.set_exception(problem)

    # a daemon, so that a test that fails within the block cannot keep the process alive
    thread = threading.Thread(target=body, name="reconciler-sandbox", daemon=True)
    thread.start()
    # raises here, in the caller's thread, where the port is taken
    listening, loop, stop = started.result()
    try:
        yield Running(listening, locations, now, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _as_locations(network: Network | App | Locations) -> Locations:
    return network if isinstance(network, Locations) else Locations([network])


async def _drain_connections(shared: Connections) -> None:
    # a socket that was accepted in the last moment becomes a connection in the next turns of the loop
    for _ in range(LAST_TURNS):
        await asyncio.sleep(0)
    if not shared.open:
        return
    for connection in tuple(shared.open):
        connection.finish()
    # a client that does not read its answer must not hold up the end
    with suppress(TimeoutError):
        await asyncio.wait_for(shared.all_closed.wait(), GRACE_S + shared.latency_s)
    for connection in tuple(shared.open):
        connection.abandon()


def _port_error(port: int, problem: OSError | OverflowError) -> PortUnavailable:
    if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
        return PortUnavailable(
            f"port {port} on {HOST} is in use", hint="stop what listens there, or choose another port (0: any free one)"
        )
    if isinstance(problem, OSError) and problem.errno == errno.EACCES:
        return PortUnavailable(f"not allowed to listen on port {port}", hint="choose a port above 1023")
    return PortUnavailable(f"cannot listen on {HOST}:{port}: {problem}", hint="choose a port between 1024 and 65535")
