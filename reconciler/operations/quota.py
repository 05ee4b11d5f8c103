"""Whether today's quota has room for a run."""

from __future__ import annotations

from reconciler.core.model.errors import QuotaExhausted, ReconcilerError, StateError
from reconciler.core.model.names import LocationId
from reconciler.core.planning.plan import Plan
from reconciler.core.running.pace import Pace, refuse_overrun, sent_today
from reconciler.operations.workspace import Session
from reconciler.ports import Clock, LocationReader
from reconciler.store import open_reader


def assume_sent_today(pace: Pace, clock: Clock, reader: LocationReader) -> None:
    """Counts the requests that runs of this state sent today."""
    now = clock.now()
    # readings are not in the journal: the first answer states what they used
    pace.assume(sent_today(reader.read_runs(), now), now)


def find_overruns(plan: Plan, session: Session) -> dict[LocationId, ReconcilerError]:
    """Why a location's plan does not fit into the rest of today's quota, or its state does not tell.

    Requests that runs of this state sent today count until the API says more.
    """
    overruns: dict[LocationId, ReconcilerError] = {}
    with open_reader(session.settings.state) as reader:
        for planned in plan.locations:
            location, requests = planned.location, planned.summary.requests
            try:
                assume_sent_today(session.pace(location), session.workspace.clock, reader.at(location))
                refuse_overrun(location, requests, session.pace(location), session.workspace.clock.now())
            except (QuotaExhausted, StateError) as error:
                overruns[location] = error
    return overruns


def list_quota_notes(plan: Plan, session: Session) -> list[str]:
    """A line for each location where an apply that began now would be refused."""
    return [
        f"{error.message}: apply would be refused, or wait under --quota-spill"
        for error in find_overruns(plan, session).values()
        if isinstance(error, QuotaExhausted)
    ]
