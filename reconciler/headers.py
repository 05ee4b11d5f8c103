"""What the headers of an answer say: the time, the limits, a pause. Pure; a header that makes no sense says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.names import Instant

LONGEST_PAUSE_MS = 3_600_000


def read_date(headers: Mapping[str, str]) -> Instant | None:
    """The server's time when it answered, to the second; None where it does not say."""
    return _date({name.lower(): value for name, value in headers.items()}.get("date", ""))


def read_quota(headers: Mapping[str, str]) -> Quota:
    """What the headers of an answer say of the limits; one that is no sensible number says nothing."""
    given = {name.lower(): value for name, value in headers.items()}
    limit = _number(given, "X-RateLimit-Max", least=1, most=1_000_000)
    daily_limit = _number(given, "X-RateLimit-Limit-Daily", least=1, most=1_000_000_000)
    return Quota(
        limit=limit,
        remaining=_number(given, "X-RateLimit-Remaining", most=limit or 1_000_000),
        window_ms=_number(given, "X-RateLimit-Interval-Milliseconds", least=1, most=3_600_000),
        daily_limit=daily_limit,
        daily_remaining=_number(given, "X-RateLimit-Daily-Remaining", most=daily_limit or 1_000_000_000),
        daily_reset=_number(given, "X-RateLimit-Daily-Reset", most=10_000_000_000_000),
    )


def read_pause(headers: Mapping[str, str], now: Instant) -> int | None:
    """Milliseconds that `Retry-After` asks for, an hour at most; None where it is missing or makes no sense.

    A date is taken by the server's own clock where the answer tells it.
    """
    given = {name.lower(): value for name, value in headers.items()}
    text = given.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(int(text) * 1000, LONGEST_PAUSE_MS)
    until, sent = _date(text), _date(given.get("date", ""))
    if until is None:
        return None
    return max(0, min(until - (now if sent is None else sent), LONGEST_PAUSE_MS))


def _number(given: Mapping[str, str], name: str, *, least: int = 0, most: int) -> int | None:
    text = given.get(name.lower(), "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    return int(text) if least <= int(text) <= most else None


def _date(text: str) -> Instant | None:
    """A date as HTTP writes it."""
    try:
        return Instant(round(parsedate_to_datetime(text).timestamp() * 1000)) if text.isascii() else None
    except (ValueError, OverflowError):
        return None
