"""The connection to one location's API: requests out, bodies in, every failure mapped once to the error tree.

Rules
1. Known not to have had an effect: refused connections, name look-ups, 429. Unknown: time-outs, resets, 5xx, bodies
   that cannot be read. Refused, which tells nothing of the effect: the other 4xx, and redirects, which are never
   followed.
2. The token leaves in the Authorization header to the configured origin; it is cut out of every answer and of every
   message.
3. The server's words reach a message as one short printable line.
4. The limits that any answer states, an error's too, go to `on_quota` before the answer is judged.
5. An agency token is exchanged for a location token. A request that was refused with 401 is known not applied: a read
   is sent once more with a new location token, a write by its sender, which dates it; then it is refused for good.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TypeVar

from reconciler.core.model.api_limits import Quota, read_pause, read_quota
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    InDoubt,
    NotApplied,
    NoWay,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
)
from reconciler.core.model.events import Event
from reconciler.core.model.measured import RequestEnded
from reconciler.core.model.names import Instant, LocationId, iso
from reconciler.core.model.outcome import called, is_version_refused, read_refusal
from reconciler.core.running.pace import SHARED
from reconciler.highlevel.http_client import (
    FORM,
    JSON,
    HttpAnswer,
    HttpClient,
    NoAnswer,
    Transport,
    Unsent,
    UnusablePath,
    read_address,
)
from reconciler.highlevel.route import find_route, no_route
from reconciler.highlevel.tokens import (
    LOCATION_TOKEN_PATH,
    Agency,
    Exchange,
    LocationToken,
    cut,
    location_token_body,
    read_location_token,
    without,
)
from reconciler.ports import Reporter
from reconciler.system import wall_clock
from reconciler.wire import API_VERSION, UnreadableAnswer, one_line, read_error
from reconciler.wire_people import path_template

T = TypeVar("T")

OnQuota = Callable[[Quota], None]
NO_LOCATION = LocationId("")


def ignore(told: Quota | Event) -> None:
    """For a caller that keeps no pace, and for one that measures nothing."""


class Connection:
    """HTTP to one origin with one token.

    `held_in`: where the token is held, for messages. `agency`: the token is an agency's, exchanged for the location's.
    `on_quota` gets the limits that each answer states, `report` the time of each request to `location`. `environment`
    names proxies and certificates; raises NoWay.
    `transport` replaces the network in tests, and `now` the time of day.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str,
        held_in: str = "",
        agency: Agency | None = None,
        version: str = API_VERSION,
        timeout_s: float = 60.0,
        transport: Transport | None = None,
        environment: Mapping[str, str] = os.environ,
        on_quota: OnQuota = ignore,
        now: Callable[[], Instant] = wall_clock,
        location: LocationId = NO_LOCATION,
        report: Reporter = ignore,
    ) -> None:
        self._token, self._secrets = token, [token]
        self._agency, self._exchange = agency, Exchange(self._exchange_token, now)
        # the token that was exchanged after a refusal, and that no answer has accepted yet: one refused too is no good
        self._untried = ""
        self._called = called(held_in)
        self._on_quota, self.now = on_quota, now
        self._location, self._report = location, report
        # a transport of one's own asks nobody
        self._route = route = no_route() if transport else find_route(base_url, environment)
        self._http = HttpClient(
            base_url,
            version=version,
            timeout_s=timeout_s,
            context=route.context,
            proxy=route.proxy,
            transport=transport,
            now=now,
        )
        self._where = self._http.origin
        self._host = read_address(base_url).host

    async def close(self) -> None:
        await self._http.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        resends: bool = True,
        let_go: Instant | None = None,
    ) -> HttpAnswer:
        """A 2xx answer. Without `resends` a refusal that a new token may cure is NotApplied: the caller sends again.

        `let_go`: when the caller's lease was looked at; a body that is too late by then does not leave.
        """
        token = await self.token()
        answer = await self._ask(method, path, body, token, let_go=let_go)
        # once: a token fresh from the exchange that is refused too will not be cured by another one
        if answer.status == HTTPStatus.UNAUTHORIZED and self._agency is not None and token != self._untried:
            token = self._untried = await self._exchange.token(refused=token)
            if not resends:
                raise NotApplied(f"the token of location {self._agency.location} was refused, and exchanged anew")
            answer = await self._ask(method, path, body, token)
        if answer.status != HTTPStatus.UNAUTHORIZED and token == self._untried:
            self._untried = ""
        return self._judge(answer)

    async def token(self) -> str:
        """The token of the location, exchanged for the agency's where that is given."""
        return self._token if self._agency is None else await self._exchange.token()

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        token: str,
        *,
        kind: str = JSON,
        let_go: Instant | None = None,
    ) -> HttpAnswer:
        began, status = self.now(), 0
        try:
            answer = await self._http.ask(method, path, body, token=token, kind=kind, let_go=let_go)
            status = answer.status
            return answer
        except Unsent as error:
            raise self._unsent(error) from None
        except NoAnswer as error:
            raise InDoubt(f"no answer from {self._where}: {self.clean(str(error))}") from None
        except UnusablePath as error:
            raise RequestRefused(f"a path that HTTP cannot carry: {self.clean(str(error))}", status=0) from None
        finally:
            took, template = self.now() - began, path_template(path)
            self._report(RequestEnded(self._location, method, template, self._host, began, took, status))

    def _unsent(self, error: Unsent) -> NotApplied:
        message = self.clean(str(error))
        if error.untrusted is not None:
            return NoWay(f"cannot reach {self._where}: {message}", hint=self._route.trust_hint(error.untrusted))
        if self._route.proxy is None or error.is_of_tls:
            return NotApplied(f"cannot reach {self._where}: {message}", hint="see api.base_url and the network")
        did = "refused that" if error.is_by_proxy else "cannot be reached"
        message = f"cannot reach {self._where}: it is asked through {self._route}, which {did}: {message}"
        return NotApplied(message, hint=f"see {self._route.named_by}, or name the host in NO_PROXY to ask it directly")

    def _judge(self, answer: HttpAnswer) -> HttpAnswer:
        """The answer without secrets; raises the error that it is."""
        quota = read_quota(answer.headers)
        self._on_quota(quota)
        if not answer.is_success:
            raise self._failure(answer, quota)
        if answer.unfit:
            raise InDoubt(f"an answer of {self._where} cannot be read: {answer.unfit}")
        return replace(answer, body=without(self._secrets, answer.body))

    async def _exchange_token(self) -> LocationToken:
        assert self._agency is not None
        # an exchange in doubt leaves no doubt: the request that needed the token was not sent
        company, location = self._agency.company, self._agency.location
        try:
            body = location_token_body(company, location)
            answer = await self._ask("POST", LOCATION_TOKEN_PATH, body, self._token, kind=FORM)
            exchanged = read_location_token(answer.body) if answer.is_success else None
        except (InDoubt, UnreadableAnswer) as error:
            raise NotApplied(f"{self._called} was not exchanged: {error}") from None
        except ValueError as error:
            raise AuthRefused(f"{self._called} cannot be exchanged: {error}", hint="see company_id") from None
        if exchanged is None:
            raise self._not_exchanged(answer)
        self._secrets.append(exchanged.token)
        if exchanged.location not in (None, location):
            raise AuthRefused(
                f"{self._called} was exchanged for a token of another location than {location}", hint="see company_id"
            )
        return exchanged

    def _not_exchanged(self, answer: HttpAnswer) -> ApiError:
        status = answer.status
        message = (
            f"{self._called} was not exchanged for one of location {self._agency.location if self._agency else ''}"
        )
        message += f": {self._answered(answer, self._said(answer))}"
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
            return self._later(message, answer)
        return AuthRefused(
            message,
            status=status,
            hint="see that company_id is the agency's, that the token is the agency's and has the scope oauth.write, "
            "and that its app is installed in the location",
        )

    def _answered(self, answer: HttpAnswer, said: tuple[str, ...]) -> str:
        message = one_line("; ".join(said)) or answer.unfit
        return f"{self._where} answered {answer.status}" + (f": {message}" if message else "")

    def _said(self, answer: HttpAnswer) -> tuple[str, ...]:
        """The API's own words."""
        return tuple(map(self.clean, read_error(answer.body)))

    def _failure(self, answer: HttpAnswer, quota: Quota) -> ApiError:
        status, said, page = answer.status, self._said(answer), answer.is_page
        message = self._answered(answer, said)
        if status in (401, 403) or is_version_refused(status, said):
            refusal = read_refusal(status, said, self._called, page=page)
            return AuthRefused(
                f"{message}; {refusal.meaning}", status=status, hint=refusal.remedy, said=said, page=page
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return self._too_many(message, answer, quota)
        if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
            return InDoubt(message, said=said)
        return RequestRefused(message, status=status, said=said)

    def _too_many(self, message: str, answer: HttpAnswer, quota: Quota) -> ApiError:
        now = self.now()
        # a 429 of the window passes in seconds, one of the day at midnight
        if quota.daily_remaining != 0:
            return self._later(message, answer)
        resets = quota.resets_at(now)
        return QuotaExhausted(
            f"{message}: today's quota is used up until {iso(resets)}",
            hint=f"run it again then; apply and revert wait for it under --quota-spill; {SHARED}",
            resets=resets,
        )

    def _later(self, message: str, answer: HttpAnswer) -> NotApplied:
        """Not applied, and how long to wait, with the header that asks for it."""
        pause = read_pause(answer.headers, self.now())
        asked = "" if not pause else f"Retry-After: {self.clean(answer.headers['Retry-After'])}"
        limited = answer.status == HTTPStatus.TOO_MANY_REQUESTS
        return (RateLimited if limited else NotApplied)(
            f"{message}; {asked}" if asked else message, retry_after_ms=pause, asked=asked
        )

    def read(self, reader: Callable[[bytes], T], body: bytes) -> T:
        try:
            return reader(body)
        except UnreadableAnswer as error:
            raise InDoubt(f"an answer of {self._where} cannot be read: {error}") from error

    def clean(self, text: str) -> str:
        """Text from outside as one short printable line without a token."""
        return one_line(cut(self._secrets, text))
