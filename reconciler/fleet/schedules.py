"""The fleet's schedules: jobs that are queued again and again, each time once, however many workers look."""

from __future__ import annotations

import json
from datetime import datetime
from typing import LiteralString

from croniter import CroniterBadDateError, CroniterError, croniter

from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import Instant, LocationId
from reconciler.fleet import REQUEST, FleetError, JobSchedule, Operation
from reconciler.fleet.rows import as_instant, as_time, read_request
from reconciler.store.postgres_async import Connection, Record, select


async def add_schedule(connection: Connection, schedule: JobSchedule) -> int:
    rows = await select(
        connection,
        """INSERT INTO reconciler_fleet_schedules (operation, cron, locations, request, next_at)
        VALUES (%(operation)s, %(cron)s, %(locations)s, %(request)s, %(next_at)s) RETURNING id""",
        {
            "operation": schedule.operation.value,
            "cron": schedule.cron,
            "locations": " ".join(schedule.locations),
            "request": json.dumps(REQUEST.write(schedule.request)),
            "next_at": as_time(schedule.next_at),
        },
    )
    return int(rows[0]["id"])


async def find_schedules(connection: Connection) -> list[JobSchedule]:
    """All of them; raises FleetError for one that a later version has written."""
    rows = await select(connection, "SELECT * FROM reconciler_fleet_schedules ORDER BY id", {})
    return [_read_schedule(row) for row in rows]


async def find_due(connection: Connection) -> list[int]:
    """The numbers of those that are due."""
    rows = await select(connection, "SELECT id FROM reconciler_fleet_schedules WHERE next_at <= now() ORDER BY id", {})
    return [row["id"] for row in rows]


async def take_due(connection: Connection, number: int) -> JobSchedule | None:
    """A schedule that is due still, locked; None where another worker has it."""
    query: LiteralString = """SELECT * FROM reconciler_fleet_schedules
        WHERE id = %(id)s AND next_at <= now() FOR UPDATE SKIP LOCKED"""
    rows = await select(connection, query, {"id": number})
    return _read_schedule(rows[0]) if rows else None


async def move_schedule(connection: Connection, schedule: int, next_at: Instant | None) -> bool:
    """Whether there was one; `next_at`: None removes it."""
    # a schedule without a next time is none any more
    if next_at is None:
        query: LiteralString = "DELETE FROM reconciler_fleet_schedules WHERE id = %(id)s RETURNING id"
    else:
        query = "UPDATE reconciler_fleet_schedules SET next_at = %(next_at)s WHERE id = %(id)s RETURNING id"
    values = {"id": schedule, "next_at": None if next_at is None else as_time(next_at)}
    return bool(await select(connection, query, values))


def _read_schedule(row: Record) -> JobSchedule:
    locations = tuple(map(LocationId, row["locations"].split()))
    try:
        request = read_request(row["request"])
    except FleetError as error:
        raise FleetError(f"schedule {row['id']}: {error.message}", hint=f"{error.hint}, or --remove it") from None
    return JobSchedule(
        row["id"], Operation(row["operation"]), row["cron"], locations, request, as_instant(row["next_at"])
    )


_FORM = "five fields in UTC, such as '0 6 * * 1-5'"


def find_next(cron: str, now: Instant) -> Instant:
    """When a schedule is due next, in UTC; raises UsageError for words that are no schedule."""
    # a sixth field would be seconds: more often than a worker looks
    # croniter takes a field that begins with R for a random time, which would be another one for each worker
    fields = cron.split()
    if len(fields) != 5 or any(field.upper().startswith("R") for field in fields):
        raise UsageError(f"--cron {cron[:80]!r} is no schedule", hint=_FORM)
    try:
        return as_instant(croniter(cron, as_time(now)).get_next(datetime))
    except CroniterBadDateError:
        raise UsageError(f"--cron {cron[:80]!r} names a day that no month has", hint=_FORM) from None
    except CroniterError:
        raise UsageError(f"--cron {cron[:80]!r} is no schedule", hint=_FORM) from None
