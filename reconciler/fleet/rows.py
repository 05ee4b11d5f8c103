"""Rows of the fleet's table of jobs as values: read, found, counted. Pure SQL; changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

from reconciler.core.formats.json_forms import Count
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.notice import LocationNotice, Notice
from reconciler.fleet import MOST_TRIES, REQUEST, FleetError, FleetRequest, JobChoice, Operation
from reconciler.output.fleet import FleetJob, JobStatus
from reconciler.store.postgres_async import Connection, Record, select

COLUMNS: LiteralString = """id, batch, location, operation, commit_id, approved, status, tries, exit_code, note,
    worker, queued, started, ended, not_before, request, engine_job, stopping, format_version"""
OPEN: LiteralString = "status IN ('queued', 'running')"


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that has not ended, as the queue has to know it."""

    id: int
    location: LocationId
    operation: str
    commit: str
    format_version: str
    status: JobStatus
    tries: int
    worker: str
    engine_job: int | None
    stopping: bool
    """Whether a person asked that it stop."""
    not_before: Instant | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker runs."""

    open: OpenJob
    job: FleetJob
    request: FleetRequest
    plan: str
    """The text of the plan file with the approved changes; empty where the job has to make it."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a try: for good, or until the job is tried again."""

    status: JobStatus
    exit_code: int | None = None
    """That of the try; a job that is queued again has none yet."""
    note: str = ""
    result: str = ""
    """The JSON of its report."""
    pause_s: float = 0
    """How long a job that is queued again waits."""
    counts: bool = True
    """Whether the try is one of the few that a job has."""
    notice: Notice | None = None
    """What a webhook gets of it; None of an operation that sends none."""


def make_job_notice(job: OpenJob, exit_code: int) -> Notice | None:
    """The notice of a job without a report; None of one that only reads people, as the command sends none."""
    if job.operation == Operation.PULL:
        return None
    return Notice(job.operation, (LocationNotice(job.location, exit_code),))


def end_stopped(job: OpenJob, note: str) -> JobEnd:
    """A further try would send what a person did not want sent."""
    return JobEnd(JobStatus.CANCELLED, ExitCode.PARTIAL, note, notice=make_job_notice(job, ExitCode.PARTIAL))


def end_uncarried(job: OpenJob) -> JobEnd:
    """How a queued job goes on that no job of the engine carries any more."""
    if job.stopping:
        return end_stopped(job, "stopped by a person")
    return JobEnd(JobStatus.QUEUED, note="queued anew: the engine had lost it")


def after_death(job: OpenJob) -> JobEnd:
    """How a job goes on after the death of its worker."""
    if job.stopping:
        return end_stopped(job, "stopped by a person; its worker died, or lost it")
    if job.status is JobStatus.RUNNING and job.tries >= MOST_TRIES:
        note = f"held for a person: {job.tries} workers died or lost it while they ran it"
        return JobEnd(JobStatus.HELD, ExitCode.ERROR, note, notice=make_job_notice(job, ExitCode.ERROR))
    return JobEnd(JobStatus.QUEUED, note=f"taken over: its worker died, or lost it (try {job.tries} of {MOST_TRIES})")


async def find_jobs(connection: Connection, choice: JobChoice, *, with_results: bool) -> list[FleetJob]:
    """The chosen jobs; raises nothing where there are none."""
    # an empty choice takes all, hence the comparisons with nothing
    values = {"batch": choice.batch, "locations": list(choice.locations), "ids": list(choice.ids)}
    result: LiteralString = ", result" if with_results else ""
    # a dropped job ended before it began: the one before it tells how the location is
    latest: LiteralString = "" if choice.batch or choice.ids else "DISTINCT ON (location)"
    not_dropped: LiteralString = "" if choice.batch or choice.ids else "AND status <> 'dropped'"
    rows = await select(
        connection,
        f"""SELECT {latest} {COLUMNS}{result} FROM reconciler_fleet_jobs
        WHERE (%(batch)s = '' OR batch = %(batch)s) AND (%(ids)s::bigint[] = '{{}}' OR id = ANY(%(ids)s))
            AND (%(locations)s::text[] = '{{}}' OR location = ANY(%(locations)s)) {not_dropped}
        ORDER BY location, id DESC""",
        values,
    )
    return [read_job(row) for row in rows]


async def find_open(connection: Connection, condition: LiteralString) -> list[OpenJob]:
    """Jobs that have not ended, and meet the condition."""
    query: LiteralString = f"SELECT {COLUMNS} FROM reconciler_fleet_jobs WHERE {OPEN} AND {condition} ORDER BY id"
    return [read_open(row) for row in await select(connection, query, {})]


async def find_running(connection: Connection, *, worker: str = "", carriers: Sequence[int] = ()) -> list[OpenJob]:
    """Jobs that run, of a worker or of all; and those that one of these jobs of the engine carries."""
    query: LiteralString = f"""SELECT {COLUMNS} FROM reconciler_fleet_jobs
        WHERE (status = 'running' AND (%(worker)s = '' OR worker = %(worker)s))
            OR ({OPEN} AND engine_job = ANY(%(carriers)s)) ORDER BY id"""
    values = {"worker": worker, "carriers": list(carriers)}
    return [read_open(row) for row in await select(connection, query, values)]


@dataclass(frozen=True, slots=True)
class OpenCount:
    """The jobs of a commit and a format that have not ended."""

    commit: str
    format_version: str
    queued: int
    soon: int
    """Those that run, or may begin before long."""


async def count_open(connection: Connection, soon_s: float) -> list[OpenCount]:
    rows = await select(
        connection,
        f"""SELECT commit_id, format_version, count(*) FILTER (WHERE status = 'queued') AS queued,
            count(*) FILTER (WHERE not_before IS NULL OR not_before < now() + make_interval(secs => %(soon)s)) AS soon
        FROM reconciler_fleet_jobs WHERE {OPEN} GROUP BY commit_id, format_version ORDER BY 1, 2""",
        {"soon": float(soon_s)},
    )
    return [OpenCount(*row.values()) for row in rows]


def read_request(text: str) -> FleetRequest:
    """Raises FleetError for one that a later version has written, with options that this one does not know."""
    try:
        return REQUEST.form(FleetRequest).read(json.loads(text))
    except (LookupError, TypeError, ValueError) as error:
        raise FleetError(
            f"this version cannot read its options ({type(error).__name__})", hint="bring the workers up to date"
        ) from None


def read_open(row: Record) -> OpenJob:
    return OpenJob(
        id=row["id"],
        location=LocationId(row["location"]),
        operation=row["operation"],
        commit=row["commit_id"],
        format_version=row["format_version"],
        status=JobStatus(row["status"]),
        tries=row["tries"],
        worker=row["worker"],
        engine_job=row["engine_job"],
        stopping=row["stopping"],
        not_before=row["not_before"] and as_instant(row["not_before"]),
    )


def read_job(row: Record) -> FleetJob:
    return FleetJob(
        id=row["id"],
        batch=row["batch"],
        location=LocationId(row["location"]),
        operation=row["operation"],
        commit=row["commit_id"],
        approved=row["approved"],
        status=JobStatus(row["status"]),
        tries=Count(row["tries"]),
        exit_code=None if row["exit_code"] is None else Count(row["exit_code"]),
        note=row["note"],
        worker=row["worker"],
        queued=as_instant(row["queued"]),
        started=row["started"] and as_instant(row["started"]),
        ended=row["ended"] and as_instant(row["ended"]),
        not_before=row["not_before"] and as_instant(row["not_before"]),
        result_text=row.get("result", ""),
    )


def as_instant(time: datetime) -> Instant:
    return Instant(round(time.timestamp() * 1000))


def as_time(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant / 1000, UTC)
