"""A worker: takes jobs from the queue, runs each in a thread of its own, writes down how it ended.

Rules
1. A worker takes jobs of the commit that its checkout is at, and looks again before each and every few seconds. A
   checkout that has moved ends the worker, busy or idle: the jobs stay queued.
2. A job is noted as this worker's before it is claimed, until its end is written. One that the table gives to this
   worker and that it does not run was lost while the database was away: it is queued again.
3. While the database cannot be reached, runs go on, their ends wait to be written, and the worker tries again after
   pauses. One that answers and cannot be used, such as without a table, ends the worker after a few tries.
4. The first signal lets runs end in order, and their jobs are queued again without the loss of a try.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from reconciler.core.model.errors import ExitCode, ReconcilerError, StateError
from reconciler.core.model.measured import JobEnded, JobStarted
from reconciler.fleet import FleetError, WorkerOptions
from reconciler.fleet.new_jobs import describe_queued, find_known_commit, make_scheduled_jobs
from reconciler.fleet.notices import Notices
from reconciler.fleet.patience import Patience
from reconciler.fleet.queue import Fleet, queue_of
from reconciler.fleet.rows import Claim, JobEnd, OpenCount, OpenJob, after_death, make_job_notice
from reconciler.fleet.run_job import JobCancelled, JobScene, run_apart
from reconciler.fleet.running_job import RunningJob, describe_end, describe_left_queued, ignore_late_ends
from reconciler.operations.identity import find_commit
from reconciler.operations.workspace import Workspace
from reconciler.output.fleet import JobStatus

T = TypeVar("T")
LOOK_S = 2.0
"""So often a worker looks whether a job is to stop, or a schedule is due."""
WELL_S = 60
"""An engine that worked so long has not failed again and again."""
REMOVE_S = 3600
"""So often a worker removes jobs that ended long ago."""
REMOVED_AT_ONCE = 1_000
SOON_S = 300
"""A draining worker does not wait for jobs that wait longer."""

Say = Callable[[str], None]


class FleetWorker:
    """A process that runs jobs; `say` tells a person of each."""

    def __init__(self, fleet: Fleet, workspace: Workspace, options: WorkerOptions, directory: Path, say: Say) -> None:
        self._fleet, self._workspace, self._options, self._directory = fleet, workspace, options, directory
        self._say = say
        self._commit = find_known_commit(workspace)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._running: dict[int, RunningJob] = {}
        """By the engine's job: one that was taken over may come back under another while the first still ends."""
        self._stopping = asyncio.Event()
        self._signum: int | None = None
        self._left_queued: tuple[str, ...] = ()
        self._unqueued = ""
        """Why a schedule could not be queued, as it was told."""
        self._work: asyncio.Task[None] | None = None
        self._notices = Notices(workspace, say)
        self._failure: ReconcilerError | None = None
        """Why the database cannot be used any more."""

    async def run(self) -> None:
        """Works until it is stopped, or, draining, until nothing is left that can begin soon.

        Raises StateError or FleetError where the database is there and cannot be used.
        """
        self._say(f"worker {self._name} takes jobs of commit {self._commit[:12]}, {self._options.concurrency} at once")
        asyncio.get_running_loop().set_exception_handler(ignore_late_ends)
        looking = asyncio.create_task(self._look_on())
        # a worker that looks no more would take over no job of another: a bug there ends it
        looking.add_done_callback(lambda _: self._end_work())
        try:
            await self._work_on()
        finally:
            # ended before the connections are closed that it asks by
            looking.cancel()
            await asyncio.wait({looking})
            await self._notices.end()
        with suppress(asyncio.CancelledError):
            looking.result()
        if self._failure is not None:
            raise self._failure

    async def _work_on(self) -> None:
        loop, patience = asyncio.get_running_loop(), Patience(self._fleet)
        while not self._stopping.is_set():
            began, pause = loop.time(), LOOK_S / 4
            error = await self._work_once()
            if error is None or loop.time() - began > WELL_S:
                patience.begin_anew()
            if error is not None:
                self._say(f"{error.lines[0]}: tried again")
                pause = await self._bear(patience, error)
            # a job that was tried in vain waits for its next try
            await self._pause(pause)

    async def _bear(self, patience: Patience, error: ReconcilerError) -> float:
        """Seconds until the next try; none where the worker gives up."""
        try:
            return await patience.bear(error)
        except ReconcilerError as final:
            self._give_up(final)
            return 0

    def _give_up(self, failure: ReconcilerError) -> None:
        """Ends the worker: its runs end in order, and what they have done stands in their journals."""
        if self._failure is None:
            self._failure = failure
            self._say(f"{failure.lines[0]}: the worker gives up; its runs end in order")
            for running in self._running.values():
                running.ask(lambda stop: stop.ask(signal.SIGTERM))
        self._end_work()

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

    async def _work_once(self) -> StateError | None:
        """Why the engine's worker ended; None where it ended as it should."""
        # a task of its own: cancelled, it takes no more jobs, and waits for those that run
        self._work = asyncio.create_task(self._fleet.work(queue_of(self._commit), self._options, self._run_one))
        await asyncio.wait({self._work})
        if self._work.cancelled():
            return None
        error = self._work.exception()
        if error is None:
            # it ends by itself where one of its connections fails
            return StateError("the fleet's database was away for a moment")
        if not isinstance(error, StateError):
            raise error
        return error

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _is_drained(self) -> bool:
        counts = await self._fleet.count_open(SOON_S)
        self._tell_left_queued(counts)
        own = queue_of(self._commit)
        return not any(count.soon for count in counts if queue_of(count.commit, count.format_version) == own)

    async def _run_one(self, job: int, carrier: int) -> None:
        self._running[carrier] = running = RunningJob()
        try:
            await self._take(job, carrier, running)
        except StateError:
            raise
        except FleetError as error:
            await self._hold_unclaimed(job, carrier, error.message)
        except Exception as error:  # noqa: BLE001  the engine would throw the carrier away, and say nothing
            traceback.print_exception(error)
            await self._hold_unclaimed(job, carrier, f"a bug ({type(error).__name__}); see worker {self._name}")
        finally:
            del self._running[carrier]

    async def _take(self, job: int, carrier: int, running: RunningJob) -> None:
        if await self._has_moved():
            await self._leave_queued(job, carrier)
        elif claim := await self._until_reached(lambda: self._fleet.claim(job, carrier, self._name)):
            await self._run_claimed(claim, running)

    async def _has_moved(self) -> bool:
        """Whether the checkout is at another commit, which ends the worker."""
        if await asyncio.to_thread(find_commit, self._workspace.directory) == self._commit:
            return False
        if not self._stopping.is_set():
            self._say(f"the checkout has left commit {self._commit[:12]}: the worker ends, start it again")
            self._end_work()
        return True

    async def _leave_queued(self, job: int, carrier: int) -> None:
        end = JobEnd(JobStatus.QUEUED, note="left queued: the worker's checkout is at another commit", counts=False)
        for opened in await self._find_carried(job, carrier):
            await self._write_end(opened, end)

    async def _hold_unclaimed(self, job: int, carrier: int, why: str) -> None:
        for opened in await self._find_carried(job, carrier):
            end = JobEnd(JobStatus.HELD, ExitCode.ERROR, f"held for a person: {why}")
            end = replace(end, notice=make_job_notice(opened, ExitCode.ERROR))
            if await self._write_end(opened, end):
                self._tell_of_dead(opened, end)

    async def _find_carried(self, job: int, carrier: int) -> list[OpenJob]:
        carried = await self._until_reached(lambda: self._fleet.find_running(carriers=[carrier]))
        return [opened for opened in carried if (opened.id, opened.engine_job) == (job, carrier)]

    async def _run_claimed(self, claim: Claim, running: RunningJob) -> None:
        opened = claim.open
        self._say(f"job {opened.id}: {claim.job.operation} of location {opened.location} begins (try {opened.tries})")
        # the signal may have come between the queue and the claim
        if self._signum is not None:
            running.stop.ask(self._signum)
        listener = self._workspace.listener
        listener(JobStarted(opened.location, claim.job.operation))
        try:
            end = await asyncio.to_thread(self._run_in_thread, claim, running)
        except Exception as error:  # noqa: BLE001  a bug in one job must not end those of other locations
            traceback.print_exception(error)
            note = f"a bug ended it ({type(error).__name__}): the log of worker {self._name} has it"
            end = replace(after_death(opened), note=note)
        listener(JobEnded(opened.location, ExitCode.ERROR if end.exit_code is None else end.exit_code))
        written = await self._write_end(opened, end)
        # of a job that goes on elsewhere, its end there is told
        if written is not None:
            self._notices.send(written)
        told = "was taken over meanwhile" if written is None else describe_end(written)
        self._say(f"job {opened.id}: {opened.location} {told}")

    def _run_in_thread(self, claim: Claim, running: RunningJob) -> JobEnd:
        main = self._main_loop

        async def save_plan(plan: str) -> None:
            saving = asyncio.run_coroutine_threadsafe(
                self._until_reached(lambda: self._fleet.save_plan(claim.open, plan)), main
            )
            await asyncio.wrap_future(saving)

        # made when it is needed: a worker that takes nothing leaves nothing
        self._directory.mkdir(parents=True, exist_ok=True)
        return run_apart(JobScene(claim, self._workspace, running.stop, save_plan, self._directory), running.begin)

    @property
    def _main_loop(self) -> asyncio.AbstractEventLoop:
        assert self._work is not None
        return self._work.get_loop()

    async def _write_end(self, job: OpenJob, end: JobEnd) -> JobEnd | None:
        return await self._until_reached(lambda: self._fleet.end(job, end))

    async def _until_reached(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of the database, however long it is away; raises StateError where the worker gives up."""
        patience = Patience(self._fleet)
        while True:
            try:
                return await ask()
            except StateError as error:
                if patience.is_new:
                    self._say(f"{error.lines[0]}: tried again until it is there")
                pause = await self._bear(patience, error)
                if self._failure is not None:
                    raise
                await asyncio.sleep(pause)

    async def _look_on(self) -> None:
        """Sees to jobs that are to stop, to schedules, to the jobs of workers that died, and to those of long ago."""
        loop = asyncio.get_running_loop()
        sweep_at, remove_at, patience = 0.0, 0.0, Patience(self._fleet)
        while True:
            pause = LOOK_S
            try:
                await self._see_to_jobs()
                # its own jobs would look like those of a dead worker once it is asked to stop
                if self._stopping.is_set():
                    await self._fleet.beat()
                elif loop.time() >= sweep_at:
                    sweep_at = loop.time() + self._options.heartbeat_s
                    await self._sweep()
                    if loop.time() >= remove_at and not await self._remove_ended():
                        remove_at = loop.time() + REMOVE_S
                patience.begin_anew()
            except ReconcilerError as error:
                # the worker itself tells where the database is away
                pause = max(LOOK_S, await self._bear(patience, error))
            await asyncio.sleep(pause)

    async def _sweep(self) -> None:
        for job, end in await self._fleet.sweep(self._options.stalled_s):
            self._tell_of_dead(job, end)
        self._tell_left_queued(await self._fleet.count_open())

    async def _remove_ended(self) -> bool:
        """Whether there are more: nothing else is looked at meanwhile."""
        if removed := await self._fleet.remove_ended(self._options.keep_days, REMOVED_AT_ONCE):
            self._say(f"removed {removed:,} jobs that ended more than {self._options.keep_days} days ago")
        return removed == REMOVED_AT_ONCE

    async def _see_to_jobs(self) -> None:
        before = set(self._running)
        given = await self._fleet.find_running(worker=self._name)
        for job in given:
            if job.stopping and (running := self._find_own(job)):
                running.ask(lambda stop: stop.end(JobCancelled()))
        # one that began or ended while the table was asked is not lost
        lost = [job for job in given if job.engine_job not in before and not self._find_own(job)]
        for job in lost:
            await self._tell_taken_over(job)
        await self._fleet.drop_carriers(lost)
        if not self._stopping.is_set() and not await self._has_moved():
            await self._fire_schedules()
        if self._options.drains and not self._running and await self._is_drained():
            self._end_work()

    def _find_own(self, job: OpenJob) -> RunningJob | None:
        return None if job.engine_job is None else self._running.get(job.engine_job)

    async def _tell_taken_over(self, job: OpenJob) -> None:
        if end := await self._fleet.end(job, after_death(job)):
            self._tell_of_dead(job, end)

    def _tell_of_dead(self, job: OpenJob, end: JobEnd) -> None:
        self._say(f"job {job.id}, location {job.location}: {end.note}")
        self._notices.send(end)
        # nobody else tells of a run whose workers died
        if end.status is not JobStatus.QUEUED:
            self._workspace.listener(JobStarted(job.location, job.operation))
            self._workspace.listener(JobEnded(job.location, ExitCode.ERROR if end.exit_code is None else end.exit_code))

    async def _fire_schedules(self) -> None:
        fired, error = await self._fleet.fire_schedules(
            lambda schedule: make_scheduled_jobs(self._workspace, self._commit, schedule), self._workspace.clock.now()
        )
        # tried again each time: told once, and again when it changes
        unqueued = error.lines[0] if error else ""
        if unqueued not in ("", self._unqueued):
            self._say(f"a schedule cannot be queued: {unqueued}")
        self._unqueued = unqueued
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
