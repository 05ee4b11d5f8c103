"""A run in one location from its lease to its report."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.apply.resolve_doubts import disbelieve_absences, hold_unsettled
from reconciler.apply.rounds import carry_out
from reconciler.apply.run import ApplyOptions, Run, Services
from reconciler.apply.split_refused import hold_unseen
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import Interrupted, ReconcilerError, StalePlan, StateError
from reconciler.core.model.journal import LocationReport, RunHeader, RunRecord, RunStatus
from reconciler.core.model.names import LocationId, Tag
from reconciler.core.model.outcome import Outcome
from reconciler.core.planning.approved_scope import derive_ceiling, intersect_ceilings, respell_state
from reconciler.core.planning.batches import count_change_pairs
from reconciler.core.planning.changes import HeldContacts
from reconciler.core.planning.guard_sentences import ApprovedPlan
from reconciler.core.planning.make_plan import set_sizes
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.core.running.doubt import decidable_doubts, may_have_work, open_doubts
from reconciler.core.running.pace import Pace
from reconciler.core.running.shortfalls import (
    RunEnd,
    ending_of,
    explain_unsent,
    foreign_changes,
    note_left_aside,
    report_nothing_sent,
)
from reconciler.journalled_run import HeldLease, acquire_lease
from reconciler.ports import StateStore
from reconciler.request_gate import Halted, until


async def apply_location(
    plan: LocationPlan, approved: ApprovedPlan, mission: ApplyOptions, world: Services
) -> LocationReport:
    """Carries out the plan of one location; whatever goes wrong there is in the report."""
    try:
        if not _has_work(plan, mission, world):
            return replace(report_nothing_sent(plan, RunStatus.COMPLETE), outside=mission.rest(plan.location).lacking)
        tenure = await _taken(plan, mission, world)
    except ReconcilerError as error:
        return _failed(report_nothing_sent(plan, RunStatus.STOPPED), error)
    try:
        return await _under_lease(tenure, plan, approved, mission, world)
    except ReconcilerError as error:
        return _failed(report_nothing_sent(plan, RunStatus.STOPPED), error)
    finally:
        tenure.release()


def _has_work(plan: LocationPlan, mission: ApplyOptions, world: Services) -> bool:
    """Something to send, to record, or to settle; of a plan file, to tell what became of it."""
    proposed = mission.proposed(plan.location)
    if proposed is not None and not proposed.is_empty:
        return True
    if not plan.is_empty or plan.observations or (plan.sizes_moved and plan.location not in mission.reversals):
        return True
    if not may_have_work(plan):
        return False
    desired, options = mission.desired[plan.location], mission.options[plan.location]
    state = world.store.load_state(plan.location)
    if decidable_doubts(state.observed, desired, state.facts, options.now):
        return True
    unread = open_doubts(state.observed, desired, settle_ms=options.settle_ms, now=options.now)
    return world.reader is not None and bool(unread)


async def _taken(plan: LocationPlan, mission: ApplyOptions, world: Services) -> HeldLease:
    """The lease; raises LockHeld, or Interrupted."""
    taking = acquire_lease(
        plan.location,
        mission.holder,
        store=world.store,
        clock=world.clock,
        report=world.report,
        lock_timeout_ms=mission.lock_timeout_ms,
    )
    if not mission.lock_timeout_ms:
        return await taking
    tenure = await until(world.stop.wait, taking)
    if tenure is None:
        assert world.stop.interrupted is not None
        raise world.stop.interrupted
    return tenure


async def _under_lease(
    tenure: HeldLease, plan: LocationPlan, approved: ApprovedPlan, mission: ApplyOptions, world: Services
) -> LocationReport:
    proposed, options = mission.proposed(plan.location), mission.options[plan.location]
    # a run of a plan file is known by the file
    whole = mission.proposal.plan if mission.proposal else approved.plan
    _refuse_stale(proposed or plan, whole, world.store)
    header = RunHeader(
        location=plan.location,
        operation=mission.holder.operation,
        who=mission.holder.who,
        started=world.clock.now(),
        change_digest=whole.change_digest,
        commit=mission.commit,
        # those that the plan did not need too: a later round may
        allowed=tuple(sorted({*map(str, options.allowances), *options.exceptions})),
    )
    earlier = tuple(each.id for each in _runs_of(whole, plan.location, world.store))
    number = world.store.begin_run(tenure.lease, header)
    state = respell_state(world.store.load_state(plan.location), proposed or plan)
    reversal = mission.reversals.get(plan.location)
    run = Run(
        plan=plan,
        limit=intersect_ceilings(derive_ceiling(plan), derive_ceiling(proposed)) if proposed else derive_ceiling(plan),
        outside=mission.rest(plan.location).lacking,
        desired=state.spelling.spell_desired(mission.desired[plan.location]),
        options=options.in_spelling(state.spelling),
        reversal=None if reversal is None else reversal.in_spelling(state.spelling),
        state=state,
        tenure=tenure,
        mission=mission,
        number=number,
        earlier=earlier,
        began=header.started,
        world=world,
        pace=world.pace(plan.location) if world.pace else Pace(options.rate),
    )
    return await _to_its_end(run)


async def _to_its_end(run: Run) -> LocationReport:
    run.world.stop.listen(run.halt)
    problem: ReconcilerError | None = None
    try:
        await carry_out(run)
    except Halted:
        problem = run.error
    except ReconcilerError as error:
        problem = error
    finally:
        run.world.stop.forget(run.halt)
    # where the journal cannot be written, what it holds is the truth: the next run reads it
    if not isinstance(problem, StateError):
        try:
            hold_unseen(run)
        except StateError as error:
            problem = problem or error
    report = _reported(run, problem)
    if not isinstance(problem, StateError):
        try:
            _end(run, report)
        except StateError as error:
            problem = problem or error
            report = _failed(replace(report, status=RunStatus.STOPPED), problem)
    return _with_kept(report, run.kept) if problem else report


def _end(run: Run, report: LocationReport) -> None:
    store, lease = run.world.store, run.tenure.lease
    if run.rejected:
        # only now: a token that is wrong refuses everybody, and says nothing of them
        store.save_states(lease, run.rejected if run.wrong else {who: run.state.observed[who] for who in run.rejected})
    # of a part of the whole nothing follows for the size of a set, nor of what undoes a run
    whole = report.status is RunStatus.COMPLETE and run.reversal is None and not run.options.selection.is_part
    sizes = set_sizes(run.desired) if whole else None
    store.end_run(lease, run.number, report.status, run.now(), set_sizes=sizes, ending=ending_of(report))
    if run.mission.history_keep is not None:
        store.prune_journal(lease, run.mission.history_keep)


def _reported(run: Run, problem: ReconcilerError | None) -> LocationReport:
    hold_unsettled(run)
    if run.wrong:
        disbelieve_absences(run)
    run.tally.close_unsent(run.present, run.state.observed)
    pairs = Counter(run.tally.pairs(run.state.observed))
    rest = run.mission.rest(run.location)
    if rest.foreign:
        pairs[Outcome.NOT_SENT] += count_change_pairs(rest.foreign)
    besides = frozenset(contact for delta in rest.besides for contact in delta.contacts)
    end = RunEnd(run.state.observed, run.present, is_stopped=problem is not None, besides=besides)
    report = LocationReport(
        location=run.location,
        run=run.number,
        status=RunStatus.STOPPED if problem else RunStatus.COMPLETE,
        rounds=run.rounds,
        requests=run.requests,
        reads=run.reads,
        adopted=run.adopted,
        released=run.released,
        pairs=dict(pairs),
        findings=run.tally.findings(),
        surprises=run.tally.surprises(),
        notes=(*run.notes, *note_left_aside(run.plan, _still_held(run))),
        outside=run.outside,
        unsent=(*explain_unsent(run.tally, run.plan.deferrals, end), *foreign_changes(rest.foreign)),
    )
    return _failed(report, problem) if problem else report


def _still_held(run: Run) -> list[HeldContacts]:
    """What the plan held, and no look of this run settled."""
    observed = run.state.observed
    open_ones = (
        replace(listed, contacts=tuple(who for who in listed.contacts if _is_open(observed[who], listed.tags)))
        for listed in run.plan.held
    )
    return [listed for listed in open_ones if listed.contacts]


def _is_open(known: ContactState, tags: Iterable[Tag]) -> bool:
    return not (known.doubt | known.unconfirmed).isdisjoint(tags)


def _refuse_stale(plan: LocationPlan, whole: Plan, store: StateStore) -> None:
    """A plan is of one lineage, and used up by the run that completes it."""
    state = store.load_state(plan.location)
    if plan.lineage not in (None, state.lineage):
        raise StalePlan(
            f"the plan is of lineage {plan.lineage}, the state of lineage {state.lineage}", hint="run plan again"
        )
    if plan.serial == state.serial:
        return
    for run in _runs_of(whole, plan.location, store):
        if run.status is RunStatus.COMPLETE:
            raise StalePlan(f"the plan is used up: run {run.id} carried it out", hint="run plan again")
        if run.is_pruned:
            raise StalePlan(
                f"what run {run.id} sent of the plan is no longer known: its rows were given up",
                hint="run plan again; the setting history_keep says how many runs keep their rows",
            )


def _runs_of(plan: Plan, location: LocationId, store: StateStore) -> list[RunRecord]:
    """The runs that began with this very plan."""
    return [
        run
        for run in store.read_runs(location)
        if run.header.change_digest == plan.change_digest and run.header.started >= plan.as_of
    ]


def _failed(report: LocationReport, error: ReconcilerError) -> LocationReport:
    told, hint = "; ".join(error.lines), "; ".join(error.hints)
    if isinstance(error, Interrupted):
        told += f"; {report.pairs.get(Outcome.NOT_SENT, 0):,} not sent"
    return replace(report, error=told, hint=hint, error_code=error.exit_code)


def _with_kept(report: LocationReport, kept: Sequence[str]) -> LocationReport:
    """Names every emergency journal, and the command that takes them in. Answers that no place took are in doubt."""
    places, lost = [place for place in kept if place], sum(not place for place in kept)
    error, hint = report.error, report.hint
    if places:
        error += f"; what was answered is in {', '.join(places)}"
        files = " ".join(map(shlex.quote, places))
        hint = f"once the state can be written, and before the next run: reconciler state recover {files}"
    if lost:
        plural = "s" * (lost > 1)
        error += f"; {lost:,} answer{plural} could be written nowhere: its contacts are in doubt until they are read"
    return replace(report, error=error, hint=hint)
