"""A location's API, opened: a connection, a pace and a token of its own; and whether today's quota lets a run begin.

Law: holds no writer; who writes makes one of a connection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.cli.session import Session
from reconciler.clock import SystemClock
from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import QuotaExhausted
from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import Settings
from reconciler.core.planning.plan import Plan
from reconciler.core.running.pace import Pace
from reconciler.core.running.quota import refuse_overrun, sent_today
from reconciler.highlevel import Agency, ApiArguments, connect_reader, find_token, held_in
from reconciler.ports import LocationReader
from reconciler.store import open_reader

if TYPE_CHECKING:
    from reconciler.highlevel.reader import HighLevelReader


def open_reading(settings: Settings, location: LocationId, pace: Pace) -> HighLevelReader:
    """To read, and nothing else; raises AuthRefused without a token."""
    return connect_reader(settings.api.base_url, **arguments_of(settings, location, pace))


def arguments_of(settings: Settings, location: LocationId, pace: Pace) -> ApiArguments:
    """Of the connection to a location; what the API says of the limits goes to `pace`."""
    api, company = settings.api, settings.company(location)
    return ApiArguments(
        token=token_of(settings, location),
        held_in=token_held_in(settings, location),
        agency=Agency(company, location) if company else None,
        version=api.version,
        timeout_s=api.timeout_s,
        on_quota=partial(_heed_quota, pace),
    )


def token_of(settings: Settings, location: LocationId) -> str:
    """Raises AuthRefused without a token."""
    place = settings.location(location)
    return find_token(location, os.environ, variable=place.token_env, command=place.token_command)


def token_held_in(settings: Settings, location: LocationId) -> str:
    """Where the token of a location is held, for messages."""
    place = settings.location(location)
    return held_in(os.environ, place.token_env, place.token_command)


def _heed_quota(pace: Pace, quota: Quota) -> None:
    pace.heed_quota(quota, SystemClock().now())


def refuse_over_quota(plan: Plan, session: Session, options: Mapping[str, Any]) -> None:
    """A plan that does not fit into what is left of today is not begun, unless --quota-spill lets it wait.

    What runs of this state sent today counts until the API says more. Raises QuotaExhausted.
    """
    for location, requests in _today(plan, session):
        if not options["quota_spill"]:
            refuse_overrun(location, requests, session.pace(location), SystemClock().now())


def quota_notes(plan: Plan, session: Session) -> list[str]:
    """What apply would be refused for, were it begun now."""
    notes = []
    for location, requests in _today(plan, session):
        try:
            refuse_overrun(location, requests, session.pace(location), SystemClock().now())
        except QuotaExhausted as error:
            notes.append(f"{error.message}: apply would be refused, or wait under --quota-spill")
    return notes


def _today(plan: Plan, session: Session) -> list[tuple[LocationId, int]]:
    """The requests of each location, whose pace now knows what was sent today."""
    with open_reader(session.settings.state) as reader:
        for each in plan.locations:
            reckon_today(session.pace(each.location), reader.at(each.location))
    return [(each.location, each.summary.requests) for each in plan.locations]


def reckon_today(pace: Pace, state: LocationReader) -> Pace:
    """The pace, which now knows what runs of this state sent today."""
    now = SystemClock().now()
    pace.assume(sent_today(state.read_runs(), now), now)
    return pace
