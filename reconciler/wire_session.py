"""HighLevel's headers (time, limits, pauses) and its token exchange. Pure.

A header that makes no sense counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeGuard

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.names import Instant, LocationId
from reconciler.wire import UnreadableAnswer, read_object

LOCATION_TOKEN_PATH = "/oauth/locationToken"  # noqa: S105 (a path)
LONGEST_PAUSE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class LocationToken:
    """A token of a location, in exchange for an agency's token."""

    # not in the repr: a traceback or a log line must not hold it
    token: str = field(repr=False)
    lasts_ms: int | None
    location: LocationId | None
    """None where the answer names none."""


def read_date(headers: Mapping[str, str]) -> Instant | None:
    """The server's time when it answered, to the second; None where it does not say."""
    return _parse_date({name.lower(): value for name, value in headers.items()}.get("date", ""))


def read_quota(headers: Mapping[str, str]) -> Quota:
    """The limits in the headers of an answer; None for each that is missing or no sensible number."""
    given = {name.lower(): value for name, value in headers.items()}
    limit = _read_number(given, "X-RateLimit-Max", least=1, most=1_000_000)
    daily_limit = _read_number(given, "X-RateLimit-Limit-Daily", least=1, most=1_000_000_000)
    return Quota(
        limit=limit,
        remaining=_read_number(given, "X-RateLimit-Remaining", most=limit or 1_000_000),
        window_ms=_read_number(given, "X-RateLimit-Interval-Milliseconds", least=1, most=3_600_000),
        daily_limit=daily_limit,
        daily_remaining=_read_number(given, "X-RateLimit-Daily-Remaining", most=daily_limit or 1_000_000_000),
        daily_reset=_read_number(given, "X-RateLimit-Daily-Reset", most=10_000_000_000_000),
    )


def read_pause(headers: Mapping[str, str], now: Instant) -> int | None:
    """Milliseconds that `Retry-After` asks for, an hour at most; None where it is missing or makes no sense.

    A date is taken by the server's own clock where the answer tells it.
    """
    given = {name.lower(): value for name, value in headers.items()}
    text = given.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(int(text) * 1000, LONGEST_PAUSE_MS)
    # a clock that is wrong by minutes would make the pause negative, or last an hour: prefer the server's own
    until, sent = _parse_date(text), _parse_date(given.get("date", ""))
    if until is None:
        return None
    return max(0, min(until - (now if sent is None else sent), LONGEST_PAUSE_MS))


def _read_number(given: Mapping[str, str], name: str, *, least: int = 0, most: int) -> int | None:
    text = given.get(name.lower(), "").strip()
    # the length is checked before int(): Python refuses to convert thousands of digits
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    return int(text) if least <= int(text) <= most else None


def _parse_date(text: str) -> Instant | None:
    """A date as HTTP writes it."""
    try:
        return Instant(round(parsedate_to_datetime(text).timestamp() * 1000)) if text.isascii() else None
    except (ValueError, OverflowError):
        return None


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
