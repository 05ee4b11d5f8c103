"""Admission to a location: the rate limit, and the location tokens that an agency's token is exchanged for.

Rules
1. In no interval of its length are more requests let through than the limit, unless `interval_slides` is off.
2. The day is a day of UTC.
3. Requests of all integrations of the location share the limit: `spend` takes from it without a request.
4. S: `POST /oauth/locationToken`, a form with companyId and locationId, under the agency's token. The vendor does not
   specify the answer to a wrong form, nor whether it counts against the location's limits: see `Assumptions`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from urllib.parse import parse_qs

from reconciler.core.model import JsonObject
from reconciler.core.model.names import Instant, LocationId
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import Headers, RefusedRequest, Request

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """S: 100 requests in 10 s and 200,000 a day; F: sandbox accounts 25 and 10,000."""

    requests: int = 100
    interval_ms: int = 10_000
    requests_per_day: int = 200_000

    def __post_init__(self) -> None:
        if min(self.requests, self.interval_ms, self.requests_per_day) < 1:
            raise ValueError("a rate limit below 1 lets nothing through")


class Limiter:
    """The only state is when requests were let through."""

    def __init__(self, limits: Limits, assumptions: Assumptions) -> None:
        self.limits = limits
        self._rules = assumptions
        self._recent: deque[Instant] = deque()
        self._day = 0
        self._today = 0

    def admit(self, now: Instant) -> bool:
        """Whether a request may pass at `now`; if so it counts."""
        self._forget_past(now)
        allowed = self._requests_left() > 0 and self._requests_left_today() > 0
        # where refused requests count, a client that hurries on keeps itself out
        if allowed or self._rules.refused_requests_count:
            self._count_request(now)
        return allowed

    def spend(self, requests: int, *, now: Instant) -> None:
        """Counts requests of another integration."""
        self._forget_past(now)
        for _ in range(requests):
            self._count_request(now)

    def headers(self, now: Instant) -> Headers:
        """The limit and the requests that remain, with this one already counted, as every answer has them."""
        self._forget_past(now)
        lines: Headers = (
            ("X-RateLimit-Limit-Daily", str(self.limits.requests_per_day)),
            ("X-RateLimit-Daily-Remaining", str(self._requests_left_today())),
            ("X-RateLimit-Interval-Milliseconds", str(self.limits.interval_ms)),
            ("X-RateLimit-Max", str(self.limits.requests)),
            ("X-RateLimit-Remaining", str(self._requests_left())),
        )
        if self._rules.daily_reset_header:
            lines += (("X-RateLimit-Daily-Reset", str(DAY_MS - now % DAY_MS)),)
        return lines

    def wait_ms(self, now: Instant) -> int:
        """How long a request that is refused at `now` had better wait."""
        self._forget_past(now)
        if self._requests_left_today() <= 0:
            return DAY_MS - now % DAY_MS
        if self._requests_left() > 0:
            return 0
        if not self._rules.interval_slides:
            return self.limits.interval_ms - now % self.limits.interval_ms
        # room for one comes when so many have left the interval that one less than the limit is in it
        return self._recent[len(self._recent) - self.limits.requests] + self.limits.interval_ms - now

    def _count_request(self, now: Instant) -> None:
        self._recent.append(now)
        self._today += 1

    def _requests_left(self) -> int:
        return max(0, self.limits.requests - len(self._recent))

    def _requests_left_today(self) -> int:
        return max(0, self.limits.requests_per_day - self._today)

    def _forget_past(self, now: Instant) -> None:
        if now // DAY_MS > self._day:
            self._day, self._today = now // DAY_MS, 0
        length = self.limits.interval_ms
        # an interval that does not slide forgets all at its end; the first instant of the next one belongs to that
        horizon = now - length if self._rules.interval_slides else now // length * length - 1
        while self._recent and self._recent[0] <= horizon:
            self._recent.popleft()


FORM = "application/x-www-form-urlencoded"
NO_COMPANY = "The token does not have access to this company."
NO_LOCATION = "Location not found"


@dataclass(frozen=True, slots=True)
class SandboxAgency:
    """An agency's token."""

    token: str
    company: str
    scopes: frozenset[str]
    """The rights of the location tokens that it is exchanged for."""


class TokenExchange:
    """Exchanges an agency's token for location tokens."""

    def __init__(self, agency: SandboxAgency, location: LocationId, rules: Assumptions) -> None:
        self.agency = agency
        self.issued: dict[str, Instant] = {}
        self._location = location
        self._rules = rules

    def is_good(self, token: str, now: Instant) -> bool:
        """Whether the token was issued here and is still good."""
        # an unknown token ends now, and is no longer good
        return now < self.issued.get(token, now)

    def revoke(self) -> None:
        """Every location token ends now."""
        self.issued.clear()

    def issue_token(self, request: Request, now: Instant) -> JsonObject:
        """The answer's document; raises RefusedRequest where the form is not right."""
        form = self._read_form(request)
        if form["companyId"] != self.agency.company:
            raise RefusedRequest(401, NO_COMPANY)
        if form["locationId"] != self._location:
            raise RefusedRequest(400, NO_LOCATION)
        if self._rules.exchange_revokes:
            self.revoke()
        # no chance in it: the same requests at the same times issue the same tokens
        token = f"location-token-{self._location}-{len(self.issued) + 1}-{now}"
        self.issued[token] = Instant(now + 1000 * self._rules.location_token_s)
        camel = self._rules.exchange_in_camel_case
        return {
            "accessToken" if camel else "access_token": token,
            "tokenType" if camel else "token_type": "Bearer",
            "expiresIn" if camel else "expires_in": self._rules.location_token_s,
            "scope": " ".join(sorted(self.agency.scopes)),
            "locationId": self._location,
            "userId": "sandbox",
        }

    def _read_form(self, request: Request) -> dict[str, str]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        fields = parse_qs(request.body.decode("utf-8", "replace")) if kind == FORM else {}
        problems = [f"{key} must be a string" for key in ("companyId", "locationId") if len(fields.get(key, [])) != 1]
        if problems:
            raise RefusedRequest(422, problems)
        return {key: values[0] for key, values in fields.items()}
