"""The lease: one applier per location and state.

Rules
1. A lease names its holder, so that a refused process can tell its user where to ask.
2. It ends by release, or `TTL_MS` after the last heartbeat; a holder of our host, boot and PID namespace loses it at
   once when its process is gone.
3. Each new lease has a higher fencing number; a write under an older one is refused.
4. A heartbeat every `HEARTBEAT_MS` renews it, so that a request has its turn with at least the difference left, and its
   intent may take some seconds of that. A process that was paused beyond the end of its lease sends nothing more.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from reconciler.core.model.errors import LeaseLost, LockHeld, UsageError
from reconciler.core.model.journal import RunRecord, RunStatus
from reconciler.core.model.names import Instant, LocationId, iso

# six heartbeats: one that is late for a slow disk or network costs no lease
TTL_MS = 90_000
HEARTBEAT_MS = 15_000
# what is left of a lease when a request has its turn, less 10 s for its intent (`LATEST_MS`) and 5 s of margin: one
# that lasts longer could change tags while another run has the lease
LONGEST_REQUEST_S = 60
# a run may hold the lock for minutes: asking more often would only load the state's server
FIRST_PAUSE_MS = 1_000
LONGEST_PAUSE_MS = 16_000


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that works on a location."""

    id: str
    who: str
    operation: str
    host: str
    pid: int
    version: str
    created: Instant
    run_url: str = ""
    """The CI job's page, if there is one."""
    boot_id: str = ""
    """Tells the process from others of its number, with its namespaces and its start; empty: unknown."""
    pid_namespace: str = ""
    process_start: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    location: LocationId
    holder: Holder
    fence: int
    expires: Instant


def describe_lease(lease: Lease) -> str:
    """One line for a person that the lock keeps out."""
    holder = lease.holder
    page = f", {holder.run_url}" if holder.run_url else ""
    return (
        f"location {lease.location} is locked by {holder.who}@{holder.host} (process {holder.pid}, "
        f"{holder.operation} since {iso(holder.created)}{page}); lease {holder.id} ends {iso(lease.expires)}"
    )


def unlock_command(lease: Lease) -> str:
    """The command that ends a lease left behind."""
    return f"reconciler state unlock {shlex.quote(lease.holder.id)} --location {shlex.quote(lease.location)}"


def lock_held_error(lease: Lease) -> LockHeld:
    """The error where the location is locked: it names the holder, and the command that ends a lease left behind."""
    return LockHeld(
        describe_lease(lease),
        hint=f"wait for it (--lock-timeout SECONDS); if that process is gone for good: {unlock_command(lease)}",
    )


def lease_lost_error(lease: Lease) -> LeaseLost:
    """The error of a write under a lease that is over."""
    return LeaseLost(
        f"the lease {lease.holder.id} on location {lease.location} was taken over",
        hint="run plan again: what was in flight is listed as in doubt",
    )


def lease_ended_error(lease: Lease, now: Instant) -> LeaseLost:
    """The error of a process that wakes after its lease ended."""
    return LeaseLost(
        f"the lease {lease.holder.id} on location {lease.location} ended {iso(lease.expires)}, and it is {iso(now)}: "
        "this process was paused, and sends nothing more",
        hint="run apply again: it goes on from what the journal holds",
    )


def wrong_lease_error(location: LocationId, given: str, held: Lease | None) -> UsageError:
    """The error of `state unlock` with another id than that of the lease."""
    if held is None:
        return UsageError(f"location {location} is not locked", hint="there is nothing to unlock")
    return UsageError(
        f"{given!r} is not the lease of location {location}; nothing was unlocked", hint=f"{describe_lease(held)}"
    )


def judge_by_lease(record: RunRecord, lease: Lease | None) -> RunRecord:
    """The run as the location's lease tells: one that has not ended lasts as long as the lease that it began under.

    `lease`: the one that is held now, None where there is none.
    """
    # a killed process wrote no end: its run is over once its lease is gone, or another one was taken since
    lasts = lease is not None and lease.holder.created <= record.header.started
    if record.status is not RunStatus.RUNNING or lasts:
        return record
    return replace(record, status=RunStatus.INTERRUPTED)


def retry_pauses(timeout_ms: int) -> Iterator[int]:
    """How long to wait between attempts: from 1 second doubling to 16, together `timeout_ms`."""
    pause = FIRST_PAUSE_MS
    while timeout_ms > 0:
        # the last pause ends with the timeout: there is one more attempt at its end
        yield min(pause, timeout_ms)
        timeout_ms -= pause
        pause = min(2 * pause, LONGEST_PAUSE_MS)
