"""The lease: one applier per location and state.

Rules
1. A lease names its holder, so that who is refused knows whom to ask.
2. It ends by release, or `TTL_MS` after the last heartbeat; a dead holder on the same host loses it at once.
3. Each new lease has a higher fencing number; a write under an older one is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.names import Instant, LocationId, iso

TTL_MS = 90_000
HEARTBEAT_MS = 15_000


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on a location. `run_url` is the CI job's page, if there is one."""

    id: str
    who: str
    operation: str
    host: str
    pid: int
    version: str
    created: Instant
    run_url: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    location: LocationId
    holder: Holder
    fence: int
    expires: Instant


def describe(lease: Lease) -> str:
    """One line for the person who finds the location locked."""
    holder = lease.holder
    page = f", {holder.run_url}" if holder.run_url else ""
    return (
        f"location {lease.location} is locked by {holder.who}@{holder.host} (process {holder.pid}, "
        f"{holder.operation} since {iso(holder.created)}{page}); lease {holder.id} ends {iso(lease.expires)}"
    )
