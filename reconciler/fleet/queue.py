"""The queue: jobs of ours, each carried by a job of the engine. The only home of procrastinate.

Rules
1. A job of ours and its job of the engine begin in one transaction. The engine's is thrown away when its worker is
   done with it, or dead; a job that is tried again gets a new one: a worker that was only paused cannot end that.
2. `lock` and `queueing_lock` of the engine's job are the location; its queue is the format's major version and commit.
3. The tables of the engine and ours are in one schema, which `schema` in the URL names.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import LiteralString, cast

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job, Status

from reconciler.core.model.errors import ReconcilerError, StateError
from reconciler.core.model.names import Instant
from reconciler.fleet import (
    FORMAT_VERSION,
    FleetError,
    JobChoice,
    JobSchedule,
    NewJob,
    WorkerOptions,
    rows,
    schedules,
    table,
)
from reconciler.fleet.migrations import find_lacking, migrate
from reconciler.fleet.rows import Claim, JobEnd, OpenCount, OpenJob, after_death, end_stopped, end_uncarried
from reconciler.output.fleet import FleetJob, JobStatus
from reconciler.store.postgres_async import Connection, try_to_connect
from reconciler.store.postgres_session import StateAddress, address, errors, in_quotes

TASK = "reconciler.run"
SCHEMA = "reconciler_fleet"
CONNECTIONS = 4
"""Of one process: each is lent for a few statements."""
COMMIT_IN_QUEUE = 32
"""Characters: the name of a queue is part of that of a channel, which PostgreSQL limits to 63 bytes."""

RunJob = Callable[[int, int], Awaitable[None]]
"""Runs a job of ours under a job of the engine."""


def queue_of(commit: str, format_version: str = FORMAT_VERSION) -> str:
    """The engine's queue for jobs of a commit and a format."""
    return f"v{format_version.partition('.')[0]}/{commit[:COMMIT_IN_QUEUE]}"


@contextmanager
def _told(place: StateAddress) -> Iterator[None]:
    """Errors of the server as ours, those that the engine wraps too."""
    with errors(place):
        try:
            yield
        except ConnectorException as error:
            raise (error.__cause__ or error) from None


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Fleet]:
    place = address(url, kind="fleet's database", default_schema=SCHEMA)
    # their lines tell jobs with arguments, and errors of connections: the worker tells its own
    for name in ("procrastinate", "psycopg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    async def configure(connection: Connection) -> None:
        await connection.execute("SELECT set_config('search_path', %s, false)", (in_quotes(place.schema),))
        await connection.commit()

    with _told(place):
        await try_to_connect(place)
    # a connection that the server closed is replaced when it is lent
    connector = procrastinate.PsycopgConnector(
        conninfo=place.url, configure=configure, min_size=1, max_size=CONNECTIONS, timeout=30
    )
    app = procrastinate.App(connector=connector)
    async with app.open_async():
        yield Fleet(app, connector, place)


class Fleet:
    """The jobs in one schema."""

    def __init__(self, app: procrastinate.App, connector: procrastinate.PsycopgConnector, place: StateAddress) -> None:
        self._app, self._connector, self._place = app, connector, place
        self._engine = app.job_manager
        self._session: int | None = None
        """The engine's id of the worker that this process is."""

    @property
    def name(self) -> str:
        """The database, without a password."""
        return self._place.name

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        with _told(self._place):
            async with self._connector.pool.connection() as connection:
                yield connection

    async def migrate(self) -> None:
        """Makes the tables, or brings them up to date."""
        async with self.transaction() as connection:
            await migrate(connection, self._place.schema)

    async def refuse_unready(self) -> None:
        """Raises FleetError where the tables are not there, or not those of this version."""
        async with self.transaction() as connection:
            lacking = await find_lacking(connection)
        if lacking:
            raise FleetError(f"{self._place.name}, schema {self._place.schema!r}, {lacking.what}", hint=lacking.remedy)

    async def answers(self) -> bool:
        """Whether the server is there, whatever is in it."""
        try:
            async with self.transaction() as connection:
                await connection.execute("SELECT 1")
        except StateError:
            return False
        return True

    async def enqueue(self, jobs: Sequence[NewJob]) -> list[FleetJob]:
        """The jobs as they were queued, or dropped where the location has another one that has not ended."""
        async with self.transaction() as connection:
            return await self._enqueue(connection, jobs)

    async def _enqueue(self, connection: Connection, jobs: Sequence[NewJob]) -> list[FleetJob]:
        added = await table.add_jobs(connection, jobs, uuid.uuid4().hex[:12])
        await self._defer(connection, await rows.find_open(connection, "engine_job IS NULL"))
        return added

    async def _defer(self, connection: Connection, jobs: Sequence[OpenJob], pause_s: float = 0) -> None:
        """Gives each job a job of the engine, in the transaction that queues it."""
        if not jobs:
            return
        begin = datetime.now(UTC) + timedelta(seconds=pause_s) if pause_s else None
        # all at once: a fleet may be of ten thousand locations
        try:
            carriers = await self._engine.batch_defer_jobs_async([_carry(job, begin) for job in jobs], connection)
        except AlreadyEnqueued:
            raise FleetError(
                f"{self._place.name}: the engine has a job of one of these locations that the fleet does not know",
                hint="nothing else may use the schema: give the fleet one of its own",
            ) from None
        await table.set_engine_jobs(
            connection, {job.id: cast(int, carrier.id) for job, carrier in zip(jobs, carriers, strict=True)}
        )

    async def find(self, choice: JobChoice, *, with_results: bool = False) -> list[FleetJob]:
        async with self.transaction() as connection:
            return await rows.find_jobs(connection, choice, with_results=with_results)

    async def find_running(self, *, worker: str = "", carriers: Sequence[int] = ()) -> list[OpenJob]:
        async with self.transaction() as connection:
            return await rows.find_running(connection, worker=worker, carriers=carriers)

    async def count_open(self, soon_s: float = 0) -> list[OpenCount]:
        async with self.transaction() as connection:
            return await rows.count_open(connection, soon_s)

    async def cancel(self, jobs: Iterable[FleetJob]) -> tuple[int, int]:
        """How many were cancelled before they began, and how many are asked to stop."""
        async with self.transaction() as connection:
            carriers, stopping = await table.cancel_jobs(connection, [job.id for job in jobs if job.is_open])
            for carrier in carriers:
                await self._engine.cancel_job_by_id_async(carrier, delete_job=True, connection=connection)
        return len(carriers), stopping

    async def claim(self, job: int, carrier: int, worker: str) -> Claim | None:
        async with self.transaction() as connection:
            return await table.claim_job(connection, job, carrier, worker)

    async def save_plan(self, job: OpenJob, plan: str) -> None:
        async with self.transaction() as connection:
            await table.save_plan(connection, job, plan)

    async def end(self, job: OpenJob, end: JobEnd) -> JobEnd | None:
        """The end as it was written; None where the job was taken over by another worker."""
        async with self.transaction() as connection:
            if end.status is JobStatus.QUEUED:
                if await table.queue_again(connection, job, end):
                    await self._defer(connection, [job], end.pause_s)
                    return end
                # a person may have asked that it stop after its try had ended
                end = end_stopped(job, "stopped by a person")
            return end if await table.end_job(connection, job, end) else None

    async def sweep(self, stalled_s: float) -> list[tuple[OpenJob, JobEnd]]:
        """Takes the jobs of dead workers over: queued again, or held after the last try."""
        with _told(self._place):
            stalled = await self._engine.get_stalled_jobs(task_name=TASK, seconds_since_heartbeat=stalled_s)
        carriers = [cast(int, carrier.id) for carrier in stalled]
        lost = [(job, after_death(job)) for job in await self._find_lost(carriers)]
        lost += [(job, end_uncarried(job)) for job in await self._find_uncarried()]
        # another sweep, or the worker itself, may have been quicker
        taken = [(job, written) for job, end in lost if (written := await self.end(job, end))]
        # last: a sweep that dies before it leaves them to the next one, and no job without a carrier
        await self._drop(carriers)
        return taken

    async def remove_ended(self, days: int, most: int) -> int:
        """How many jobs are gone, at most so many, that ended that many days ago."""
        async with self.transaction() as connection:
            return await table.remove_ended(connection, days, most)

    async def beat(self) -> None:
        """A sign of life while the last runs end: the engine's worker gives none once it is asked to stop."""
        if self._session is not None:
            with _told(self._place):
                await self._engine.update_heartbeat(self._session)

    async def drop_carriers(self, jobs: Iterable[OpenJob]) -> None:
        """Throws the engine's jobs of these away."""
        await self._drop([cast(int, job.engine_job) for job in jobs])

    async def _drop(self, carriers: Iterable[int]) -> None:
        for carrier in carriers:
            # it may be gone already; where the database is away, it is found again
            with suppress(ConnectorException):
                await self._engine.finish_job_by_id_async(carrier, status=Status.FAILED, delete_job=True)

    async def _find_lost(self, dead: Sequence[int]) -> list[OpenJob]:
        """Jobs that are carried by a dead job of the engine, or run by none."""
        # asked first: a job that ends meanwhile has its end in the table before its carrier goes
        before = await self.find_running(carriers=dead)
        # few: as many as all workers run
        with _told(self._place):
            doing = {carrier.id for carrier in await self._engine.list_jobs_async(task=TASK, status="doing")}
        return [job for job in before if job.engine_job in dead or job.engine_job not in doing]

    async def _find_uncarried(self) -> list[OpenJob]:
        """Queued jobs whose carrier is gone: the engine throws it away where a bug ends it before the claim."""
        # a job and its carrier are written in one transaction
        gone: LiteralString = "NOT EXISTS (SELECT FROM procrastinate_jobs AS carrier WHERE carrier.id = engine_job)"
        async with self.transaction() as connection:
            return await rows.find_open(connection, f"status = 'queued' AND {gone}")

    async def work(self, queue: str, options: WorkerOptions, run: RunJob) -> None:
        """Runs the jobs of a queue, until it is cancelled or the database fails."""

        async def carry(context: procrastinate.JobContext, job: int) -> None:
            self._session = context.job.worker_id
            await run(job, cast(int, context.job.id))

        if TASK not in self._app.tasks:
            self._app.task(name=TASK, pass_context=True)(carry)
        with _told(self._place):
            await self._app.run_worker_async(
                queues=[queue],
                concurrency=options.concurrency,
                wait=True,
                fetch_job_polling_interval=2,
                delete_jobs="always",
                install_signal_handlers=False,
                update_heartbeat_interval=options.heartbeat_s,
                stalled_worker_timeout=options.stalled_s,
            )

    async def add_schedule(self, schedule: JobSchedule) -> int:
        async with self.transaction() as connection:
            return await schedules.add_schedule(connection, schedule)

    async def find_schedules(self) -> list[JobSchedule]:
        async with self.transaction() as connection:
            return await schedules.find_schedules(connection)

    async def remove_schedule(self, schedule: int) -> bool:
        async with self.transaction() as connection:
            return await schedules.move_schedule(connection, schedule, None)

    async def fire_schedules(
        self, make_jobs: Callable[[JobSchedule], Sequence[NewJob]], now: Instant
    ) -> tuple[list[tuple[JobSchedule, list[FleetJob]]], ReconcilerError | None]:
        """Queues the jobs of the schedules that are due, each once, however many workers look.

        And the first error, of the settings or of a schedule, that left one unqueued.
        """
        fired: list[tuple[JobSchedule, list[FleetJob]]] = []
        errors: list[ReconcilerError] = []
        async with self.transaction() as connection:
            due = await schedules.find_due(connection)
        # one by one, so that a broken one holds up no other
        for number in due:
            try:
                fired += await self._fire_schedule(number, make_jobs, now)
            except StateError:
                raise
            except ReconcilerError as error:
                errors.append(error)
        return fired, next(iter(errors), None)

    async def _fire_schedule(
        self, number: int, make_jobs: Callable[[JobSchedule], Sequence[NewJob]], now: Instant
    ) -> list[tuple[JobSchedule, list[FleetJob]]]:
        # locked until its next time is written
        async with self.transaction() as connection:
            schedule = await schedules.take_due(connection, number)
            if schedule is None:
                return []
            await schedules.move_schedule(connection, schedule.id, schedules.find_next(schedule.cron, now))
            return [(schedule, await self._enqueue(connection, make_jobs(schedule)))]


def _carry(job: OpenJob, begin: datetime | None) -> Job:
    return Job(
        queue=queue_of(job.commit, job.format_version),
        lock=job.location,
        queueing_lock=job.location,
        task_name=TASK,
        task_kwargs={"job": job.id},
        scheduled_at=begin,
    )
