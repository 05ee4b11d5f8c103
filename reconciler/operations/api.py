"""A location's API, opened: a connection, a pace and a token of its own; and whether today's quota has room for a run.

Law: holds no writer; `operations/apply.py` makes one of the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import QuotaExhausted
from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import Settings
from reconciler.core.planning.plan import Plan
from reconciler.core.running.pace import Pace, refuse_overrun, sent_today
from reconciler.highlevel import Agency, ApiArguments, connect_reader, find_token, held_in
from reconciler.operations.workspace import Session, Workspace
from reconciler.ports import LocationReader
from reconciler.store import open_reader

if TYPE_CHECKING:
    from reconciler.highlevel import HighLevelReader


@dataclass(frozen=True, slots=True, repr=False)
class LocationApi:
    """The API of a location, as settings and environment say; all requests to it go by one pace."""

    workspace: Workspace
    settings: Settings
    location: LocationId
    pace: Pace

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
        settings, location, environment = self.settings, self.location, self.workspace.environment
        place, company = settings.location(location), settings.company(location)
        return ApiArguments(
            token=find_token(location, environment, variable=place.token_env, command=place.token_command),
            held_in=self.token_place,
            # a token of the location's own needs no exchange
            agency=Agency(company, location) if company else None,
            version=settings.api.version,
            timeout_s=settings.api.timeout_s,
            transport=self.workspace.transport,
            on_quota=on_quota or self.heed_quota,
        )

    def heed_quota(self, quota: Quota) -> None:
        self.pace.heed_quota(quota, self.workspace.clock.now())

    def assume_sent_today(self, reader: LocationReader) -> None:
        """Counts the requests that runs of this state sent today."""
        now = self.workspace.clock.now()
        # readings are not in the journal: the first answer states what they used
        self.pace.assume(sent_today(reader.read_runs(), now), now)


def find_api(session: Session, location: LocationId) -> LocationApi:
    return LocationApi(session.workspace, session.settings, location, session.pace(location))


def refuse_over_quota(plan: Plan, session: Session) -> None:
    """Raises QuotaExhausted where a plan does not fit into the rest of today's quota.

    Requests that runs of this state sent today count until the API says more.
    """
    for location, requests in _count_requests(plan, session):
        refuse_overrun(location, requests, session.pace(location), session.workspace.clock.now())


def list_quota_notes(plan: Plan, session: Session) -> list[str]:
    """A line for each location where an apply that began now would be refused."""
    notes = []
    for location, requests in _count_requests(plan, session):
        try:
            refuse_overrun(location, requests, session.pace(location), session.workspace.clock.now())
        except QuotaExhausted as error:
            notes.append(f"{error.message}: apply would be refused, or wait under --quota-spill")
    return notes


def _count_requests(plan: Plan, session: Session) -> list[tuple[LocationId, int]]:
    """The requests of each location; its pace takes in the requests that were sent today."""
    with open_reader(session.settings.state) as reader:
        for planned in plan.locations:
            find_api(session, planned.location).assume_sent_today(reader.at(planned.location))
    return [(planned.location, planned.summary.requests) for planned in plan.locations]
