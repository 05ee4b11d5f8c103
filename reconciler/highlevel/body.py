"""The body of an answer, unpacked here as it comes, and counted: nothing is ever held beyond `MOST_BODY`.

Law: nothing else unpacks. httpx would unpack as much as a packet holds, and one packed twice without any bound.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
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
