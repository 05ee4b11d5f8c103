"""A worker: takes jobs from the queue, runs each in a thread of its own, writes down how it ended.

Rules
1. A worker takes jobs of the commit that its checkout is at, and looks again before each. A checkout that has moved
   ends the worker: the jobs stay queued.
2. A job is noted as this worker's before it is claimed, until its end is written. One that the table gives to this
   worker and that it does not run was lost while the database was away: it is queued again.
3. While the database cannot be reached, runs go on, their ends wait to be written, and the worker tries again after
   pauses.
4. The first signal lets runs end in order, and their jobs are queued again without the loss of a try.
"""

from __future__ import annotations

import asyncio
import os
import socket
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from reconciler.core.model.errors import ReconcilerError, StateError
from reconciler.fleet import FORMAT_VERSION, WorkerOptions
from reconciler.fleet.new_jobs import describe_queued, find_known_commit, make_scheduled_jobs
from reconciler.fleet.queue import Fleet, after_death, queue_of
from reconciler.fleet.rows import Claim, JobEnd, OpenCount, OpenJob
from reconciler.fleet.run_job import JobCancelled, JobScene, run_apart
from reconciler.operations.identity import find_commit
from reconciler.operations.workspace import Workspace
from reconciler.output.blocks import counted
from reconciler.output.fleet import JobStatus
from reconciler.request_gate import Stop

T = TypeVar("T")
LOOK_S = 2.0
"""So often a worker looks whether a job is to stop, or a schedule is due."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Between tries to reach the database; the last one again and again."""
SOON_S = 300
"""A draining worker does not wait for jobs that wait longer."""

Say = Callable[[str], None]


@dataclass(slots=True)
class _Running:
    """A job in its thread; `loop` is that of the thread, as soon as there is one."""

    stop: Stop = field(default_factory=Stop)
    loop: asyncio.AbstractEventLoop | None = None

    def ask(self, ask: Callable[[Stop], None]) -> None:
        # before its loop is there, nothing of the job listens yet
        if self.loop is None:
            ask(self.stop)
        else:
            # its loop may have ended meanwhile
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(ask, self.stop)


class FleetWorker:
    """A process that runs jobs; `say` tells a person of each."""

    def __init__(self, fleet: Fleet, workspace: Workspace, options: WorkerOptions, directory: Path, say: Say) -> None:
        self._fleet, self._workspace, self._options, self._directory = fleet, workspace, options, directory
        self._say = say
        self._commit = find_known_commit(workspace)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._running: dict[int, _Running] = {}
        self._stopping = asyncio.Event()
        self._signum: int | None = None
        self._left_queued: tuple[str, ...] = ()
        self._work: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Works until it is stopped, or, draining, until nothing is left that can begin soon."""
        self._say(f"worker {self._name} takes jobs of commit {self._commit[:12]}, {self._options.concurrency} at once")
        asyncio.get_running_loop().set_exception_handler(_ignore_late_ends)
        looking = asyncio.create_task(self._look_on())
        try:
            await self._work_on()
        finally:
            # ended before the connections are closed that it asks by
            looking.cancel()
            await asyncio.wait({looking})

    async def _work_on(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            failures = 0 if await self._work_once() else failures + 1
            # a job that was tried in vain waits for its next try
            await self._pause(PAUSES_S[min(failures, len(PAUSES_S)) - 1] if failures else LOOK_S / 4)

    def stop(self, signum: int) -> None:
        """Takes no more jobs, and asks those that run to end in order."""
        self._signum = signum
        self._say("stopping: no more jobs are taken; runs end in order, and their jobs are queued again")
        for running in self._running.values():
            running.ask(lambda stop: stop.ask(signum))
        self._end_work()

    def _end_work(self) -> None:
        self._stopping.set()
        if self._work is not None:
            self._work.cancel()

    async def _work_once(self) -> bool:
        """Whether the engine's worker ended as it should."""
        # a task of its own: cancelled, it takes no more jobs, and waits for those that run
        self._work = asyncio.create_task(self._fleet.work(queue_of(self._commit), self._options, self._run_one))
        await asyncio.wait({self._work})
        if self._work.cancelled():
            return True
        error = self._work.exception()
        if error is None:
            # it ends by itself where one of its connections fails
            self._say("the fleet's database was away for a moment: tried again")
            return False
        if not isinstance(error, StateError):
            raise error
        self._say(f"{error.lines[0]}: tried again")
        return False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _is_drained(self) -> bool:
        counts = await self._fleet.count_open(SOON_S)
        self._tell_left_queued(counts)
        own = queue_of(self._commit)
        return not any(count.soon for count in counts if queue_of(count.commit, count.format_version) == own)

    async def _run_one(self, job: int, carrier: int) -> None:
        self._running[job] = running = _Running()
        try:
            if find_commit(self._workspace.directory) != self._commit:
                self._say(f"the checkout has left commit {self._commit[:12]}: the worker ends, start it again")
                self._end_work()
                await self._leave_queued(job, carrier)
            elif claim := await self._until_reached(lambda: self._fleet.claim(job, carrier, self._name)):
                await self._run_claimed(claim, running)
        finally:
            del self._running[job]

    async def _leave_queued(self, job: int, carrier: int) -> None:
        end = JobEnd(JobStatus.QUEUED, note="left queued: the worker's checkout is at another commit", counts=False)
        for opened in await self._until_reached(lambda: self._fleet.find_running(carriers=[carrier])):
            if (opened.id, opened.engine_job) == (job, carrier):
                await self._write_end(opened, end)

    async def _run_claimed(self, claim: Claim, running: _Running) -> None:
        opened = claim.open
        self._say(f"job {opened.id}: {claim.job.operation} of location {opened.location} begins (try {opened.tries})")
        # the signal may have come between the queue and the claim
        if self._signum is not None:
            running.stop.ask(self._signum)
        try:
            end = await asyncio.to_thread(self._run_in_thread, claim, running)
        except Exception as error:  # noqa: BLE001  a bug in one job must not end those of other locations
            traceback.print_exception(error)
            note = f"a bug ended it ({type(error).__name__}): the log of worker {self._name} has it"
            end = replace(after_death(opened), note=note)
        status = await self._write_end(opened, end)
        self._say(f"job {opened.id}: {opened.location} {_describe_end(end) if status else 'was taken over meanwhile'}")

    def _run_in_thread(self, claim: Claim, running: _Running) -> JobEnd:
        main = self._main_loop

        async def save_plan(plan: str) -> None:
            saving = asyncio.run_coroutine_threadsafe(
                self._until_reached(lambda: self._fleet.save_plan(claim.open, plan)), main
            )
            await asyncio.wrap_future(saving)

        def begin(loop: asyncio.AbstractEventLoop) -> None:
            running.loop = loop

        # made when it is needed: a worker that takes nothing leaves nothing
        self._directory.mkdir(parents=True, exist_ok=True)
        return run_apart(JobScene(claim, self._workspace, running.stop, save_plan, self._directory), begin)

    @property
    def _main_loop(self) -> asyncio.AbstractEventLoop:
        assert self._work is not None
        return self._work.get_loop()

    async def _write_end(self, job: OpenJob, end: JobEnd) -> JobStatus | None:
        return await self._until_reached(lambda: self._fleet.end(job, end))

    async def _until_reached(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of the database, however long it is away."""
        failures = 0
        while True:
            try:
                return await ask()
            except StateError as error:
                if not failures:
                    self._say(f"{error.lines[0]}: tried again until it is there")
                await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
                failures += 1

    async def _look_on(self) -> None:
        """Sees to jobs that are to stop, to schedules, and to the jobs of workers that died."""
        loop = asyncio.get_running_loop()
        sweep_at = 0.0
        while True:
            # the worker itself tells where the database is away
            with suppress(StateError):
                await self._look_once()
                # its own jobs would look like those of a dead worker once it is asked to stop
                if self._stopping.is_set():
                    await self._fleet.beat()
                elif loop.time() >= sweep_at:
                    sweep_at = loop.time() + self._options.heartbeat_s
                    for line in await self._fleet.sweep(self._options.stalled_s):
                        self._say(line)
                    self._tell_left_queued(await self._fleet.count_open())
            await asyncio.sleep(LOOK_S)

    async def _look_once(self) -> None:
        before = set(self._running)
        given = await self._fleet.find_running(worker=self._name)
        for job in given:
            if job.stopping and (running := self._running.get(job.id)):
                running.ask(lambda stop: stop.end(JobCancelled()))
        # one that began or ended while the table was asked is not lost
        lost = [job for job in given if job.id not in before | self._running.keys()]
        await self._fleet.drop_carriers(lost)
        for job in lost:
            await self._fleet.end(job, after_death(job))
        if self._signum is None:
            await self._fire_schedules()
        if self._options.drains and not self._running and await self._is_drained():
            self._end_work()

    async def _fire_schedules(self) -> None:
        now = self._workspace.clock.now()
        try:
            fired = await self._fleet.fire_schedules(
                lambda schedule: make_scheduled_jobs(self._workspace, self._commit, schedule), now
            )
        except StateError:
            raise
        except ReconcilerError as error:
            self._say(f"a schedule cannot be queued: {error.lines[0]}")
            return
        for schedule, jobs in fired:
            for line in describe_queued(jobs):
                self._say(f"schedule {schedule.id}, {schedule.operation}: {line}")

    def _tell_left_queued(self, counts: Sequence[OpenCount]) -> None:
        # told once, and again when it changes
        lines = tuple(describe_left_queued(counts, self._commit))
        if lines != self._left_queued:
            self._left_queued = lines
            for line in lines:
                self._say(line)


def describe_left_queued(counts: Sequence[OpenCount], commit: str) -> list[str]:
    """A line for each commit and format with jobs that a worker at `commit` leaves queued."""
    own = queue_of(commit)
    left = [count for count in counts if count.queued and queue_of(count.commit, count.format_version) != own]
    return [
        f"left queued: {counted(count.queued, 'job')} of commit {count.commit[:12]}, format {count.format_version}; "
        f"taken here is commit {commit[:12]}, format {FORMAT_VERSION}"
        for count in left
    ]


def _describe_end(end: JobEnd) -> str:
    code = "" if end.exit_code is None else f" with exit code {end.exit_code}"
    return f"{end.status}{code}{f': {end.note}' if end.note else ''}"


def _ignore_late_ends(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Passes over the engine's words on a job that was taken over before its end, or on a database that is away."""
    if type(context.get("exception")).__module__.partition(".")[0] not in ("procrastinate", "psycopg", "psycopg_pool"):
        loop.default_exception_handler(context)
