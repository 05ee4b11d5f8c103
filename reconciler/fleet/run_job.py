"""A job's work: its operation, by the functions that the command line calls, and how the job goes on then.

Rules
1. Without an approval an apply plans, and ends so. With one, the plan that the job makes has to have the approved
   digest; from then on it is kept with the job, and a further try sends those of its changes that are still needed.
2. A try ends for good where another one would end alike. An error that may pass (the state cannot be reached, the
   location is held, the API does not answer) has another try after a pause. A quota that is used up, and a signal, cost
   no try.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler import __version__
from reconciler.core.formats.json_forms import Count
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    ExitCode,
    Interrupted,
    LockHeld,
    QuotaExhausted,
    ReconcilerError,
    RequestRefused,
    StateCorrupted,
    StateError,
    StateTooNew,
    UsageError,
)
from reconciler.core.model.journal import LocationReport, UnknownLocation
from reconciler.core.model.names import Instant
from reconciler.core.model.notice import Notice
from reconciler.core.model.safe_text import Provenance, json_line
from reconciler.fleet import MOST_TRIES, Operation
from reconciler.fleet.approved_plan import remake_approved
from reconciler.fleet.rows import Claim, JobEnd, make_job_notice
from reconciler.operations.apply import ApplyRequest, apply_plan, find_stale_approvals
from reconciler.operations.drift import DriftRequest, find_drift
from reconciler.operations.plan import PlanResult, find_filter_loops, make_plan
from reconciler.operations.pull import PullRequest, pull_people
from reconciler.operations.workspace import Workspace, open_session
from reconciler.output.document import Document, FailureDocument, add_provenance
from reconciler.output.drift import DriftDocument
from reconciler.output.fleet import JobStatus
from reconciler.output.notice import make_drift_notice, make_run_notice
from reconciler.output.plan import PlanDocument
from reconciler.output.pull import PullDocument
from reconciler.output.run import RunDocument
from reconciler.planfile import plan_text
from reconciler.request_gate import Stop

PAUSES_S = (10, 60)
"""After the first try that ended with a passing error, and after the second."""
QUOTA_PAUSE_S = 3_600
"""Where it is not known when the quota starts anew."""
_FINAL = (AuthRefused, RequestRefused, StateCorrupted, StateTooNew)
_PASSING = (ApiError, StateError)

SavePlan = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobScene:
    """A job, and the surroundings in which it is run."""

    claim: Claim
    workspace: Workspace
    stop: Stop
    save_plan: SavePlan
    """Keeps the text of a plan whose digest was approved with the job."""
    directory: Path
    """Where a plan file stands while it is read, and answers that the state does not take."""

    @property
    def location(self) -> str:
        return self.claim.job.location


@dataclass(frozen=True, slots=True)
class _Done:
    """How an operation ended that raised nothing."""

    document: Document
    exit_code: int
    status: JobStatus = JobStatus.ENDED
    note: str = ""
    resets: Instant | None = None
    """When the quota starts anew, where it ended the operation early."""
    notice: Notice | None = None


async def run_job(scene: JobScene) -> JobEnd:
    """How the job goes on after this try, and what a webhook gets of it, if that is the end."""
    end = await _try(scene)
    # an error, or a plan that nobody has approved, has no report to make one of
    if end.notice is not None or end.exit_code is None:
        return end
    return replace(end, notice=make_job_notice(scene.claim.open, end.exit_code))


async def _try(scene: JobScene) -> JobEnd:
    try:
        done = await _OPERATIONS[Operation(scene.claim.job.operation)](scene)
    except ReconcilerError as error:
        return _end_with_error(scene, error)
    if again := _try_again_after(scene, done):
        return again
    return JobEnd(done.status, done.exit_code, done.note, _spell(scene, done.document), notice=done.notice)


async def _apply(scene: JobScene) -> _Done:
    # a try that was taken over may end while the next one begins
    file = scene.directory / f"job-{scene.claim.job.id}-{scene.claim.open.engine_job}.json"
    request, approved = scene.claim.request, scene.claim.job.approved
    sending = ApplyRequest(recovery_beside=file, lock_timeout_ms=request.lock_timeout_ms, stop=scene.stop)
    if scene.claim.plan:
        planned = await remake_approved(scene.claim, scene.workspace, file)
    else:
        session = open_session(scene.workspace, [scene.location])
        planned = await make_plan(session, request.make_plan_request())
        if not approved:
            return _end_planned(planned)
        await _keep_approved(scene, planned)
        sending = replace(sending, approved=(approved,))
    result = await apply_plan(planned, sending)
    resets = next((report.resets for report in result.reports if report.resets), None)
    note, notice = _find_note(result.reports), make_run_notice("apply", result.reports)
    return _Done(RunDocument(result.reports), result.exit_code, note=note, resets=resets, notice=notice)


async def _keep_approved(scene: JobScene, planned: PlanResult) -> None:
    """Keeps a plan with the approved digest, for a further try; raises StalePlan for another one."""
    # a run that is killed leaves other changes to do than were approved: only the plan tells that they are a part
    if stale := find_stale_approvals([scene.claim.job.approved], planned):
        raise next(iter(stale.values()))
    await scene.save_plan(plan_text(planned.plan))


def _end_planned(planned: PlanResult) -> _Done:
    plan = planned.plan
    document = PlanDocument(plan)
    # a person who approves it needs the digest; a guard has to be lifted first
    if plan.refused:
        return _Done(document, ExitCode.GUARD, note="a guard refuses it")
    for loop in find_filter_loops(planned).values():
        return _Done(document, loop.exit_code, note=loop.lines[0])
    if plan.is_settled:
        return _Done(document, ExitCode.DONE, note="nothing to do")
    note = f"approve it with --approved LOCATION={plan.change_digest}"
    return _Done(document, ExitCode.CHANGES, JobStatus.PLANNED, note)


async def _find_drift(scene: JobScene) -> _Done:
    request = scene.claim.request
    session = open_session(scene.workspace, [scene.location])
    foreign = any(kind.value == "foreign" for kind in request.fail_on)
    result = await find_drift(session, DriftRequest(request.scope, request.reading, foreign, request.create_state))
    unknown = UnknownLocation.list_from(result.unknown)
    notes = (*result.notes, *result.explain_uncounted(request.fail_on))
    document = DriftDocument(result.reports, unknown, notes, session.now)
    drifted = result.has_any(request.fail_on)
    code, note = (ExitCode.CHANGES, "drift") if drifted else (ExitCode.DONE, "")
    notice = make_drift_notice(result.reports, unknown, request.fail_on)
    return _Done(document, code, note=note, notice=notice)


async def _pull(scene: JobScene) -> _Done:
    request = scene.claim.request
    session = open_session(scene.workspace, [scene.location], pulls=True)
    if session.settings.snapshots:
        raise UsageError(
            "a pull of the fleet keeps snapshots in the state, and the settings keep them in files (`snapshots`) of a "
            "checkout, which no other worker has",
            hint="pull in a job of CI that commits them, or leave `snapshots` out",
        )
    wanted = PullRequest(
        sets=request.sets,
        full=request.full,
        allow=request.allow,
        reason=request.reason,
        lock_timeout_ms=request.lock_timeout_ms,
        create_state=request.create_state,
    )
    result = await pull_people(session, wanted, lambda _: None)
    # of the only location: the job ends with it
    for error in (*result.errors, *result.refusals):
        raise error
    return _Done(PullDocument(result.locations), result.exit_code)


_OPERATIONS: dict[Operation, Callable[[JobScene], Awaitable[_Done]]] = {
    Operation.APPLY: _apply,
    Operation.DRIFT: _find_drift,
    Operation.PULL: _pull,
}


def _find_note(reports: tuple[LocationReport, ...]) -> str:
    return next((report.error.splitlines()[0] for report in reports if report.error), "")


def _try_again_after(scene: JobScene, done: _Done) -> JobEnd | None:
    """The further try of a run that ended early, whose report has the error; None where it ended for good."""
    code, stopped = done.exit_code, scene.stop.interrupted
    # the report of a run has the code of its error, and not the error
    if stopped is not None and code == stopped.exit_code:
        return _end_stopped(scene, done.document)
    if code == ExitCode.QUOTA:
        return _queue_for_quota(scene, done.note, done.resets)
    if code in (ExitCode.ERROR, ExitCode.LOCKED):
        return _queue_or_hold(scene, code, done.note, _spell(scene, done.document))
    return None


def _end_with_error(scene: JobScene, error: ReconcilerError) -> JobEnd:
    note = error.lines[0] if error.lines else str(error)
    if isinstance(error, Interrupted):
        return _end_stopped(scene, _describe(error))
    # the location goes on by itself when the quota does, and nothing is wrong with the job
    if isinstance(error, QuotaExhausted):
        return _queue_for_quota(scene, note, error.resets)
    if isinstance(error, LockHeld) or (isinstance(error, _PASSING) and not isinstance(error, _FINAL)):
        return _queue_or_hold(scene, error.exit_code, note, _spell(scene, _describe(error)))
    return JobEnd(JobStatus.ENDED, error.exit_code, note, _spell(scene, _describe(error)))


def _describe(error: ReconcilerError) -> Document:
    return FailureDocument(error.message, error.hint, Count(error.exit_code), error.lines, error.hints)


def _end_stopped(scene: JobScene, document: Document) -> JobEnd:
    """A run that was asked to stop: by a person for good, by the end of its worker for now."""
    # a further try would send what a person did not want sent
    if isinstance(scene.stop.interrupted, JobCancelled):
        return JobEnd(JobStatus.CANCELLED, ExitCode.PARTIAL, "stopped by a person", _spell(scene, document))
    code = scene.stop.interrupted.exit_code if scene.stop.interrupted else ExitCode.ERROR
    return JobEnd(JobStatus.QUEUED, code, "its worker was stopped: another one goes on", counts=False)


class JobCancelled(Interrupted):
    """A person cancelled the job while it ran."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)
        self.reword("a person cancelled the job")


def _queue_or_hold(scene: JobScene, code: int, note: str, result: str) -> JobEnd:
    # the claim has counted this try
    tries = scene.claim.open.tries
    if tries >= MOST_TRIES:
        return JobEnd(JobStatus.HELD, code, f"held for a person after {tries} tries: {note}", result)
    return JobEnd(JobStatus.QUEUED, code, f"try {tries} of {MOST_TRIES}: {note}", pause_s=PAUSES_S[tries - 1])


def _queue_for_quota(scene: JobScene, note: str, resets: Instant | None) -> JobEnd:
    """Queued again for when the quota starts anew."""
    pause_s = QUOTA_PAUSE_S if resets is None else max(1.0, (resets - scene.workspace.clock.now()) / 1000)
    return JobEnd(JobStatus.QUEUED, ExitCode.QUOTA, note, pause_s=pause_s, counts=False)


def _spell(scene: JobScene, document: Document) -> str:
    """The JSON of a report, with the commit; a plan is sealed and has its own."""
    written = document.json()
    if "report" in written:
        at: Instant = scene.workspace.clock.now()
        made = Provenance(at, scene.claim.job.commit, __version__, f"reconciler fleet {scene.claim.job.operation}")
        written = add_provenance(written, made)
    return json_line(written)


def run_apart(scene: JobScene, begin: Callable[[asyncio.AbstractEventLoop], None]) -> JobEnd:
    """As `run_job`, in a loop of its own: a plan that takes long does not hold up the heartbeats of the worker.

    `begin`: is given the loop, by which another thread can ask the run to stop.
    """

    async def run() -> JobEnd:
        begin(asyncio.get_running_loop())
        return await run_job(scene)

    return asyncio.run(run())
