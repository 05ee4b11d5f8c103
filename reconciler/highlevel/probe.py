"""Two reading requests whose answers tell what a token may do, what time the API has, and which limits it keeps.

Rule: as in the client: the token goes to the configured origin only, redirects are not followed, and nothing that
httpx says is told, since it may hold anything.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx

from reconciler.core.diagnosis import HEADERS, Answered
from reconciler.core.names import Instant, LocationId
from reconciler.highlevel.body import ENCODING, read_answer
from reconciler.highlevel.connection import JSON, LOOPBACK
from reconciler.highlevel.secrets import cut
from reconciler.wire import SEARCH_PATH, one_line, probe_body, read_error, tags_path


async def probe(
    base_url: str,
    location: LocationId,
    *,
    token: str,
    version: str,
    timeout_s: float,
    transport: httpx.AsyncBaseTransport | None = None,
) -> tuple[Answered, Answered]:
    """A search for one contact, then the location's tags."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Version": version,
        "Content-Type": JSON,
        "Accept-Encoding": ENCODING,
    }
    client = httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=httpx.URL(base_url).host not in LOOPBACK,
        transport=transport,
    )
    async with client:
        found = await _ask(client, "POST", SEARCH_PATH, probe_body(location), token=token)
        return found, await _ask(client, "GET", tags_path(location), token=token)


async def _ask(client: httpx.AsyncClient, method: str, path: str, body: bytes | None = None, *, token: str) -> Answered:
    try:
        async with client.stream(method, path, content=body) as response:
            answer = await read_answer(response)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Answered(0, type(error).__name__)
    said = "" if answer.is_success else one_line(cut([token], "; ".join(read_error(answer.body))))
    numbers = {name: answer.headers.get(name, "") for name in HEADERS}
    limits = {name: int(text) for name, text in numbers.items() if text.isascii() and text.isdigit() and len(text) < 12}
    return Answered(answer.status, said, _date(answer.headers.get("Date", "")), limits)


def _date(text: str) -> Instant | None:
    try:
        return Instant(round(parsedate_to_datetime(text).timestamp() * 1000))
    except (ValueError, OverflowError):
        return None
