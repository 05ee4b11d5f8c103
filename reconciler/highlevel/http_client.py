"""HTTP as the API needs it, and the only module of the client that knows which library does it: httpx.

Rules
1. The token leaves in the Authorization header, to the configured origin, and in no other way. Redirects are never
   followed, the environment is not read here, and no cookie is kept.
2. A body is unpacked here as it comes, and counted: no more than `MOST_BODY` is ever held. Nothing else unpacks: httpx
   would unpack as much as a packet holds, and one packed twice without any bound.
3. An answer comes within the time-out, however slowly it does, or an error says why none came: in the words of the
   system below httpx, without class names, without a word of the request, not yet cleaned of secrets.
4. The time-out counts the time in which the event loop listens. Where the loop was blocked an answer may wait in the
   socket, which is read before its request is given up.
5. A request whose body httpx did not begin to send cannot have had an effect, whatever ended it.
6. A body does not leave once `MOST_WAIT_MS` have passed since it was let go, by the time of day: the process stood
   still, and the lease under which it was let go may be another's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any

import httpx

from reconciler.core.model.names import Instant
from reconciler.system import wall_clock

MOST_BODY = 64 * 1024 * 1024
ENCODING = "gzip"
"""The encoding that is asked for, and the only one that is unpacked."""

LISTENING_STEPS = 20
"""A time-out is counted in so many steps: however long the loop is blocked in one of them, the others are still to
come."""

MOST_WAIT_MS = 60_000
"""Shorter than what a lease lasts that is renewed in time."""

LAST_LOOKS = 20
"""So often the loop goes round after that, to read the answer that came while the last step was blocked. A body that
waits in the socket takes a few rounds."""

_GZIP = 31
"""zlib's word for a gzip header and trailer."""

JSON = "application/json"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
FORM = "application/x-www-form-urlencoded"
Transport = httpx.AsyncBaseTransport
"""Replaces the network, in tests."""

_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
"""The errors that httpx raises before the API can have seen the request."""


class NoAnswer(Exception):
    """No answer came; the message says why. The API may have seen the request."""


class Unsent(NoAnswer):
    """The request cannot have reached the API."""

    def __init__(self, error: Exception) -> None:
        super().__init__(_reason(error))
        causes = list(_causes(error))
        self.untrusted = next((c.verify_code for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
        """OpenSSL's number for why a certificate was refused, where one was: another try is shown the same."""
        self.is_of_tls = any(isinstance(cause, ssl.SSLError) for cause in causes)
        """Whether the host was reached, and no TLS was agreed on with it."""
        self.is_by_proxy = isinstance(error, httpx.ProxyError)


class UnusablePath(Exception):
    """HTTP cannot carry the path."""


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Scheme, host and port of a URL; `port` is None where it is the scheme's own."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `url` may hold a user and a password."""

    address: ApiAddress
    url: str


def read_address(url: str) -> ApiAddress:
    """Raises ValueError where it is no URL."""
    return _address(_read_url(url))


def read_proxy(url: str) -> Proxy:
    """Raises ValueError where it is no address of a proxy."""
    parsed = _read_url(url)
    httpx.Proxy(parsed)
    return Proxy(_address(parsed), url)


def _read_url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None


def _address(url: httpx.URL) -> ApiAddress:
    return ApiAddress(url.scheme, url.host, url.port)


def trust_installed() -> ssl.SSLContext:
    """The certificates that this installation trusts."""
    return httpx.create_ssl_context(trust_env=False)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, be it an error."""

    status: int
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes = b""
    unfit: str = ""
    """Why the body was not taken; it is empty then."""

    @property
    def is_page(self) -> bool:
        """Whether it is HTML or XML, which no answer of the API is."""
        return self.body.lstrip().startswith(b"<")

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class HttpClient:
    """Asks one origin. `version`: the API's; empty for another host. `transport` replaces the network in tests."""

    def __init__(
        self,
        base_url: str,
        *,
        version: str,
        timeout_s: float,
        context: ssl.SSLContext,
        proxy: Proxy | None = None,
        transport: Transport | None = None,
        now: Callable[[], Instant] = wall_clock,
    ) -> None:
        self._url, self._timeout_s, self._now = httpx.URL(base_url), timeout_s, now
        self.origin = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
        proxy_context = context if proxy and proxy.address.scheme == "https" else None
        self._client = httpx.AsyncClient(
            base_url=self._url,
            headers={"Version": version, "Accept": JSON, "Content-Type": JSON, "Accept-Encoding": ENCODING}
            if version
            else {"Accept-Encoding": ENCODING},
            # half of it for the connection: a time-out in that is known to have had no effect. The others of httpx are
            # over as soon as a blocked loop is free again
            timeout=httpx.Timeout(None, connect=timeout_s / 2, pool=timeout_s / 2),
            follow_redirects=False,
            # proxies and certificates come from `route`, which names a variable that cannot be used
            trust_env=False,
            proxy=httpx.Proxy(proxy.url, ssl_context=proxy_context) if proxy else None,
            verify=context,
            # no domain may set one: only the token says on whose behalf a request is sent
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        token: str | None,
        kind: str = JSON,
        headers: Mapping[str, str] = NO_HEADERS,
        let_go: Instant | None = None,
    ) -> HttpAnswer:
        """`kind` is the body's; without a token no Authorization is sent. Raises Unsent, NoAnswer or UnusablePath.

        `let_go`: since when the body may leave; None: from now on.
        """
        auth = None if token is None else _BearerToken(token, self._url)
        sent = _Body(body or b"", self._now, self._now() if let_go is None else let_go)
        content, lengths = (None, {}) if body is None else (sent, {"Content-Length": str(len(body))})
        try:
            async with (
                _listening_timeout(self._timeout_s),
                self._client.stream(
                    method, path, content=content, auth=auth, headers={**headers, "Content-Type": kind, **lengths}
                ) as response,
            ):
                return await _read_answer(response)
        # from None: what httpx says may hold anything, the token too
        except _UNSENT as error:
            raise Unsent(error) from None
        except (httpx.RequestError, TimeoutError) as error:
            if body is not None and not sent.has_begun:
                raise Unsent(error) from None
            raise NoAnswer(_reason(error)) from None
        except httpx.InvalidURL as error:
            raise UnusablePath(_reason(error)) from None
        except asyncio.CancelledError:
            if not sent.why_ended or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
            raise NoAnswer(sent.why_ended) from None


class _StoodStill(httpx.TransportError):
    """Too late to send the body."""


class _Body:
    """A body that knows whether httpx has begun to send it: it asks for it once the headers are sent."""

    def __init__(self, content: bytes, now: Callable[[], Instant], let_go: Instant) -> None:
        self._content, self.has_begun = content, False
        self._now, self._let_go = now, let_go
        self.why_ended = ""
        """Why its request was ended in the midst of the hand-over; empty where it was not."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # a process may stand still while a connection is made
        if why := self._find_standstill():
            raise _StoodStill(why)
        # and once more right before httpx goes on: it hands the bytes over in the next turn of the loop
        asyncio.get_running_loop().call_soon(self._look_again, asyncio.current_task())
        self.has_begun = True
        yield self._content

    def _look_again(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None and (why := self._find_standstill()):
            self.why_ended = why
            task.cancel()

    def _find_standstill(self) -> str:
        waited = self._now() - self._let_go
        return f"this process stood still for {waited // 1000:,} s" if waited > MOST_WAIT_MS else ""


@asynccontextmanager
async def _listening_timeout(seconds: float) -> AsyncIterator[None]:
    """Ends its block with TimeoutError after so many seconds in which the loop listened, and a few looks more."""
    loop, step = asyncio.get_running_loop(), seconds / LISTENING_STEPS
    # a look takes its time too: the rest of a body that no socket holds comes while the loop reads
    steps = chain(repeat(step, LISTENING_STEPS), repeat(step / LAST_LOOKS, LAST_LOOKS))
    timer: asyncio.TimerHandle | None = None

    def go_on() -> None:
        nonlocal timer
        # one after the other: each begins when the loop is free for it
        if (pause := next(steps, None)) is None:
            limit.reschedule(loop.time())
        else:
            timer = loop.call_later(pause, go_on)

    try:
        async with asyncio.timeout(None) as limit:
            go_on()
            yield
    finally:
        if timer is not None:
            timer.cancel()


class _BearerToken(httpx.Auth):
    """Puts the token into the one header, for the one origin."""

    def __init__(self, token: str, origin: httpx.URL) -> None:
        self._token = token
        self._origin = (origin.scheme, origin.host, origin.port)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if (request.url.scheme, request.url.host, request.url.port) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class _Unfit(ValueError):
    """The body is too large, or packed in a way that cannot be undone."""


async def _read_answer(response: httpx.Response) -> HttpAnswer:
    """The answer with its body; ends the reading of a body that is too large as soon as it is."""
    try:
        body = await _body(response)
    except _Unfit as error:
        return HttpAnswer(response.status_code, response.headers, unfit=str(error))
    return HttpAnswer(response.status_code, response.headers, body)


async def _body(response: httpx.Response) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if response.is_stream_consumed:
        # a transport that is no network may have read and unpacked it
        _measure(len(response.content))
        return response.content
    if encoding in ("", "identity"):
        return await _whole(response.aiter_raw())
    if encoding in (ENCODING, "x-gzip"):
        return await _whole(_unpacked(response.aiter_raw()))
    raise _Unfit("it is packed in a way that was not asked for")


async def _whole(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        _measure(len(body))
    return bytes(body)


async def _unpacked(packed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    room = MOST_BODY
    try:
        async for piece in packed:
            # one byte beyond the limit tells that there is more
            unpacked = unpacker.decompress(piece, room + 1)
            yield unpacked
            room -= len(unpacked)
    except zlib.error:
        raise _Unfit("it cannot be unpacked") from None
    if not unpacker.eof:
        raise _Unfit("it ends before its end")


def _measure(size: int) -> None:
    if size > MOST_BODY:
        raise _Unfit(f"it is larger than {MOST_BODY // 1024 // 1024} MB")


def _reason(error: BaseException) -> str:
    return next((words for cause in _causes(error) if (words := _of_system(cause))), "") or _of_httpx(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the last cause first: it says the most."""
    causes, cause = [error], error.__cause__ or error.__context__
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return reversed(causes)


def _of_system(error: BaseException) -> str:
    match error:
        case socket.gaierror():
            return f"its name cannot be resolved ({error.strerror or 'no reason is told'})"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLWantReadError() | ssl.SSLWantWriteError():
            return ""
        case ssl.SSLError():
            return f"no TLS could be agreed on: {(error.reason or 'no reason is told').lower().replace('_', ' ')}"
        case ConnectionRefusedError():
            return "nothing listens there: the connection was refused"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case OSError(strerror=str() as told):
            return told
    return ""


def _of_httpx(error: BaseException) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return "no connection within the time-out"
        case httpx.TimeoutException() | TimeoutError():
            return "nothing came within the time-out"
        case httpx.RemoteProtocolError():
            return f"the connection ended in the midst of it: {error}"
    return str(error) or "the connection broke off"
