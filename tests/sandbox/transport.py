"""The sandbox as a transport of httpx, without sockets: what tests give to the client in place of the network.

Rules
1. Time comes from `now`; without `sleep` nothing waits: an answer, and a timeout, come at once.
2. A fault is raised as the exception that httpx raises for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate

import httpx

from reconciler.core.model.names import Instant
from reconciler.sandbox.app import App
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.messages import Loss, Request, Response
from tests.sandbox.faults import Network

_DEFAULT_TIMEOUT_S = 60.0


class SandboxTransport(httpx.AsyncBaseTransport):
    """Requests go to `network`. `latency_ms`: half of it passes on the way there, half on the way back."""

    def __init__(
        self,
        network: Network | App | Locations,
        *,
        now: Callable[[], Instant],
        sleep: Callable[[float], Awaitable[None]] | None = None,
        latency_ms: int = 0,
    ) -> None:
        self.network = network if isinstance(network, Network | Locations) else Network(network)
        self._now = now
        self._sleep = sleep
        self._latency_s = latency_ms / 1000

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = await _as_sent(request)
        await self._wait(self._latency_s / 2)
        delivery = self.network.handle(sent, self._now())
        if delivery.loss is Loss.TIMEOUT:
            await self._wait(_timeout_s(request) - self._latency_s / 2)
            raise httpx.ReadTimeout("the sandbox lost the answer", request=request)
        await self._wait(self._latency_s / 2)
        if delivery.loss is Loss.REFUSED:
            raise httpx.ConnectError("the sandbox refused the connection", request=request)
        if delivery.response is None:
            raise httpx.ReadError("the sandbox reset the connection", request=request)
        return _as_received(delivery.response, self._now(), cut=delivery.loss is Loss.TRUNCATED)

    async def _wait(self, seconds: float) -> None:
        if self._sleep is not None and seconds > 0:
            await self._sleep(seconds)


class _CutBody(httpx.AsyncByteStream):
    """The first half of a body, then the end of the connection."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[: len(self._body) // 2]
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


async def _as_sent(request: httpx.Request) -> Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Request(request.method, request.url.raw_path.decode("ascii"), headers, await request.aread())


def _as_received(response: Response, now: Instant, *, cut: bool) -> httpx.Response:
    length, date = ("Content-Length", str(len(response.body))), ("Date", formatdate(now // 1000, usegmt=True))
    headers = [("Content-Type", response.kind), length, date, *response.headers]
    if cut:
        return httpx.Response(response.status, headers=headers, stream=_CutBody(response.body))
    if any(name.lower() == "content-encoding" for name, _ in response.headers):
        # httpx unpacks what it is given as content: that is the client's business
        return httpx.Response(response.status, headers=headers, stream=httpx.ByteStream(response.body))
    return httpx.Response(response.status, headers=headers, content=response.body)


def _timeout_s(request: httpx.Request) -> float:
    """How long the client waits for an answer."""
    given: object = request.extensions.get("timeout", {}).get("read")
    return float(given) if isinstance(given, int | float) else _DEFAULT_TIMEOUT_S
