"""Agency tokens, and the location tokens that they are exchanged for. The only state is which were issued.

S: `POST /oauth/locationToken`, a form with companyId and locationId, under the agency's token. What it answers when
something is wrong, and whether it counts against the location's limits, is not specified: see `Assumptions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from reconciler.core.model.names import Instant, LocationId
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.message import RefusedRequest, Request

FORM = "application/x-www-form-urlencoded"
NO_COMPANY = "The token does not have access to this company."
NO_LOCATION = "Location not found"


@dataclass(frozen=True, slots=True)
class SandboxAgency:
    """An agency's token, the company that it is of, and what its location tokens may do."""

    token: str
    company: str
    scopes: frozenset[str]


class Counter:
    """Where an agency's token is exchanged."""

    def __init__(self, agency: SandboxAgency, location: LocationId, rules: Assumptions) -> None:
        self.agency = agency
        self.issued: dict[str, Instant] = {}
        self._location = location
        self._rules = rules

    def is_good(self, token: str, now: Instant) -> bool:
        """Whether the token was issued here and is still good."""
        return now < self.issued.get(token, now)

    def revoke(self) -> None:
        """Every location token ends now."""
        self.issued.clear()

    def exchange(self, request: Request, now: Instant) -> dict[str, Any]:
        """The answer's document; Refused where the form is not right."""
        form = self._form(request)
        if form["companyId"] != self.agency.company:
            raise RefusedRequest(401, NO_COMPANY)
        if form["locationId"] != self._location:
            raise RefusedRequest(400, NO_LOCATION)
        if self._rules.exchange_revokes:
            self.revoke()
        token = f"location-token-{len(self.issued) + 1}-{now}"
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

    def _form(self, request: Request) -> dict[str, str]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        fields = parse_qs(request.body.decode("utf-8", "replace")) if kind == FORM else {}
        problems = [f"{key} must be a string" for key in ("companyId", "locationId") if len(fields.get(key, [])) != 1]
        if problems:
            raise RefusedRequest(422, problems)
        return {key: values[0] for key, values in fields.items()}
