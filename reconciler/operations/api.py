"""A location's API, opened: a connection, a pace and a token of its own; and whether today's quota has room for a run.

Law: holds no writer; `operations/apply.py` makes one of the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import QuotaExhausted
from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import Settings
from reconciler.core.planning.plan import Plan
from reconciler.core.running.pace import Pace, refuse_overrun, sent_today
from reconciler.highlevel import Agency, ApiArguments, connect_reader, find_token, held_in
from reconciler.operations.workspace import Session, Workspace
from reconciler.ports import Clock, LocationReader
from reconciler.store import open_reader

if TYPE_CHECKING:
    from reconciler.highlevel import HighLevelReader

OnQuota = Callable[[Quota], None]


def open_reading(workspace: Workspace, settings: Settings, location: LocationId, pace: Pace) -> HighLevelReader:
    """The API of a location, to read and nothing else; raises AuthRefused without a token."""
    arguments = make_arguments(workspace, settings, location, make_quota_listener(pace, workspace.clock))
    return connect_reader(settings.api.base_url, **arguments)


def make_arguments(workspace: Workspace, settings: Settings, location: LocationId, on_quota: OnQuota) -> ApiArguments:
    """The arguments of a connection to a location; raises AuthRefused without a token."""
    api, company = settings.api, settings.company(location)
    return ApiArguments(
        token=find_location_token(workspace, settings, location),
        held_in=name_token_place(workspace, settings, location),
        # a token of the location's own needs no exchange
        agency=Agency(company, location) if company else None,
        version=api.version,
        timeout_s=api.timeout_s,
        on_quota=on_quota,
    )


def make_quota_listener(pace: Pace, clock: Clock) -> OnQuota:
    """Hands the limits that an answer states to the pace of its location."""
    return partial(_set_quota, pace, clock)


def _set_quota(pace: Pace, clock: Clock, quota: Quota) -> None:
    pace.heed_quota(quota, clock.now())


def find_location_token(workspace: Workspace, settings: Settings, location: LocationId) -> str:
    """The token of a location; raises AuthRefused where there is none."""
    place = settings.location(location)
    return find_token(location, workspace.environment, variable=place.token_env, command=place.token_command)


def name_token_place(workspace: Workspace, settings: Settings, location: LocationId) -> str:
    """The variable or command that a location's token comes from, for messages."""
    place = settings.location(location)
    return held_in(workspace.environment, place.token_env, place.token_command)


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
            assume_sent_today(session.pace(planned.location), reader.at(planned.location), session.workspace.clock)
    return [(planned.location, planned.summary.requests) for planned in plan.locations]


def assume_sent_today(pace: Pace, reader: LocationReader, clock: Clock) -> Pace:
    """The pace, which counts the requests that runs of this state sent today."""
    now = clock.now()
    # readings are not in the journal: the first answer states what they used
    pace.assume(sent_today(reader.read_runs(), now), now)
    return pace
