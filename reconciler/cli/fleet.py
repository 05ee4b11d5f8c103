"""`reconciler fleet`: jobs of single locations in a queue in PostgreSQL, and the workers that run them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from reconciler.cli import Suggesting
from reconciler.cli.console import end_by_signals, hear_signals
from reconciler.cli.options import (
    WAIT,
    Invocation,
    SecondsRange,
    common,
    create_state_option,
    manifests_argument,
    manifests_option,
    output,
)
from reconciler.cli.plan import parse_classes
from reconciler.cli.plan_flags import PlanFlags, fleet_apply_flags, fleet_drift_flags, fleet_pull_flags
from reconciler.cli.report_file import reported
from reconciler.core.model.errors import ExitCode, UsageError, worst_code
from reconciler.core.planning.plan import Plan
from reconciler.fleet import KEEP_DAYS, VARIABLE, FleetRequest, JobChoice, NewJob, Operation, WorkerOptions, open_fleet
from reconciler.fleet.new_jobs import describe_queued, make_jobs, read_approvals, split_plan
from reconciler.operations.apply import refuse_odd_digest
from reconciler.operations.workspace import MANIFESTS
from reconciler.output.blocks import counted
from reconciler.output.fleet import FleetDocument, FleetJob, judge_jobs
from reconciler.planfile import load_plan

JOBS_A_CORE = 4
JOB_ID = click.IntRange(1, 2**63 - 1)

database_option = click.option(
    "--database", metavar="URL", help=f"PostgreSQL with the fleet, postgresql://…?schema=S.  [default: {VARIABLE}]"
)
_locations = click.option(
    "--location", "locations", multiple=True, metavar="L", help="Only jobs of this location, by id or name; repeatable."
)
_batch = click.argument("batch", default="", metavar="[BATCH]")


@dataclass(frozen=True, slots=True)
class ChosenJobs:
    """The jobs that a command names; with none of them the latest of each location."""

    batch: str
    locations: tuple[str, ...]
    ids: tuple[int, ...] = ()

    def resolve(self, invocation: Invocation) -> JobChoice:
        """With the ids of locations that were named."""
        if not self.locations:
            # names beside ids are a courtesy
            invocation.workspace.find_names()
            return JobChoice(self.batch, (), self.ids)
        settings = invocation.workspace.load_settings()
        return JobChoice(self.batch, tuple(map(settings.find_location, self.locations)), self.ids)

    def refuse_missing(self, jobs: Sequence[FleetJob], chosen: JobChoice) -> None:
        """Raises UsageError for what has no job: a word that is misspelt would look like jobs that ended well.

        `chosen`: what the command names, with the ids of locations.
        """
        missing = [f"batch {self.batch[:80]!r}"] if self.batch and not jobs else []
        missing += [f"location {location[:80]!r}" for location in {*chosen.locations} - {job.location for job in jobs}]
        missing += [f"id {number}" for number in {*chosen.ids} - {job.id for job in jobs}]
        if missing:
            named = ", ".join(sorted(missing))
            raise UsageError(f"no job is of {named}", hint="`reconciler fleet status` lists the latest jobs")


def find_database(database: str | None) -> str:
    return database or os.environ.get(VARIABLE, "")


@click.group(cls=Suggesting, epilog="Example: reconciler fleet status --database postgresql://crm@db.example.com/crm")
def fleet_command() -> None:
    """Spread the work over many machines: jobs of single locations, queued in PostgreSQL. Extra [fleet]."""


@fleet_command.command(epilog="Example: reconciler fleet migrate --database postgresql://crm@db.example.com/crm")
@database_option
@common
def migrate(database: str | None, invocation: Invocation) -> int:
    """Make the fleet's tables, or bring them up to date."""

    async def run() -> str:
        async with open_fleet(find_database(database)) as fleet:
            await fleet.migrate()
            return fleet.name

    invocation.console.say(f"the fleet's tables are there, and up to date: {asyncio.run(run())}")
    return ExitCode.DONE


@fleet_command.command(
    "apply", epilog="Example: reconciler fleet apply plan.json --auto-approve   then   reconciler fleet wait"
)
@click.argument("target", type=click.Path(path_type=Path), default=MANIFESTS, metavar="[PLAN | MANIFESTS]")
@click.option(
    "--manifests",
    "named",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With PLAN: its manifests.  [default: manifests]",
)
@click.option(
    "--approved",
    multiple=True,
    metavar="L=DIGEST",
    help="Send to this location what has this change digest; repeatable. Without one a job plans, and ends with that.",
)
@click.option("--auto-approve", is_flag=True, help="With PLAN: what the file holds is approved.")
@create_state_option
@fleet_apply_flags
@database_option
@output()
@reported
@common
def apply_jobs(
    target: Path,
    named: Path | None,
    approved: tuple[str, ...],
    auto_approve: bool,
    flags: PlanFlags,
    database: str | None,
    invocation: Invocation,
) -> int:
    """Queue a job that applies for each location.

    With a saved PLAN and --auto-approve: each location is sent what the file holds for it, as far as it is called for
    when the job runs. With MANIFESTS (default: manifests): each location with --approved is planned, and sent where its
    change digest is that one; others are planned, and nothing is sent. A worker takes a job where its checkout is at
    the commit of this one.
    """
    # a file does not choose whose settings and tokens are used: its manifests are named here
    is_file = target.is_file()
    flags.refuse_idle_age()
    workspace = replace(invocation.workspace, directory=(named or MANIFESTS) if is_file else target)
    request = make_request(flags)
    if is_file:
        jobs = split_plan(workspace, _load_whole(target, flags, approved, auto_approve), request)
    else:
        digests = read_approvals(approved)
        for digest in digests.values():
            refuse_odd_digest(digest, target)
        jobs = make_jobs(workspace, flags.locations, Operation.APPLY, request, digests)
    return _enqueue(jobs, database, invocation)


def make_request(flags: PlanFlags, fail_on: str = "", *, full: bool = False) -> FleetRequest:
    """The flags as a job has them; raises UsageError for an age or a class that is none."""
    reading = flags.reading
    return FleetRequest(
        sets=flags.sets,
        tags=flags.tags,
        retry_held=flags.retry_held,
        retry_rejected=flags.retry_rejected,
        refresh=reading.method,
        max_age_ms=reading.max_age_ms,
        allow=flags.allow,
        reason=flags.reason,
        create_state=flags.create_state,
        fail_on=tuple(parse_classes("--fail-on", fail_on)),
        full=full,
    )


def _load_whole(file: Path, flags: PlanFlags, approved: Sequence[str], auto_approve: bool) -> Plan:
    """The plan in the file, all of which is approved."""
    if not auto_approve or approved or flags.locations or flags.sets or flags.tags or flags.refresh:
        raise UsageError(
            "of a plan file all is queued, as it is: it needs --auto-approve, and takes no --approved, --location, "
            "--set, --tag or --refresh",
            hint="review the file (reconciler show), then add --auto-approve",
        )
    return load_plan(file)


def _enqueue(jobs: Sequence[NewJob], database: str | None, invocation: Invocation) -> int:
    async def run() -> list[FleetJob]:
        async with open_fleet(find_database(database)) as fleet:
            await fleet.refuse_unready()
            return await fleet.enqueue(jobs)

    # without a job there is nothing to ask the database for
    queued = asyncio.run(run()) if jobs else []
    invocation.print_document(FleetDocument(queued))
    for line in describe_queued(queued) or ["no location has anything to do: nothing was queued"]:
        invocation.console.note(line)
    return judge_jobs(queued)


@fleet_command.command("drift", epilog="Example: reconciler fleet drift --fail-on missing,unexpected,flapping")
@manifests_argument
@click.option("--fail-on", default="", metavar="CLASSES", help="Exit code 2 of a job with drift of these classes.")
@create_state_option
@fleet_drift_flags
@database_option
@output()
@reported
@common
def drift_jobs(fail_on: str, flags: PlanFlags, database: str | None, invocation: Invocation) -> int:
    """Queue a job that reports drift for each location."""
    workspace, request = invocation.workspace, make_request(flags, fail_on)
    return _enqueue(make_jobs(workspace, flags.locations, Operation.DRIFT, request), database, invocation)


@fleet_command.command("pull", epilog="Example: reconciler fleet pull --set vip")
@manifests_argument
@click.option("--full", is_flag=True, help="Read all contacts, however fresh the index of people is.")
@create_state_option
@fleet_pull_flags
@database_option
@output()
@reported
@common
def pull_jobs(full: bool, flags: PlanFlags, database: str | None, invocation: Invocation) -> int:
    """Queue a job that resolves the people of matched sets for each location."""
    workspace, request = invocation.workspace, make_request(flags, full=full)
    return _enqueue(make_jobs(workspace, flags.locations, Operation.PULL, request), database, invocation)


@fleet_command.command(epilog="Example: reconciler fleet worker manifests/ --jobs 8")
@manifests_argument
@click.option(
    "--jobs",
    "concurrency",
    type=click.IntRange(1, 64),
    metavar="N",
    help="So many jobs at once.  [default: 4 for each core]",
)
@click.option("--drain", is_flag=True, help="End when no job is left.")
@click.option(
    "--heartbeat",
    type=SecondsRange(0.5, 600),
    default=10,
    show_default=True,
    metavar="S",
    help="Between two signs of life, the same for all workers: one that missed three is taken for dead.",
)
@click.option(
    "--work-dir",
    type=click.Path(path_type=Path),
    default=Path(".reconciler/fleet"),
    show_default=True,
    metavar="DIR",
    help="Where plan files stand while their job runs.",
)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 36_500),
    default=KEEP_DAYS,
    show_default=True,
    metavar="N",
    help="Remove jobs that ended longer ago; the latest of each location stays.",
)
@database_option
@common
def worker(
    concurrency: int | None,
    drain: bool,
    heartbeat: float,
    work_dir: Path,
    keep_days: int,
    database: str | None,
    invocation: Invocation,
) -> int:
    """Take jobs and run them, until SIGTERM or Ctrl-C.

    Takes jobs of the commit that the checkout is at; others stay queued, and that is told. Needs the tokens of the
    locations, as apply does.
    """

    directory = invocation.workspace.directory
    # each job of all locations would end with that, and for good
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory", hint="name the manifests directory of the checkout")

    async def run() -> None:
        async with open_fleet(find_database(database)) as fleet:
            # it loads all operations, which the other commands do without
            from reconciler.fleet.worker import FleetWorker

            await fleet.refuse_unready()
            jobs = concurrency or JOBS_A_CORE * (os.cpu_count() or 1)
            options = WorkerOptions(jobs, heartbeat, drains=drain, keep_days=keep_days)
            working = FleetWorker(fleet, invocation.workspace, options, work_dir, invocation.console.note)
            with hear_signals(working.stop):
                await working.run()

    asyncio.run(run())
    return ExitCode.DONE


@fleet_command.command(epilog="Example: reconciler fleet status   or   reconciler fleet status --job 17 --format json")
@_batch
@_locations
@click.option("--job", "ids", multiple=True, type=JOB_ID, metavar="N", help="This job, with its report; repeatable.")
@manifests_option
@database_option
@output()
@common
def status(
    batch: str, locations: tuple[str, ...], ids: tuple[int, ...], database: str | None, invocation: Invocation
) -> int:
    """List jobs, first those that wait for a person.

    Those of BATCH, as queueing it told; without one the latest job of each location. JSON has the report of --job.
    """
    chosen = ChosenJobs(batch, locations, ids)
    jobs = asyncio.run(end_by_signals(_look(chosen, database, invocation)))
    invocation.print_document(FleetDocument(jobs))
    return ExitCode.DONE


async def _look(chosen: ChosenJobs, database: str | None, invocation: Invocation) -> list[FleetJob]:
    async with open_fleet(find_database(database)) as fleet:
        await fleet.refuse_unready()
        choice = chosen.resolve(invocation)
        jobs = await fleet.find(choice, with_results=bool(chosen.ids))
        chosen.refuse_missing(jobs, choice)
        return jobs


@fleet_command.command(epilog="Example: reconciler fleet wait 3f0c9e1b2a4d --timeout 3600")
@_batch
@_locations
@click.option("--timeout", type=WAIT, metavar="S", help="Wait so many seconds at most; then exit code 3.")
@manifests_option
@database_option
@output()
@reported
@common
def wait(
    batch: str, locations: tuple[str, ...], timeout: float | None, database: str | None, invocation: Invocation
) -> int:
    """Wait until jobs have ended; the exit code is the worst of theirs.

    Those of BATCH, as queueing it told; without one the latest job of each location. It is the code of the commands
    that the jobs stand for; 2 where a job planned changes that are not approved.
    """

    async def run() -> list[FleetJob]:
        async with open_fleet(find_database(database)) as fleet:
            await fleet.refuse_unready()
            # it loads the engine, which commands that only queue do without
            from reconciler.fleet.patience import wait_for_jobs

            choice = chosen.resolve(invocation)
            jobs = await wait_for_jobs(fleet, choice, timeout)
            chosen.refuse_missing(jobs, choice)
            return jobs

    chosen = ChosenJobs(batch, locations)
    # a wait that is interrupted ends no job
    jobs = asyncio.run(end_by_signals(run(), "the jobs go on"))
    invocation.print_document(FleetDocument(jobs))
    if left := [job for job in jobs if job.is_open]:
        invocation.console.warn(f"{counted(len(left), 'job')} had not ended after {timeout:g} s")
    return worst_code([judge_jobs(jobs), ExitCode.PARTIAL if left else ExitCode.DONE])


@fleet_command.command(epilog="Example: reconciler fleet cancel 3f0c9e1b2a4d   or   reconciler fleet cancel --job 17")
@_batch
@_locations
@click.option("--job", "ids", multiple=True, type=JOB_ID, metavar="N", help="This job; repeatable.")
@manifests_option
@database_option
@common
def cancel(
    batch: str, locations: tuple[str, ...], ids: tuple[int, ...], database: str | None, invocation: Invocation
) -> int:
    """Cancel jobs that have not ended. One that runs sends nothing more, and ends in order."""
    # all that is under way is seldom meant
    if not (batch or locations or ids):
        raise UsageError("which jobs? None is named", hint="name a batch, --location or --job")

    async def run() -> tuple[int, int]:
        async with open_fleet(find_database(database)) as fleet:
            await fleet.refuse_unready()
            chosen = ChosenJobs(batch, locations, ids)
            choice = chosen.resolve(invocation)
            jobs = await fleet.find(choice)
            chosen.refuse_missing(jobs, choice)
            return await fleet.cancel(jobs)

    cancelled, stopping = asyncio.run(run())
    invocation.console.say(f"cancelled {counted(cancelled, 'job')}; {counted(stopping, 'running job')} asked to stop")
    return ExitCode.DONE
