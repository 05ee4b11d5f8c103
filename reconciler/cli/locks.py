"""Whose run is under way in a location: told to whoever plans, or would have to wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.cli.console import Console
from reconciler.cli.session import Session
from reconciler.clock import SystemClock
from reconciler.core.model.lease import Lease, describe_lease
from reconciler.core.model.names import LocationId
from reconciler.core.planning.plan import Plan
from reconciler.ports import StateReader
from reconciler.store import open_reader


def held_leases(reader: StateReader, locations: Iterable[LocationId]) -> list[Lease]:
    """The leases that somebody holds now."""
    now = SystemClock().now()
    found = (reader.at(location).read_lease(now) for location in locations)
    return [lease for lease in found if lease is not None]


def lock_notes(session: Session, reader: StateReader) -> list[str]:
    """A line for each run that is under way, for a command that takes no lease."""
    return [
        f"{describe_lease(lease)}. What that run changes from now on is not known here."
        for lease in held_leases(reader, session.desired)
    ]


def tell_locks(plan: Plan, session: Session, console: Console, options: Mapping[str, Any]) -> None:
    """Tells whoever is about to send, before a plan that may be long, for whom a location is locked."""
    timeout = options["lock_timeout"]
    then = f"This run will wait for it, at most {timeout:g} s." if timeout else "While it is, a run here is refused."
    with open_reader(session.settings.state) as reader:
        for lease in held_leases(reader, [each.location for each in plan.locations]):
            console.note(f"{describe_lease(lease)}. {then}")
