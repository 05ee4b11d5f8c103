"""Sends a notice to a webhook: `send_notice(sent, settings, workspace) -> str`.

Rules
1. The address comes from the environment alone, as the secret does: no file that a pull request may change makes us ask
   a host. It is never shown: an address of a webhook is a right to post there.
2. The time that it takes is bounded: `TRIES` of `TIMEOUT_S` seconds, with `PAUSES_MS` between them. An answer of 429 or
   5xx, and none at all, are worth another try. A redirect is not followed.
3. A notice changes no exit code: why none arrived is a line.
4. Each try is signed anew: HMAC-SHA-256, with the secret as key, of the seconds since 1970, a full stop and the body.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from http import HTTPStatus

from reconciler.core.model.errors import NoWay
from reconciler.core.model.names import Instant
from reconciler.core.model.notice import NoticeShape, NotifySettings
from reconciler.highlevel.http_client import HttpClient, NoAnswer, UnusablePath, read_address
from reconciler.highlevel.route import LOOPBACK, find_route
from reconciler.operations.workspace import Workspace
from reconciler.output.notice import SentNotice

URL_VARIABLE = "RECONCILER_NOTIFY_URL"
SHAPE_VARIABLE = "RECONCILER_NOTIFY_SHAPE"
SECRET_VARIABLE = "RECONCILER_NOTIFY_SECRET"  # noqa: S105 (a name, no secret)
TIMESTAMP_HEADER = "Reconciler-Timestamp"
SIGNATURE_HEADER = "Reconciler-Signature"
TIMEOUT_S = 3.0
PAUSES_MS = (1_000, 2_000, 4_000)
TRIES = 1 + len(PAUSES_MS)


def guess_settings(environment: Mapping[str, str]) -> NotifySettings:
    """The settings where none can be loaded: a failure is told in the shape that the environment names."""
    named = environment.get(SHAPE_VARIABLE, "")
    return NotifySettings(NoticeShape(named)) if named in list(NoticeShape) else NotifySettings()


def sign(body: bytes, secret: str, now: Instant) -> dict[str, str]:
    """The headers by which a receiver knows a body as ours, and as of now; without a secret the time alone."""
    timestamp = str(now // 1000)
    headers = {TIMESTAMP_HEADER: timestamp}
    if secret:
        digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers[SIGNATURE_HEADER] = f"v1={digest}"
    return headers


async def send_notice(
    sent: SentNotice, settings: NotifySettings, workspace: Workspace, *, timeout_s: float = TIMEOUT_S
) -> str:
    """Why the notice did not arrive; empty where it did."""
    url, body = workspace.environment.get(URL_VARIABLE, "").strip(), sent.spell(settings.shape)
    try:
        http = _connect(url, workspace.environment, timeout_s)
    except NoWay as error:
        return error.message
    reason = ""
    try:
        for pause in (*PAUSES_MS, None):
            # a receiver refuses an old timestamp: that of the first try may be too old by now
            headers = sign(body, workspace.environment.get(SECRET_VARIABLE, "").strip(), workspace.clock.now())
            reason, is_final = await _try(http, url, body, headers)
            if is_final:
                return reason
            if pause is not None:
                await workspace.clock.sleep(pause)
    finally:
        await http.close()
    return f"{reason} ({TRIES} tries)"


async def _try(http: HttpClient, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[str, bool]:
    """Why the notice did not arrive, and whether another try would be in vain."""
    try:
        # no token: that of the API goes to the API alone
        answer = await http.ask("POST", url, body, token=None, headers=headers)
    # neither error repeats the address, which is a secret
    except UnusablePath:
        return f"what {URL_VARIABLE} holds cannot be asked", True
    except NoAnswer as error:
        return str(error), False
    if answer.is_success:
        return "", True
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return f"it answers with {answer.status}", False
    follows = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
    return f"it answers with {answer.status}{follows}", True


def _connect(url: str, environment: Mapping[str, str], timeout_s: float) -> HttpClient:
    """Raises NoWay where the address cannot be asked."""
    try:
        address = read_address(url)
    except ValueError:
        raise NoWay(f"what {URL_VARIABLE} holds is no address") from None
    # what a notice tells would travel in the clear
    if not address.host or not (address.scheme == "https" or (address.scheme == "http" and address.host in LOOPBACK)):
        raise NoWay(f"what {URL_VARIABLE} holds is neither an https address, nor http to loopback")
    route = find_route(url, environment)
    return HttpClient(url, version="", timeout_s=timeout_s, context=route.context, proxy=route.proxy)
