"""`reconciler fleet schedule`: jobs that workers queue again and again."""

from __future__ import annotations

import asyncio

import click

from reconciler.cli.fleet import JOB_ID, database_option, find_database, fleet_command, make_request
from reconciler.cli.options import Invocation, common, create_state_option, manifests_option
from reconciler.cli.plan_flags import PlanFlags, fleet_schedule_flags
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.fleet import JobSchedule, Operation, extra_needed, open_fleet
from reconciler.output.blocks import moment

__all__ = ["fleet_command"]


@fleet_command.command("schedule", epilog="Example: reconciler fleet schedule drift --cron '0 6 * * *' --refresh auto")
@click.argument(
    "operation", type=click.Choice([operation.value for operation in Operation]), required=False, metavar="[OPERATION]"
)
@click.option("--cron", default="", metavar="CRON", help="When, in UTC, five fields such as '0 6 * * 1-5'.")
@click.option("--remove", type=JOB_ID, metavar="N", help="Remove this schedule.")
@click.option("--fail-on", default="", metavar="CLASSES", help="Of drift: exit code 2 of a job with such drift.")
@click.option("--full", is_flag=True, help="Of pull: read all contacts, however fresh the index of people is.")
@create_state_option
@fleet_schedule_flags
@manifests_option
@database_option
@common
def schedule(
    operation: str | None,
    cron: str,
    remove: int | None,
    fail_on: str,
    full: bool,
    flags: PlanFlags,
    database: str | None,
    invocation: Invocation,
) -> int:
    """Have workers queue jobs again and again: OPERATION is apply, drift or pull. Without it, list the schedules.

    The worker that finds a schedule due queues its jobs, at the commit of that worker's checkout; a location with a job
    that has not ended is left out, and that is told. A scheduled apply has no approval: it plans, and sends nothing.
    """
    if operation and remove is not None:
        raise UsageError("an operation is scheduled, or a schedule removed", hint="leave one of them out")
    if cron and not operation:
        raise UsageError(
            "no operation is named that shall be done then", hint="reconciler fleet schedule drift --cron …"
        )
    if operation:
        made = _make_schedule(Operation(operation), cron, flags, invocation, fail_on=fail_on, full=full)
        line = asyncio.run(_add(made, database))
        invocation.console.say(line)
    elif remove is not None:
        invocation.console.say(asyncio.run(_remove(remove, database)))
    else:
        for line in asyncio.run(_list(database)):
            invocation.console.say(line)
    return ExitCode.DONE


def _make_schedule(
    operation: Operation, cron: str, flags: PlanFlags, invocation: Invocation, *, fail_on: str, full: bool
) -> JobSchedule:
    reading = Operation.APPLY, Operation.DRIFT
    for option, given, takers in (
        ("--fail-on", fail_on, (Operation.DRIFT,)),
        ("--full", full, (Operation.PULL,)),
        ("--tag", flags.tags, reading),
        ("--refresh", flags.refresh, reading),
        ("--max-age", flags.max_age, reading),
    ):
        if given and operation not in takers:
            known = " and ".join(takers)
            raise UsageError(f"{option} is of {known}, and the schedule is of {operation}", hint=f"leave {option} out")
    # drift tells by an age what is stale, also of what it does not read
    if operation is Operation.APPLY:
        flags.refuse_idle_age()
    # only this command needs the library that reads them
    with extra_needed():
        from reconciler.fleet.schedules import find_next

    settings = invocation.workspace.load_settings()
    locations = tuple(map(settings.find_location, flags.locations))
    next_at = find_next(cron, invocation.workspace.clock.now())
    return JobSchedule(0, operation, cron, locations, make_request(flags, fail_on, full=full), next_at)


async def _add(made: JobSchedule, database: str | None) -> str:
    async with open_fleet(find_database(database)) as fleet:
        await fleet.refuse_unready()
        return f"schedule {await fleet.add_schedule(made)}: {_describe(made)}"


async def _remove(number: int, database: str | None) -> str:
    async with open_fleet(find_database(database)) as fleet:
        await fleet.refuse_unready()
        if not await fleet.remove_schedule(number):
            raise UsageError(f"there is no schedule {number}", hint="`reconciler fleet schedule` lists them")
        return f"schedule {number} is removed; jobs that it queued stay"


async def _list(database: str | None) -> list[str]:
    async with open_fleet(find_database(database)) as fleet:
        await fleet.refuse_unready()
        return [f"schedule {made.id}: {_describe(made)}" for made in await fleet.find_schedules()] or ["no schedule"]


def _describe(made: JobSchedule) -> str:
    where = f"location {', '.join(made.locations)}" if made.locations else "all locations"
    return f"{made.operation} of {where} at {made.cron!r}, next at {moment(made.next_at)}"
