"""Applying a plan: `apply_plan(planned, request) -> ApplyResult`. It never asks: its caller has approved.

Rules
1. Every location is judged before the first request of any: approval, guards, quota, token. One that is refused has a
   report with that error, and the others go on. The refusal of the only location is raised.
2. A change digest covers one set of changes: the very same, or nothing is sent. The changes cannot be told from it.
3. Where nothing is left to do, there is nothing that needed approval.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.apply import ApplyOptions, Services, apply, fail_report, report_failed
from reconciler.core.model.batch import Reason
from reconciler.core.model.errors import (
    AuthRefused,
    ExitCode,
    GuardRefused,
    NotYet,
    ReconcilerError,
    StalePlan,
    StateError,
    Unfinished,
    UsageError,
    worst_code,
)
from reconciler.core.model.journal import LocationReport, RunStatus, exit_code
from reconciler.core.model.measured import LocationEnded
from reconciler.core.model.names import ContactId, LocationId, SetName, Tag
from reconciler.core.model.outcome import Action, called
from reconciler.core.model.people import Snapshot
from reconciler.core.planning.approved_scope import NO_DIFFERENCE
from reconciler.core.planning.guard_sentences import ApprovedPlan, approve
from reconciler.core.planning.plan import LocationPlan, Plan, PlanOptions
from reconciler.core.running.shortfalls import report_nothing_sent, waits_for_release
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.highlevel.client import HighLevel
from reconciler.loading.snapshot_files import read_snapshot_files
from reconciler.operations.api import find_api, find_missing_tokens
from reconciler.operations.identity import find_commit, find_holder
from reconciler.operations.plan import PlanResult, find_filter_loops
from reconciler.operations.plan_options import PlanRequest, make_plan_options
from reconciler.operations.quota import find_overruns
from reconciler.operations.rollout import find_waiting
from reconciler.operations.workspace import Session
from reconciler.planfile import RecoveryJournal
from reconciler.ports import LocationReader, StateReader
from reconciler.request_gate import Stop
from reconciler.store import open_reader, open_store
from reconciler.system import rarer_cyclic_gc

NAMED = 3
"""So many digests are named; of more there is the number."""
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
    """The size of the first step; None: all at once."""
    max_error_pct: float | None = None
    """The share of errors that stops the run; None: that of the settings."""
    max_surprise_pct: float | None = None
    """The share of surprises that stops the run; None: that of the settings."""
    spill: bool = False
    """Whether to wait for tomorrow's quota where today's does not suffice."""
    approved: tuple[str, ...] = ()
    """Change digests, of the plan or of locations, that somebody approved: nothing else is sent. Empty: the caller
    approves all."""
    wait: bool = False
    """Whether to wait until additions of slowly given tags may go, and go on."""
    fail_fast: bool = False
    """Whether the error of one location stops the others."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Judgement:
    """The locations of a plan that may be sent, and why the others are not."""

    planned: PlanResult
    approved: ApprovedPlan
    refused: Mapping[LocationId, ReconcilerError]
    """For each location the first reason."""

    @property
    def error(self) -> ReconcilerError | None:
        """The refusal of the only location: there is no other one that could go on."""
        if len(self.planned.plan.locations) + len(self.planned.unknown) > 1:
            return None
        return next(iter(self.refused.values()), None)

    @property
    def exit_code(self) -> int:
        """The worst of the refusals; 0 without one."""
        return worst_code([ExitCode.DONE, *(error.exit_code for error in self.refused.values())])

    def refuse(self, errors: Mapping[LocationId, ReconcilerError]) -> Judgement:
        """Without these locations, too; with none where one of all is refused and the others shall not go on."""
        if not errors:
            return self
        plan = self.approved.plan
        left = tuple(location for location in plan.locations if location.location not in errors)
        return replace(self, approved=approve(replace(plan, locations=left)), refused={**errors, **self.refused})

    def refuse_others(self) -> Judgement:
        """Without any location, where one is refused."""
        # a wave that is yet to come is no reason to send nothing to the one before it
        refused = [location for location, error in self.refused.items() if not isinstance(error, NotYet)]
        if not refused:
            return self
        first = min(refused)
        message = f"nothing was sent, since location {first} is refused (--fail-fast)"
        # what has nothing to do is not refused
        left = [each for each in self.approved.plan.locations if each.may_have_work or self.planned.proposal]
        return self.refuse({each.location: Unfinished(message) for each in left})


def judge_approval(planned: PlanResult, request: ApplyRequest) -> Judgement:
    """The locations that the approved digests cover, no guard refuses, and no filter of theirs goes in circles."""
    # the journal keeps the reason: without one it could not be told later
    refuse_missing_reason(planned.request)
    refused: dict[LocationId, ReconcilerError] = find_stale_approvals(request.approved, planned)
    for plan in planned.plan.locations:
        if plan.refused and plan.location not in refused:
            refused[plan.location] = _explain_guards(planned.plan, plan)
    for location, error in (*find_filter_loops(planned).items(), *find_waiting(planned).items()):
        refused.setdefault(location, error)
    left = tuple(location for location in planned.plan.locations if location.location not in refused)
    approved = approve(replace(planned.plan, locations=left))
    return Judgement(planned, approved, {**planned.unknown, **refused})


def _explain_guards(plan: Plan, location: LocationPlan) -> GuardRefused:
    try:
        approve(replace(plan, locations=(location,)))
    except GuardRefused as error:
        return error
    raise AssertionError(f"no guard refuses location {location.location}")


async def judge_plan(planned: PlanResult, request: ApplyRequest) -> Judgement:
    """All that is known before the first request of who may not be sent: approval, guards, quota and token.

    Tokens are fetched side by side, and only of locations that are left.
    """
    return await _judge_surroundings(judge_approval(planned, request), request)


async def _judge_surroundings(judgement: Judgement, request: ApplyRequest) -> Judgement:
    judgement = _judge_quota(judgement, request)
    if _has_work(judgement):
        # where nothing but the sizes of sets is recorded, no token is needed
        locations = [location.location for location in judgement.approved.plan.locations if location.may_have_work]
        judgement = judgement.refuse(await find_missing_tokens(judgement.planned.session, locations))
    return judgement.refuse_others() if request.fail_fast else judgement


def _judge_quota(judgement: Judgement, request: ApplyRequest) -> Judgement:
    # a run that would stop in the middle of its work is better not begun
    if request.spill or not _has_work(judgement):
        return judgement
    return judgement.refuse(find_overruns(judgement.approved.plan, judgement.planned.session))


async def apply_plan(planned: PlanResult, request: ApplyRequest) -> ApplyResult:
    """Carries out a plan, all locations side by side.

    The error of one location, such as GuardRefused, AuthRefused or LockHeld, is in its report: it does not stop the
    others. What refuses the only location before the first request is raised: StalePlan, GuardRefused, QuotaExhausted,
    AuthRefused.
    """
    return await apply_judged(await judge_plan(planned, request), request)


async def apply_judged(judgement: Judgement, request: ApplyRequest) -> ApplyResult:
    """As `apply_plan`, of what was judged: a location that was refused stays so."""
    # a question may have taken hours, in which others used the quota, and a token ended
    judgement = await _judge_surroundings(judgement, request)
    reports = list(_report_refused(judgement))
    if judgement.error is not None:
        _measure_ends(judgement, reports)
        raise judgement.error
    if _has_work(judgement):
        with rarer_cyclic_gc():
            reports += await _send(judgement, request)
    else:
        reports += _report_nothing_sent(judgement)
    _measure_ends(judgement, reports)
    return ApplyResult(tuple(sorted(reports, key=lambda report: report.location)))


def _measure_ends(judgement: Judgement, reports: Iterable[LocationReport]) -> None:
    for report in reports:
        ended = LocationEnded(report.location, report.exit_code, tuple(report.pairs.items()))
        judgement.planned.session.workspace.listener(ended)


def _report_refused(judgement: Judgement) -> Iterator[LocationReport]:
    planned = judgement.planned
    # of a location that could not be planned, a plan file tells what there was to do
    proposed = planned.proposal.plan.locations if planned.proposal else ()
    plans = {plan.location: plan for plan in (*proposed, *planned.plan.locations)}
    for location, error in judgement.refused.items():
        if location in plans:
            yield report_failed(plans[location], error)
        else:
            yield fail_report(LocationReport(location, "", RunStatus.STOPPED), error)


def refuse_missing_reason(request: PlanRequest) -> None:
    if request.scope.again and not request.reason:
        raise UsageError("--again needs a reason", hint='add --reason "why this is meant"; it goes into the journal')


def _has_work(judgement: Judgement) -> bool:
    """Whether a change is to be sent, recorded or settled, or the fate of one in a plan file reported."""
    planned, plan = judgement.planned, judgement.approved.plan
    if planned.reversals:
        return not plan.is_empty
    proposed = planned.proposal.plan.locations if planned.proposal else ()
    left = {location.location for location in plan.locations}
    proposed_left = (location for location in proposed if location.location in left)
    return any(location.may_have_work or location.leaves_record for location in (*plan.locations, *proposed_left))


def _report_nothing_sent(judgement: Judgement) -> tuple[LocationReport, ...]:
    planned = judgement.planned
    if planned.reversals:
        return tuple(LocationReport(location, "", RunStatus.COMPLETE) for location in planned.reversals)
    rests = planned.proposal.rests if planned.proposal else {}
    return tuple(
        replace(report_nothing_sent(location), outside=rests.get(location.location, NO_DIFFERENCE).lacking)
        for location in judgement.approved.plan.locations
    )


async def _send(judgement: Judgement, request: ApplyRequest) -> tuple[LocationReport, ...]:
    planned = judgement.planned
    session, workspace = planned.session, planned.session.workspace
    # where nothing but the sizes of sets is recorded, no token is needed
    locations = [location.location for location in judgement.approved.plan.locations if location.may_have_work]
    async with AsyncExitStack() as stack:
        apis, late = await _open_apis(session, locations, stack)
        before = judgement
        judgement = judgement.refuse(late)
        if judgement.error is not None:
            raise judgement.error
        if late and request.fail_fast:
            judgement = judgement.refuse_others()
        approved, store = judgement.approved, stack.enter_context(open_store(session.settings.state))

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
            start_worker=workspace.start_worker,
        )
        if apis:
            workspace.listener.on_sending()
        reports = await apply(approved, _make_options(approved.plan, planned, request), services)
    left = {plan.location: plan for plan in before.approved.plan.locations}
    refused = {location: error for location, error in judgement.refused.items() if location in left}
    return (*(report_failed(left[location], error) for location, error in refused.items()), *reports)


async def _open_apis(
    session: Session, locations: Iterable[LocationId], stack: AsyncExitStack
) -> tuple[dict[LocationId, HighLevel], dict[LocationId, ReconcilerError]]:
    """The APIs, open until the stack ends, and why a location has none."""
    apis: dict[LocationId, HighLevel] = {}
    late: dict[LocationId, ReconcilerError] = {}
    for location in locations:
        try:
            apis[location] = await stack.enter_async_context(_open_api(session, location))
        except AuthRefused as error:
            # since it was judged its token became too old, and no other one came
            late[location] = error
    return apis, late


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
        places=session.make_places(),
        order=session.in_order(),
        stop_on=StopOn(
            errors=settings.apply.max_error_pct if request.max_error_pct is None else request.max_error_pct,
            surprises=settings.apply.max_surprise_pct if request.max_surprise_pct is None else request.max_surprise_pct,
        ),
        canary=request.canary,
        spill=request.spill,
        wait=request.wait,
        fail_fast=request.fail_fast,
        digests=frozenset(request.approved),
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


def find_stale_approvals(approved: Collection[str], planned: PlanResult) -> dict[LocationId, ReconcilerError]:
    """The errors of locations whose changes are others than those that were approved; empty without an approval."""
    plan = planned.plan
    if not approved or plan.change_digest in approved:
        return {}
    # an empty plan needs no approval
    stale = [each for each in plan.locations if not each.is_empty and each.change_digest not in approved]
    if not stale:
        return {}
    with open_reader(planned.session.settings.state) as reader:
        found = {each.location: _find_stale(each, approved, reader) for each in stale}
    return {location: error for location, error in found.items() if error is not None}


def _find_stale(plan: LocationPlan, approved: Collection[str], reader: StateReader) -> ReconcilerError | None:
    try:
        if _is_next_slice(plan, approved, reader.at(plan.location)):
            return None
        return _explain_stale(plan, approved, reader)
    except StateError as error:
        return error


def _is_next_slice(plan: LocationPlan, approved: Collection[str], reader: LocationReader) -> bool:
    """Whether there is nothing to do but what the last approved run left to wait, and no request has tried since."""
    if plan.tried or plan.ledger or plan.deferrals or plan.reasserted:
        return False
    waiting = _list_waiting(approved, reader)
    return all(
        change.action is Action.ADD and change.reason is not Reason.RESTORED and (contact, change.tag) in waiting
        for delta in plan.deltas
        for contact in delta.contacts
        for change in delta.changes
    )


def _list_waiting(approved: Collection[str], reader: LocationReader) -> set[tuple[ContactId, Tag]]:
    """The additions that the last approved run left to wait for a pace, and that no later run sent or took away."""
    runs = reader.read_runs()
    last = max((place for place, run in enumerate(runs) if run.header.change_digest in approved), default=None)
    ending = None if last is None else reader.read_ending(runs[last].id)
    if last is None or ending is None:
        return set()
    waiting = {
        (contact, tag)
        for short in ending.shortfalls
        if waits_for_release(short)
        for contact in short.contacts
        for tag in short.tags
    }
    for batch in (batch for run in runs[last + 1 :] for batch in reader.read_batches(run.id)):
        # whom a request without its rows was about is not known
        if not batch.answers:
            return set()
        # what was sent, and is gone again, would be another addition
        waiting -= {(contact, tag) for contact in batch.answers for tag in batch.tags}
    return waiting


def _explain_stale(plan: LocationPlan, approved: Collection[str], reader: StateReader) -> StalePlan:
    # of several digests none need be of this location
    was = ", ".join(approved) if len(approved) <= NAMED else f"none of {len(approved):,} digests"
    return StalePlan(
        f"what there is to do now has the change digest {plan.change_digest}, approved was {was}: nothing was sent",
        hint=_explain_move(approved, reader.at(plan.location)),
    )


def _explain_move(approved: Collection[str], reader: LocationReader) -> str:
    runs = [run for run in reader.read_runs() if run.header.change_digest in approved]
    if not runs:
        return "manifests or state have moved since it was approved: review what is to do now, and approve that"
    # several runs may have carried the digest: the last one left the state as it is
    last = max(runs, key=lambda run: run.header.started)
    is_whole = last.status is RunStatus.COMPLETE and not last.is_partial
    did = "carried it out" if is_whole else "did a part of it"
    return f"run {last.id} {did}: review what is left, and approve that"
