"""The fleet's own tables: jobs with their ends and reports, and schedules. Pure SQL; knows no engine.

Rules
1. A change of a job that has not ended names the engine's job that it is under. A worker that was paused, and whose
   job was taken over, names an older one: it changes nothing.
2. Two unfinished jobs of a location cannot be in the table: a unique index sees to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import LiteralString

from reconciler.fleet import FORMAT_VERSION, REQUEST, NewJob
from reconciler.fleet.rows import (
    COLUMNS,
    OPEN,
    Claim,
    JobEnd,
    OpenJob,
    read_job,
    read_open,
    read_request,
)
from reconciler.output.fleet import FleetJob
from reconciler.store.postgres_async import Connection, select

TABLES: LiteralString = """
CREATE TABLE IF NOT EXISTS reconciler_fleet_jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format_version TEXT NOT NULL,
    batch TEXT NOT NULL,
    location TEXT COLLATE "C" NOT NULL,
    operation TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    approved TEXT NOT NULL,
    request TEXT NOT NULL,
    plan TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    exit_code BIGINT,
    note TEXT NOT NULL DEFAULT '',
    worker TEXT NOT NULL DEFAULT '',
    stopping BOOLEAN NOT NULL DEFAULT false,
    engine_job BIGINT,
    result TEXT NOT NULL DEFAULT '',
    queued TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    started TIMESTAMPTZ,
    ended TIMESTAMPTZ,
    not_before TIMESTAMPTZ
);
CREATE UNIQUE INDEX IF NOT EXISTS reconciler_fleet_open
    ON reconciler_fleet_jobs (location) WHERE status IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS reconciler_fleet_batch ON reconciler_fleet_jobs (batch);
CREATE INDEX IF NOT EXISTS reconciler_fleet_latest ON reconciler_fleet_jobs (location, id DESC);
CREATE TABLE IF NOT EXISTS reconciler_fleet_schedules (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation TEXT NOT NULL,
    cron TEXT NOT NULL,
    locations TEXT NOT NULL,
    request TEXT NOT NULL,
    next_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS reconciler_fleet_migrations (name TEXT PRIMARY KEY);
"""


async def add_jobs(connection: Connection, jobs: Sequence[NewJob], batch: str) -> list[FleetJob]:
    """The new jobs: queued, or dropped where the location has one that has not ended."""
    added = []
    # in one order: two commands that queue at once would wait for one another
    for job in sorted(jobs, key=lambda job: job.location):
        values = _list_values(job) | {"batch": batch}
        # the index of unfinished jobs decides, whoever else queues at this moment
        added += await select(connection, _ADD, values) or await select(connection, _DROP, values)
    return [read_job(row) for row in added]


def _list_values(job: NewJob) -> dict[str, object]:
    return {
        "format": FORMAT_VERSION,
        "location": job.location,
        "operation": job.operation.value,
        "commit": job.commit,
        "approved": job.approved,
        "request": json.dumps(REQUEST.write(job.request)),
        "plan": job.plan,
    }


_ADD: LiteralString = f"""
INSERT INTO reconciler_fleet_jobs
    (format_version, batch, location, operation, commit_id, approved, request, plan, status)
VALUES (%(format)s, %(batch)s, %(location)s, %(operation)s, %(commit)s, %(approved)s, %(request)s, %(plan)s, 'queued')
ON CONFLICT (location) WHERE {OPEN} DO NOTHING RETURNING {COLUMNS}"""
_DROP: LiteralString = f"""
INSERT INTO reconciler_fleet_jobs
    (format_version, batch, location, operation, commit_id, approved, request, status, exit_code, note, ended)
SELECT %(format)s, %(batch)s, %(location)s, %(operation)s, %(commit)s, %(approved)s, %(request)s, 'dropped', 6,
    coalesce((SELECT format('job %%s (%%s, commit %%s) has not ended', id, operation, left(commit_id, 12))
        FROM reconciler_fleet_jobs WHERE location = %(location)s AND {OPEN}), 'another job had not ended'),
    clock_timestamp()
RETURNING {COLUMNS}"""


async def set_engine_jobs(connection: Connection, engine_jobs: Mapping[int, int]) -> None:
    """`engine_jobs`: of each job of ours the engine's."""
    await connection.execute(
        """UPDATE reconciler_fleet_jobs AS job SET engine_job = given.engine_job
        FROM unnest(%s::bigint[], %s::bigint[]) AS given (id, engine_job) WHERE job.id = given.id""",
        (list(engine_jobs), list(engine_jobs.values())),
    )


async def claim_job(connection: Connection, job: int, engine_job: int, worker: str) -> Claim | None:
    """The job, running from now on; None where it is not to be run under this job of the engine any more."""
    rows = await select(
        connection,
        f"""UPDATE reconciler_fleet_jobs SET status = 'running', tries = tries + 1, worker = %(worker)s, note = '',
            started = coalesce(started, clock_timestamp()), not_before = NULL
        WHERE id = %(job)s AND engine_job = %(engine_job)s AND status = 'queued' RETURNING {COLUMNS}, plan""",
        {"job": job, "engine_job": engine_job, "worker": worker},
    )
    if not rows:
        return None
    row = rows[0]
    return Claim(read_open(row), read_job(row), read_request(row["request"]), row["plan"])


async def save_plan(connection: Connection, job: OpenJob, plan: str) -> None:
    await connection.execute(
        "UPDATE reconciler_fleet_jobs SET plan = %s WHERE id = %s AND engine_job = %s", (plan, job.id, job.engine_job)
    )


async def end_job(connection: Connection, job: OpenJob, end: JobEnd) -> bool:
    """Whether the end was written: not where the job was taken over. The plan of a job that has ended is not kept."""
    values = {"job": job.id, "engine_job": job.engine_job, "status": end.status.value, "code": end.exit_code}
    return bool(await select(connection, _END, values | {"note": end.note, "result": end.result}))


_END: LiteralString = f"""
UPDATE reconciler_fleet_jobs SET status = %(status)s, exit_code = %(code)s, note = %(note)s, plan = '',
    result = %(result)s, ended = clock_timestamp(), stopping = false
WHERE id = %(job)s AND engine_job IS NOT DISTINCT FROM %(engine_job)s AND {OPEN} RETURNING id"""


async def queue_again(connection: Connection, job: OpenJob, end: JobEnd) -> bool:
    """Whether the job is queued again; the caller gives it a new job of the engine in the same transaction.

    Not where the job was taken over, or a person asked that it stop.
    """
    values = {"job": job.id, "engine_job": job.engine_job, "note": end.note}
    return bool(await select(connection, _AGAIN, values | {"pause": float(end.pause_s), "counts": end.counts}))


# the claim has counted a try: one that shall not count is taken off again
_AGAIN: LiteralString = f"""
UPDATE reconciler_fleet_jobs SET status = 'queued', note = %(note)s, worker = '',
    tries = tries - CASE WHEN %(counts)s OR status = 'queued' THEN 0 ELSE 1 END,
    not_before = CASE WHEN %(pause)s > 0 THEN clock_timestamp() + make_interval(secs => %(pause)s) END
WHERE id = %(job)s AND engine_job IS NOT DISTINCT FROM %(engine_job)s AND {OPEN} AND NOT stopping RETURNING id"""


async def cancel_jobs(connection: Connection, ids: Sequence[int]) -> tuple[list[int], int]:
    """The engine's jobs of those that were queued, which are cancelled; how many that run are asked to stop."""
    # one that is queued again meanwhile would be neither queued for the first statement nor running for the second
    await select(connection, _LOCK, {"ids": list(ids)})
    queued = await select(connection, _CANCEL, {"ids": list(ids)})
    # its worker looks at this every few seconds
    running = await select(connection, _STOP, {"ids": list(ids)})
    return [row["engine_job"] for row in queued if row["engine_job"] is not None], len(running)


async def remove_ended(connection: Connection, days: int, most: int) -> int:
    """How many jobs are gone, at most so many, that ended that many days ago; the latest of each location stays."""
    return len(await select(connection, _REMOVE, {"days": days, "most": most}))


# a dropped job tells nothing of its location: the one before it is the latest
_REMOVE: LiteralString = f"""
DELETE FROM reconciler_fleet_jobs WHERE id IN (
    SELECT id FROM reconciler_fleet_jobs AS job
    WHERE NOT ({OPEN}) AND ended < clock_timestamp() - make_interval(days => %(days)s)
        AND EXISTS (SELECT FROM reconciler_fleet_jobs AS later
            WHERE later.location = job.location AND later.id > job.id AND later.status <> 'dropped')
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
RETURNING id"""


_LOCK: LiteralString = "SELECT id FROM reconciler_fleet_jobs WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE"
# the plan of a job that has ended is not kept; nothing of it was sent: a pipeline must not go on as if it were
_CANCEL: LiteralString = """
UPDATE reconciler_fleet_jobs SET status = 'cancelled', exit_code = 3, plan = '', note = 'cancelled before it began',
    ended = clock_timestamp() WHERE id = ANY(%(ids)s) AND status = 'queued' RETURNING engine_job"""
_STOP: LiteralString = """
UPDATE reconciler_fleet_jobs SET stopping = true, note = 'asked to stop'
WHERE id = ANY(%(ids)s) AND status = 'running' RETURNING id"""
