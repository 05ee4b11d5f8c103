"""Applying a plan: `apply_plan(planned, request) -> ApplyResult`. It never asks: its caller has approved.

Rules of a change digest
1. A digest covers one set of changes: the very same, or nothing is sent. The changes cannot be told from it.
2. Where nothing is left to do, there is nothing that needed approval.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.apply import ApplyOptions, Services, apply
from reconciler.core.model.errors import StalePlan, UsageError
from reconciler.core.model.journal import LocationReport, RunStatus, exit_code
from reconciler.core.model.names import LocationId, SetName
from reconciler.core.model.outcome import called
from reconciler.core.model.people import Snapshot
from reconciler.core.planning.approved_scope import NO_DIFFERENCE
from reconciler.core.planning.guard_sentences import ApprovedPlan, approve
from reconciler.core.planning.plan import LocationPlan, Plan, PlanOptions
from reconciler.core.running.shortfalls import report_nothing_sent
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.highlevel.client import HighLevel
from reconciler.journalled_run import RecoveryJournal
from reconciler.operations.api import find_api, refuse_over_quota
from reconciler.operations.identity import find_commit, find_holder
from reconciler.operations.plan import PlanResult
from reconciler.operations.plan_options import PlanRequest, make_plan_options
from reconciler.operations.snapshots import read_snapshot_files
from reconciler.operations.workspace import Session
from reconciler.ports import StateReader
from reconciler.request_gate import Stop
from reconciler.store import open_reader, open_store

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """The manner in which a plan is carried out."""

    operation: str = "apply"
    """The name of the run in the history."""
    recovery_beside: Path = Path("reconciler")
    """The path beside which answers are kept that the state cannot take."""
    lock_timeout_ms: int = 0
    """How long to wait for a location that another run holds."""
    canary: Canary | None = None
    """The size of the first wave; None: all at once."""
    max_error_pct: float | None = None
    """The share of errors that stops the run; None: that of the settings."""
    max_surprise_pct: float | None = None
    """The share of surprises that stops the run; None: that of the settings."""
    spill: bool = False
    """Whether to wait for tomorrow's quota where today's does not suffice."""
    stop: Stop = field(default_factory=Stop)
    """Asks the run to send nothing more."""


@dataclass(frozen=True, slots=True, repr=False)
class ApplyResult:
    """How each location ended."""

    reports: tuple[LocationReport, ...]

    @property
    def exit_code(self) -> int:
        """The exit code of `reconciler apply`: 0 where all was done."""
        return exit_code(self.reports)


async def apply_plan(planned: PlanResult, request: ApplyRequest) -> ApplyResult:
    """Carries out a plan, all locations side by side.

    Raises GuardRefused, QuotaExhausted and AuthRefused before the first request. The error of one location, such as
    LockHeld, is in its report: it does not stop the others.
    """
    # the journal keeps the reason: without one it could not be told later
    refuse_missing_reason(planned.request)
    approved = approve(planned.plan)
    if not _has_work(planned):
        return ApplyResult(_report_nothing_sent(planned))
    # a run that would stop in the middle of its work is better not begun
    if not request.spill:
        refuse_over_quota(planned.plan, planned.session)
    return ApplyResult(await _send(approved, planned, request))


def refuse_missing_reason(request: PlanRequest) -> None:
    if request.scope.again and not request.reason:
        raise UsageError("--again needs a reason", hint='add --reason "why this is meant"; it goes into the journal')


def _has_work(planned: PlanResult) -> bool:
    """Whether a change is to be sent, recorded or settled, or the fate of one in a plan file reported."""
    if planned.reversals:
        return not planned.plan.is_empty
    proposed = planned.proposal.plan.locations if planned.proposal else ()
    return any(location.may_have_work or location.sizes_moved for location in (*planned.plan.locations, *proposed))


def _report_nothing_sent(planned: PlanResult) -> tuple[LocationReport, ...]:
    if planned.reversals:
        return tuple(LocationReport(location, "", RunStatus.COMPLETE) for location in planned.reversals)
    rests = planned.proposal.rests if planned.proposal else {}
    return tuple(
        replace(report_nothing_sent(location), outside=rests.get(location.location, NO_DIFFERENCE).lacking)
        for location in planned.plan.locations
    )


async def _send(approved: ApprovedPlan, planned: PlanResult, request: ApplyRequest) -> tuple[LocationReport, ...]:
    session, workspace = planned.session, planned.session.workspace
    # where nothing but the sizes of sets is recorded, no token is needed
    locations = [location.location for location in approved.plan.locations if location.may_have_work]
    async with AsyncExitStack() as stack:
        apis = {location: await stack.enter_async_context(_open_api(session, location)) for location in locations}
        store = stack.enter_context(open_store(session.settings.state))

        def name_token(location: LocationId) -> str:
            return called(find_api(session, location).token_place)

        def read_snapshots(location: LocationId, names: Iterable[SetName]) -> Mapping[SetName, Snapshot]:
            return read_snapshot_files(session.settings, workspace.directory, location, names).found

        api, journal = apis.__getitem__, RecoveryJournal(request.recovery_beside)
        services = Services(
            api,
            store,
            workspace.clock,
            workspace.listener,
            journal,
            reader=api,
            pace=session.pace,
            stop=request.stop,
            token=name_token,
            read_snapshots=read_snapshots if session.settings.snapshots else None,
        )
        if locations:
            workspace.listener.on_sending()
        return await apply(approved, _make_options(approved.plan, planned, request), services)


def _open_api(session: Session, location: LocationId) -> HighLevel:
    """The API of a location, to read and to write; raises AuthRefused without a token."""
    return HighLevel(session.settings.api.base_url, **find_api(session, location).make_arguments())


def _make_options(plan: Plan, planned: PlanResult, request: ApplyRequest) -> ApplyOptions:
    session, settings = planned.session, planned.session.settings
    return ApplyOptions(
        desired=session.desired,
        options={location.location: _remake_options(location, planned) for location in plan.locations},
        holder=find_holder(request.operation, session.workspace),
        commit=find_commit(session.workspace.directory),
        reversals=planned.reversals,
        lock_timeout_ms=request.lock_timeout_ms,
        history_keep=settings.history_keep,
        in_flight=settings.apply.max_in_flight,
        stop_on=StopOn(
            errors=settings.apply.max_error_pct if request.max_error_pct is None else request.max_error_pct,
            surprises=settings.apply.max_surprise_pct if request.max_surprise_pct is None else request.max_surprise_pct,
        ),
        canary=request.canary,
        spill=request.spill,
        proposal=planned.proposal,
        snapshots=session.list_snapshots(),
    )


def _remake_options(location: LocationPlan, planned: PlanResult) -> PlanOptions:
    """The options that the plan was made with."""
    # later rounds plan by these options: they stay within the part that was approved
    options = make_plan_options(planned.session, location.location, planned.request)
    return replace(options, selection=planned.plan.selection, searched=location.searched, gone=location.gone)


def refuse_odd_digest(digest: str, target: Path) -> None:
    """Raises UsageError for an approval that could not be compared with a plan made now."""
    # a plan file proves nothing: whoever can write it can write any digest into it
    if target.is_file():
        raise UsageError(
            "--approved does not go with a plan file: it plans anew",
            hint="name the directory of manifests; a file of your own is applied without --approved",
        )
    # another text would look like a plan that has moved, and send a reviewer to compare
    if not _DIGEST.fullmatch(digest):
        raise UsageError(
            f"--approved {digest[:80]!r} is no change digest", hint="plan prints it: sha256: and 64 hexadecimal digits"
        )


def find_stale_approval(digest: str, planned: PlanResult) -> StalePlan | None:
    """The error to raise where the plan is another than the one that was approved; None where it is the same."""
    plan = planned.plan
    # rule 2: an empty plan needs no approval
    if plan.is_empty or plan.change_digest == digest:
        return None
    with open_reader(planned.session.settings.state) as reader:
        hint = _explain_stale(digest, plan, reader)
    return StalePlan(
        f"what there is to do now has the change digest {plan.change_digest}, approved was {digest}: nothing was sent",
        hint=hint,
    )


def _explain_stale(digest: str, plan: Plan, reader: StateReader) -> str:
    runs = [
        run
        for location in plan.locations
        for run in reader.at(location.location).read_runs()
        if run.header.change_digest == digest
    ]
    if not runs:
        return "manifests or state have moved since it was approved: review what is to do now, and approve that"
    # several runs may have carried the digest: the last one left the state as it is
    last = max(runs, key=lambda run: run.header.started)
    did = "carried it out" if last.status is RunStatus.COMPLETE else "did a part of it"
    return f"run {last.id} {did}: review what is left, and approve that"
