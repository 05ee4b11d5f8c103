"""One connection of the server: bytes in, requests out to the locations, answers back, over h11.

Rules
1. A request is handed on when it is whole. A body above `MOST_BODY`, or bytes that are not HTTP, are answered and the
   connection ends; later bytes of the client are read and dropped, so that it gets to see the answer.
2. Answers leave in the order of the requests; a client that does not read its answers is not read either.
3. A fault that loses the answer shows as it would on a network: silence, a reset, or half a body.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate

import h11

from reconciler.core.model.names import Instant
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.messages import Delivery, Loss, Request, Response, error_response

MOST_BODY = 4 * 1024 * 1024
LINGER_S = 1.0

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Connections:
    """The connections of one server, and the things that they share."""

    locations: Locations
    now: Callable[[], Instant]
    latency_s: float = 0.0
    open: set[SandboxConnection] = field(default_factory=set)
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)


class SandboxConnection(asyncio.Protocol):
    """States: reading a request; busy with one; silent (its answer was lost); ended (dropping all that still comes)."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._http = h11.Connection(h11.SERVER)
        # the request that is read or answered; h11 keeps neither its head nor its body
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._busy = self._silent = self._ended = self._full = self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._shared.open.add(self)
        self._shared.all_closed.clear()

    def connection_lost(self, _problem: Exception | None) -> None:
        self._shared.open.discard(self)
        if not self._shared.open:
            self._shared.all_closed.set()

    def data_received(self, data: bytes) -> None:
        # after the end, bytes are still read: unread ones would reset the connection before its answer is there
        if not self._ended:
            self._http.receive_data(data)
            self._read_events()

    def eof_received(self) -> bool:
        # the client sends no more, but may still wait for an answer: True keeps our side open
        if self._ended or self._silent:
            return False
        self._http.receive_data(b"")
        self._read_events()
        return True

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._transport.resume_reading()
        self._read_events()

    def finish(self) -> None:
        """Lets the answer that is under way leave, then closes."""
        self._closing = True
        if self._silent:
            self._transport.abort()
        elif not self._busy:
            self._transport.close()

    def abandon(self) -> None:
        self._transport.abort()

    def _read_events(self) -> None:
        while not (self._busy or self._silent or self._ended or self._full):
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as problem:
                self._refuse_request(problem.error_status_hint, "the request is not valid HTTP")
                return
            # paused: the next request of a pipeline is there, and waits for the answer to this one
            if event is h11.NEED_DATA or event is h11.PAUSED:
                self._send_continue()
                return
            self._take_event(event)

    def _take_event(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> None:
        if isinstance(event, h11.Request):
            self._head = event
            self._body.clear()
        elif isinstance(event, h11.Data):
            self._body += event.data
            # counted as it comes: a body without a stated length is bounded too
            if len(self._body) > MOST_BODY:
                self._refuse_request(413, "request entity too large")
        elif isinstance(event, h11.EndOfMessage):
            self._busy = True
            self._call_later(self._hand_on)
        elif isinstance(event, h11.ConnectionClosed):
            self._ended = True
            self._transport.close()

    def _send_continue(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            self._send_event(h11.InformationalResponse(status_code=100, headers=[]))

    def _hand_on(self) -> None:
        assert self._head is not None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._head.headers}
        method, target = self._head.method.decode("latin-1"), self._head.target.decode("latin-1")
        request = Request(method, target, headers, bytes(self._body))
        delivery = self._shared.locations.handle(request, self._shared.now())
        self._call_later(lambda: self._deliver_answer(delivery))

    def _deliver_answer(self, delivery: Delivery) -> None:
        if self._transport.is_closing():
            return
        if delivery.loss is Loss.TIMEOUT:
            self._fall_silent()
        elif delivery.response is None:
            self._reset_link()
        else:
            self._send_answer(delivery.response, cut=delivery.loss is Loss.TRUNCATED)

    def _fall_silent(self) -> None:
        self._silent = True
        if self._closing:
            self._transport.abort()

    def _reset_link(self) -> None:
        # a close with a linger time of zero sends RST instead of FIN
        link = self._transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _send_answer(self, response: Response, *, cut: bool = False) -> None:
        body = response.body[: len(response.body) // 2] if cut else response.body
        self._send_event(self._response_head(response))
        # an answer to HEAD has the length of a body that does not follow
        if self._head is None or self._head.method != b"HEAD":
            self._send_event(h11.Data(data=body))
        if cut:
            self._end_writing()
            return
        self._send_event(h11.EndOfMessage())
        self._begin_next()

    def _begin_next(self) -> None:
        if self._closing or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._end_writing()
            return
        self._http.start_next_cycle()
        self._busy = False
        # without latency all this runs inside of the loop that reads events, which goes on by itself
        if self._shared.latency_s > 0:
            self._read_events()

    def _refuse_request(self, status: int, message: str) -> None:
        self._closing = True
        # once an answer has begun there is no place for another one
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send_answer(error_response(status, message))
        else:
            self._end_writing()

    def _end_writing(self) -> None:
        """Closes in two steps."""
        # a close with unread bytes would reset the connection and lose the answer
        self._ended = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def _response_head(self, response: Response) -> h11.Response:
        headers = [
            (b"content-type", response.kind.encode()),
            (b"content-length", b"%d" % len(response.body)),
            (b"date", formatdate(self._shared.now() / 1000, usegmt=True).encode()),
            *((name.encode(), value.encode()) for name, value in response.headers),
        ]
        if self._closing:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=response.status, headers=headers)

    def _send_event(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._transport.write(data)

    def _call_later(self, step: Callable[[], None]) -> None:
        """Takes a step after half of the latency: one half lies before the effect, one after it."""
        if self._shared.latency_s > 0:
            asyncio.get_running_loop().call_later(self._shared.latency_s / 2, step)
        else:
            step()
