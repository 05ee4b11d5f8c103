"""Many machines: jobs of single locations, in a queue in PostgreSQL, taken by workers. The extra [fleet].

    async with open_fleet(url) as fleet:
        await fleet.enqueue([NewJob(location, Operation.DRIFT, commit)])

Rules
1. A job is (operation, location, commit, approved change digest, request). Its end and its report stand in a table of
   ours (`table.py`): the verdict is never that of the engine.
2. A location has at most one job that has not ended; another one is dropped, and told. That is a convenience: the
   lease of the location keeps two runs apart.
3. A worker takes only jobs of the commit that its checkout is at, and of a format that it knows. Others stay queued.
4. A job sends only changes that were approved for its location. Without an approval it plans, and ends with that.
5. A worker that dies loses its jobs to the others, which go on from the journal. After `MOST_TRIES` a person decides.
6. No password of a database's URL is in any message, table or report.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.model.errors import ReconcilerError, UsageError, install_hint
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.refresh_rules import Method
from reconciler.operations.plan_options import STORED_ONLY, PlanRequest, Reading, Scope
from reconciler.store import POSTGRES

if TYPE_CHECKING:
    from reconciler.fleet.queue import Fleet

FORMAT_VERSION = "1.0"
"""Of a job. A later minor version may have more fields; a job of another major one stays queued."""
MOST_TRIES = 3
KEEP_DAYS = 90
VARIABLE = "RECONCILER_FLEET_DATABASE"
"""The variable that holds the URL where no option gives it. A settings file, which a pull request may write, cannot."""


class FleetError(ReconcilerError):
    """The fleet's database is not as it has to be."""


class Operation(StrEnum):
    """The operation of a job, by the name of the command."""

    APPLY = "apply"
    DRIFT = "drift"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class FleetRequest:
    """The options of a job's operation; each operation reads those that it has."""

    sets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    retry_held: bool = False
    retry_rejected: bool = False
    refresh: Method | None = None
    max_age_ms: int | None = None
    allow: tuple[str, ...] = ()
    reason: str = ""
    create_state: bool = False
    fail_on: tuple[DriftClass, ...] = ()
    """The classes of drift that give exit code 2."""
    full: bool = False
    """Whether a pull reads all contacts."""
    lock_timeout_ms: int = 120_000
    """How long a run waits for a location that is held; a dead worker's lease lasts 90 s."""

    @property
    def scope(self) -> Scope:
        return Scope(self.sets, self.tags, self.retry_held, self.retry_rejected)

    @property
    def reading(self) -> Reading:
        return Reading(self.refresh, self.max_age_ms)

    def make_plan_request(self) -> PlanRequest:
        return PlanRequest(self.scope, self.reading, self.allow, self.reason, self.create_state)

    def make_remake_request(self) -> PlanRequest:
        """As `make_plan_request`, of a plan that says itself which part it is of, and which contacts were read."""
        request = self.make_plan_request()
        return replace(request, scope=replace(request.scope, sets=(), tags=()), reading=STORED_ONLY)


REQUEST = Forms(
    {FleetRequest: JsonSpelling(later=" ".join(FleetRequest.__dataclass_fields__))},
)
"""A field that an older version did not write has its default."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to queue."""

    location: LocationId
    operation: Operation
    commit: str
    request: FleetRequest = field(default_factory=FleetRequest)
    approved: str = ""
    """The change digest that was approved for this location."""
    plan: str = ""
    """The text of a plan file of this location alone, with the approved changes; empty: planned by the job."""


@dataclass(frozen=True, slots=True)
class JobChoice:
    """The jobs of a batch, of locations, or with an id; without any of these the latest job of each location."""

    batch: str = ""
    locations: tuple[LocationId, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """A job for each location, again and again."""

    id: int
    operation: Operation
    cron: str
    locations: tuple[LocationId, ...]
    """Empty: all that have manifests when it is due."""
    request: FleetRequest
    next_at: Instant


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The manner in which a worker works."""

    concurrency: int
    heartbeat_s: float = 10
    drains: bool = False
    """Whether it ends when no job is left."""
    keep_days: int = KEEP_DAYS
    """How long jobs that have ended stay in the table, but the latest of each location."""

    @property
    def stalled_s(self) -> float:
        """So long after its last heartbeat a worker is taken for dead."""
        return 3 * self.heartbeat_s


@contextmanager
def extra_needed() -> Iterator[None]:
    """Around the import of what needs a library of the extra; raises UsageError where it is not installed."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"a fleet needs the extra [fleet]: {error}", hint=install_hint("fleet")) from error


@asynccontextmanager
async def open_fleet(url: str) -> AsyncIterator[Fleet]:
    """The fleet in a database; raises UsageError without the extra, StateError where the database cannot be used."""
    if url.partition("://")[0] not in POSTGRES:
        raise UsageError(
            "the fleet's database is a PostgreSQL" + (", and the URL names another one" if url else ": name its URL"),
            hint=f"--database postgresql://user@host/database, or the variable {VARIABLE}",
        )
    # loaded here: the extra may be missing, and the engine is slow to load
    with extra_needed():
        from reconciler.fleet import queue
    async with queue.open_database(url) as fleet:
        yield fleet
