"""Tokens: found, an agency's exchanged for a location's, and cut out of text before it is shown.

Rules
1. A token comes from the environment, or from a command that prints it, never from a file of ours.
2. An agency's token is exchanged for a location's in memory: not before the first request needs it, never twice at the
   same time; again a little before that one's end, and when the API refuses it.
3. Tokens are cut out of every text from outside before it is shown, stored or logged.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from reconciler.core.model.errors import AuthRefused
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.outcome import called
from reconciler.wire import UnreadableAnswer, read_object

DEFAULT_VARIABLE = "HIGHLEVEL_TOKEN"
COMMAND_TIMEOUT_S = 60


def find_token(
    location: LocationId,
    environment: Mapping[str, str],
    *,
    variable: str = DEFAULT_VARIABLE,
    command: str = "",
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> str:
    """The token of a location; raises AuthRefused naming the variable or the command, never the token."""
    token = environment.get(variable, "").strip()
    if not token and command:
        token = _ask(command, timeout_s)
    if not token and command:
        raise AuthRefused(
            f"no token for location {location}: {variable} is not set and token_command printed nothing",
            hint="try the command in a terminal",
        )
    if not token:
        raise AuthRefused(
            f"no token for location {location}: environment variable {variable} is not set",
            hint=f"export {variable}=…, or give the location a `token_command` in reconciler.yaml",
        )
    held = called(held_in(environment, variable, command))
    if token.lower().startswith("bearer "):
        raise AuthRefused(
            f"{held} begins with the word Bearer", hint="the token stands alone: the header has that word"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AuthRefused(f"{held} has characters that a header cannot carry", hint="see how it was set")
    return token


def held_in(environment: Mapping[str, str], variable: str, command: str) -> str:
    """Where a token is held, as a message names it; empty where there is none."""
    if environment.get(variable, "").strip():
        return f"environment variable {variable}"
    return "token_command (in reconciler.yaml)" if command else ""


def _ask(command: str, timeout_s: float) -> str:
    """The output of the command, which runs without a shell; no error shows the output."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=timeout_s, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        # from None: the error holds what the command printed so far
        raise AuthRefused(f"token_command did not run: {type(error).__name__}", hint="try it in a terminal") from None
    if done.returncode:
        raise AuthRefused(f"token_command ended with exit code {done.returncode}", hint="try it in a terminal")
    return done.stdout.decode("ascii", "replace").strip()


MARGIN_MS = 60_000
UNKNOWN_MS = 3_600_000
"""The time for which a token without a known end is used; it lasts about a day."""


@dataclass(frozen=True, slots=True)
class Agency:
    """The agency that a token is of, and the location that it is exchanged for."""

    company: str
    location: LocationId


@dataclass(slots=True)
class Exchange:
    """`ask` exchanges. The location token is in use until `renew_at`."""

    ask: Callable[[], Awaitable[LocationToken]]
    now: Callable[[], Instant]
    renew_at: int = 0
    _token: str = field(default="", repr=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def token(self, *, refused: str = "") -> str:
        """A location token, another one than `refused`. Raises the errors of `ask`."""
        # under the lock: the others that wait take the token that the first one gets
        async with self._lock:
            if self._token in ("", refused) or self.now() >= self.renew_at:
                exchanged = await self.ask()
                lasts = UNKNOWN_MS if exchanged.lasts_ms is None else exchanged.lasts_ms
                self._token, self.renew_at = exchanged.token, self.now() + lasts - min(MARGIN_MS, lasts // 10)
            return self._token


CUT = "***"
_ANY = "surrogatepass"
SHORTEST = 12
"""A shorter text is no secret, and may be part of an id or a tag."""


def cut(secrets: Iterable[str], text: str) -> str:
    """The text without the secrets."""
    # the longest first: one may be part of another
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, CUT)
    return text


def without(secrets: Sequence[str], body: bytes) -> bytes:
    """The JSON body without them, wherever they stand in it, however they are spelt; as it is where they do not.

    A body that holds one and is no JSON, or is too deep to be looked through, is none any more.
    """
    long = [secret for secret in secrets if len(secret) >= SHORTEST]
    holds = any(secret.encode() in body for secret in long)
    # a token is ASCII: only an escape can hide it from a look at the bytes
    if not holds and b"\\" not in body:
        return body
    try:
        return json.dumps(_cut_item(long, json.loads(body))).encode()
    except (ValueError, RecursionError):
        return b"" if holds else body


def _cut_item(secrets: Sequence[str], item: object) -> object:
    if isinstance(item, str):
        text = cut(secrets, item)
        # a row may be JSON in a text
        return without(secrets, text.encode("utf-8", _ANY)).decode("utf-8", _ANY) if text.startswith("{") else text
    if isinstance(item, list):
        return [_cut_item(secrets, element) for element in item]
    if isinstance(item, dict):
        return {cut(secrets, key): _cut_item(secrets, value) for key, value in item.items()}
    return item


LOCATION_TOKEN_PATH = "/oauth/locationToken"  # noqa: S105 (a path)


@dataclass(frozen=True, slots=True)
class LocationToken:
    """A token of a location, in exchange for an agency's token."""

    # not in the repr: a traceback or a log line must not hold it
    token: str = field(repr=False)
    lasts_ms: int | None
    location: LocationId | None
    """None where the answer names none."""


def location_token_body(company: str, location: LocationId) -> bytes:
    """A form; raises ValueError for ids with characters that would change its structure."""
    for text in (company, location):
        if not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
            raise ValueError("an id with characters that a form cannot carry")
    return f"companyId={company}&locationId={location}".encode()


def read_location_token(body: bytes) -> LocationToken:
    """Raises UnreadableAnswer where there is no token that a header can carry; no message repeats the body."""
    document = read_object(body)
    # version 3 of the API spells its keys in camel case
    tokens = [token for key in ("access_token", "accessToken") if _is_token(token := document.get(key))]
    if not tokens:
        raise UnreadableAnswer("the answer has no usable `access_token`")
    ends = [round(1000 * end) for key in ("expires_in", "expiresIn") if _is_duration(end := document.get(key))]
    place = document.get("locationId")
    location = LocationId(place) if isinstance(place, str) and place else None
    return LocationToken(tokens[0], lasts_ms=next(iter(ends), None), location=location)


def _is_token(value: object) -> TypeGuard[str]:
    """Whether a header can carry it."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable() and " " not in value


def _is_duration(value: object) -> TypeGuard[float]:
    """Whether it is a number of seconds that makes sense."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10_000_000
