"""What httpx is used for besides asking: the token's header, the body of an answer, and why no answer came.

Rules
1. A token leaves in the Authorization header, to the configured origin, and in no other way.
2. A body is unpacked here as it comes, and counted: nothing is ever held beyond `MOST_BODY`. Nothing else unpacks:
   httpx would unpack as much as a packet holds, and one packed twice without any bound.
3. Why no answer came is told in the words of the system below httpx: no class names, nothing of the request.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass

import httpx

MOST_BODY = 64 * 1024 * 1024
ENCODING = "gzip"
"""What is asked for, and the only one that is unpacked."""

_GZIP = 31
"""zlib's word for a gzip header and trailer."""


class Unfit(ValueError):
    """The body is too large, or packed in a way that cannot be undone."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back. `unfit`: why the body was not taken; it is empty then."""

    status: int
    headers: httpx.Headers
    body: bytes = b""
    unfit: str = ""

    @property
    def is_page(self) -> bool:
        """Whether it is HTML or XML, which no answer of the API is."""
        return self.body.lstrip().startswith(b"<")

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


async def read_answer(response: httpx.Response) -> HttpAnswer:
    """The answer with its body; ends the reading of a body that is too large as soon as it is."""
    try:
        body = await _body(response)
    except Unfit as error:
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
    raise Unfit("it is packed in a way that was not asked for")


async def _whole(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        _measure(len(body))
    return bytes(body)


async def _unpacked(packed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    left = MOST_BODY
    try:
        async for piece in packed:
            # one byte beyond the limit tells that there is more
            found = unpacker.decompress(piece, left + 1)
            yield found
            left -= len(found)
    except zlib.error:
        raise Unfit("it cannot be unpacked") from None
    if not unpacker.eof:
        raise Unfit("it ends before its end")


def _measure(size: int) -> None:
    if size > MOST_BODY:
        raise Unfit(f"it is larger than {MOST_BODY // 1024 // 1024} MB")


class BearerToken(httpx.Auth):
    """Puts the token into the one header, for the one origin."""

    def __init__(self, token: str, origin: httpx.URL) -> None:
        self._token = token
        self._origin = (origin.scheme, origin.host, origin.port)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if (request.url.scheme, request.url.host, request.url.port) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def reason(error: BaseException) -> str:
    """One short line, not yet cleaned of what may be secret in it."""
    return next((told for each in _causes(error) if (told := _of_system(each))), "") or _of_httpx(error)


def is_untrusted(error: BaseException) -> bool:
    """Whether a certificate was refused: another try is shown the same."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def is_of_tls(error: BaseException) -> bool:
    """Whether the host was reached, and no TLS was agreed on with it."""
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the last cause first: it says the most."""
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
