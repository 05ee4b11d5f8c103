"""A location's API, opened: a connection, a pace and a token of its own.

Law: holds no writer; `operations/apply.py` makes one of the same arguments. A command that prints a token runs beside
the loop, so that one that hangs holds up no other location.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import AuthRefused, ReconcilerError
from reconciler.core.model.measured import QuotaCounted
from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import Settings
from reconciler.core.running.pace import Pace
from reconciler.highlevel import COMMAND_TIMEOUT_S, Agency, ApiArguments, connect_reader, find_token, held_in
from reconciler.operations.workspace import FetchedToken, Session, Tokens, Workspace

if TYPE_CHECKING:
    from reconciler.highlevel import HighLevelReader

AT_ONCE = 32
"""So many commands that print tokens run at once."""
TOKEN_KEPT_MS = 300_000
"""So long a token is used by what is begun with it. A later one is fetched anew: it may be short-lived."""


@dataclass(frozen=True, slots=True, repr=False)
class LocationApi:
    """The API of a location, as settings and environment say; all requests to it go by one pace."""

    workspace: Workspace
    settings: Settings
    location: LocationId
    pace: Pace
    tokens: Tokens = field(default_factory=dict)
    """Those that were fetched; of a session, where there is one."""

    @property
    def token_place(self) -> str:
        """The variable or command that the token comes from, for messages."""
        place = self.settings.location(self.location)
        return held_in(self.workspace.environment, place.token_env, place.token_command)

    def connect_reader(self) -> HighLevelReader:
        """The API, to read and nothing else; raises AuthRefused without a token."""
        return connect_reader(self.settings.api.base_url, **self.make_arguments())

    def make_arguments(self, on_quota: Callable[[Quota], None] | None = None) -> ApiArguments:
        """The arguments of a connection; raises AuthRefused without a token.

        `on_quota` hears of the limits that an answer states; the pace does where it is None.
        """
        settings, location = self.settings, self.location
        company = settings.company(location)
        return ApiArguments(
            token=self._find_token(),
            held_in=self.token_place,
            # a token of the location's own needs no exchange
            agency=Agency(company, location) if company else None,
            version=settings.api.version,
            timeout_s=settings.api.timeout_s,
            transport=self.workspace.transport,
            on_quota=on_quota or self.heed_quota,
            location=self.location,
            report=self.workspace.listener,
        )

    @property
    def has_token(self) -> bool:
        """Whether a token was fetched lately enough to be used: a person may take hours to answer a question."""
        fetched = self.tokens.get(self.location)
        return fetched is not None and self.workspace.clock.now() - fetched.fetched_at < TOKEN_KEPT_MS

    async def fetch_token(
        self, executor: ThreadPoolExecutor | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        """Fetches the token where that is due; an error is kept, and raised where the token is needed."""
        if self.has_token:
            return
        place = self.settings.location(self.location)
        # without a command to wait for there is nothing to do beside the loop
        if place.token_command and not self.workspace.environment.get(place.token_env, "").strip():
            await asyncio.get_running_loop().run_in_executor(executor, self._fetch_token, timeout_s)
        else:
            self._fetch_token()

    def _fetch_token(self, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        location, place = self.location, self.settings.location(self.location)
        now, environment = self.workspace.clock.now(), self.workspace.environment
        variable, command = place.token_env, place.token_command
        try:
            token = find_token(location, environment, variable=variable, command=command, timeout_s=timeout_s)
        except AuthRefused as error:
            self.tokens[location] = FetchedToken(now, error=error)
        else:
            self.tokens[location] = FetchedToken(now, token)

    def _find_token(self) -> str:
        if not self.has_token:
            self._fetch_token()
        fetched = self.tokens[self.location]
        if fetched.error is not None:
            # an error of its own each time: whoever catches one may reword it
            raise AuthRefused(fetched.error.message, hint=fetched.error.hint)
        return fetched.token

    def heed_quota(self, quota: Quota) -> None:
        # the pace first: it knows the requests under way, which no answer counts yet
        now = self.workspace.clock.now()
        self.pace.heed_quota(quota, now)
        if (remaining := self.pace.left_today(now)) is not None:
            self.workspace.listener(QuotaCounted(self.location, remaining))


def find_api(session: Session, location: LocationId) -> LocationApi:
    return LocationApi(session.workspace, session.settings, location, session.pace(location), session.tokens)


async def find_missing_tokens(
    session: Session, locations: Iterable[LocationId], *, timeout_s: float = COMMAND_TIMEOUT_S
) -> dict[LocationId, ReconcilerError]:
    """Fetches the tokens of these locations side by side; why those have none that have none."""
    apis = [find_api(session, location) for location in locations]
    executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="token")
    try:
        await asyncio.gather(*(api.fetch_token(executor, timeout_s) for api in apis))
    finally:
        # a command that still runs when this is cancelled ends by its own time-out
        executor.shutdown(wait=False, cancel_futures=True)
    errors = {api.location: session.tokens[api.location].error for api in apis}
    return {location: error for location, error in errors.items() if error is not None}
