"""The shell: the only place where a plan meets the API. Takes an ApprovedPlan and nothing else. Here a run in one
location from its lease to its report, and many locations side by side.

Law: sees core, wire, ports, the gate and the bracket of runs; no store, no client, no clock of its own.

Rules
1. A plan is refused as stale where it is of another lineage, or a run has carried it out already, or a pull has given
   a set other contacts than the manifests were read with, or a set has begun or ended meanwhile, on the way too. No
   run begins in a state that was migrated away meanwhile.
2. An error is in the report of its location: the other locations go on.
3. A run that the state no longer takes is left open: the next one settles by the journal.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from reconciler.apply.books import LocationBook, RunProgress, name_recovery_files
from reconciler.apply.release import prune_journal
from reconciler.apply.resolve_doubts import disbelieve_absences, hold_unsettled
from reconciler.apply.rounds import carry_out
from reconciler.apply.run import ApplyOptions, Run, Services
from reconciler.apply.split_refused import hold_unseen
from reconciler.beside import Places, connect_location
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.errors import (
    Interrupted,
    QuotaExhausted,
    ReconcilerError,
    StalePlan,
    StateError,
    Unfinished,
)
from reconciler.core.model.journal import LocationReport, RunEnding, RunHeader, RunRecord, RunStatus
from reconciler.core.model.measured import HeldCounted
from reconciler.core.model.names import ContactId, Instant, SetName, Tag
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.people import Snapshot
from reconciler.core.observing.metrics import count_state
from reconciler.core.planning.approved_scope import derive_ceiling, intersect_ceilings, respell_state
from reconciler.core.planning.batches import count_change_pairs
from reconciler.core.planning.changes import FLAPPING, HeldContacts
from reconciler.core.planning.guard_sentences import ApprovedPlan
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan
from reconciler.core.running.doubt import decidable_doubts, open_doubts
from reconciler.core.running.pace import APPLY_LATER, Pace
from reconciler.core.running.shortfalls import (
    RunEnd,
    ending_of,
    explain_unsent,
    foreign_changes,
    note_left_aside,
    report_nothing_sent,
)
from reconciler.journalled_run import HeldLease, JournalledRun, acquire_lease, journalled_run
from reconciler.measure import Measure
from reconciler.request_gate import Halted, RequestGate, Stop, until

__all__ = ["ApplyOptions", "Services", "Stop", "apply", "fail_report", "report_failed"]


async def apply(approved: ApprovedPlan, options: ApplyOptions, services: Services) -> tuple[LocationReport, ...]:
    """Carries out the plan, many locations side by side; a location that fails does not stop the others."""
    places = options.places or Places(None, services.report)

    async def apply_in_turn(location: LocationPlan) -> LocationReport:
        async with places.take(location.location):
            return await apply_location(location, approved, options, services)

    order = {location: place for place, location in enumerate(options.order)}
    in_order = sorted(approved.plan.locations, key=lambda plan: order.get(plan.location, len(order)))
    tasks = [asyncio.ensure_future(apply_in_turn(location)) for location in in_order]
    try:
        if tasks:
            # whatever ends one of them, a fault of ours too, the others are in the midst of their requests
            await asyncio.wait(tasks)
            _tell_of_each([fault for task in tasks if (fault := task.exception())])
        reports = {report.location: report for report in (task.result() for task in tasks)}
        return tuple(reports[plan.location] for plan in approved.plan.locations)
    finally:
        # a location that goes on after this function has ended would send for a caller that is gone
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def apply_location(
    plan: LocationPlan, approved: ApprovedPlan, options: ApplyOptions, services: Services
) -> LocationReport:
    """Carries out the plan of one location; its errors are in the report."""
    failed = True
    try:
        report = await _apply_or_fail(plan, approved, options, services)
        failed = bool(report.error_code)
        return report
    finally:
        # a fault of ours has no report
        if options.fail_fast and failed:
            services.stop.end(Unfinished(f"stopped, since location {plan.location} failed (--fail-fast)"))


def _tell_of_each(faults: Sequence[BaseException]) -> None:
    """Faults of ours in several locations: the first one is raised, and has the others in its notes."""
    for other in faults[1:]:
        faults[0].add_note("another location failed, too:\n" + "".join(traceback.format_exception(other)))


async def _apply_or_fail(
    plan: LocationPlan, approved: ApprovedPlan, options: ApplyOptions, services: Services
) -> LocationReport:
    try:
        if not await _has_work(plan, options, services):
            return replace(report_nothing_sent(plan), outside=options.difference(plan.location).lacking)
        async with await _acquire_lease(plan, options, services) as held:
            return await _run_under_lease(held, plan, approved, options, services)
    except ReconcilerError as error:
        return report_failed(plan, error)


@dataclass(frozen=True, slots=True)
class KnownLocation:
    """What the state has of a location once its lease is held."""

    state: LocationState
    runs: Sequence[RunRecord]

    def runs_of(self, plan: LocationPlan, whole: Plan) -> list[RunRecord]:
        """The runs that began with this very plan."""
        # a run began with the digest that was approved: that of its location, or that of all of them
        digests = (plan.change_digest, whole.change_digest)
        # an earlier plan of the same changes has the same digest: only later runs are of this one
        later = (run for run in self.runs if run.header.started >= whole.as_of)
        return [run for run in later if run.header.change_digest in digests]


def report_failed(plan: LocationPlan, error: ReconcilerError) -> LocationReport:
    """The report of a location in which nothing was sent for this error."""
    return fail_report(report_nothing_sent(plan, RunStatus.STOPPED), error)


async def _has_work(plan: LocationPlan, options: ApplyOptions, services: Services) -> bool:
    """Whether there are pairs to send, to record or to settle, or a plan file to account for."""
    proposed = options.proposed(plan.location)
    # also where all of the file was made by now: the run that accounts for it uses it up
    if proposed is not None and not proposed.is_empty:
        return True
    if not plan.is_empty or plan.observations or (plan.leaves_record and plan.location not in options.reversals):
        return True
    if not plan.may_have_work:
        return False
    desired, plan_options = options.desired[plan.location], options.options[plan.location]
    measure = Measure(services.clock, services.report)
    async with connect_location(services.store, plan.location, services.start_worker, measure) as connection:
        state = await connection.call(connection.store.load_state)
    if decidable_doubts(state.observed, desired, state.facts, plan_options.now):
        return True
    unread = open_doubts(state.observed, desired, settle_ms=plan_options.settle_ms, now=plan_options.now)
    return services.reader is not None and bool(unread)


async def _acquire_lease(plan: LocationPlan, options: ApplyOptions, services: Services) -> HeldLease:
    """Raises LockHeld, or Interrupted."""
    acquiring = acquire_lease(
        plan.location,
        options.holder,
        store=services.store,
        start_worker=services.start_worker,
        clock=services.clock,
        report=services.report,
        lock_timeout_ms=options.lock_timeout_ms,
    )
    # nothing is waited for, so there is nothing to interrupt
    if not options.lock_timeout_ms:
        return await acquiring
    held = await until(services.stop.wait, acquiring)
    if held is None:
        assert services.stop.interrupted is not None
        raise services.stop.interrupted
    return held


async def _run_under_lease(
    held: HeldLease, plan: LocationPlan, approved: ApprovedPlan, options: ApplyOptions, services: Services
) -> LocationReport:
    # by the digest of the plan file, where there is one, later runs of the file find this one
    plan_file = options.proposal.plan if options.proposal else approved.plan
    planned = options.proposed(plan.location) or plan
    known = await held.call(lambda: KnownLocation(held.store.load_state(), held.store.read_runs()))
    earlier = known.runs_of(planned, plan_file)
    _refuse_stale(planned, known.state, earlier)
    await _refuse_newer_pull(options.snapshots.get(plan.location, {}), held, services)
    if plan.location not in options.reversals:
        _refuse_expired(plan, services.clock.now())
    plan_options = options.options[plan.location]
    is_whole = plan.location not in options.reversals and not plan_options.selection.is_part
    header = RunHeader(
        location=plan.location,
        operation=options.holder.operation,
        who=options.holder.who,
        started=services.clock.now(),
        change_digest=(planned if planned.change_digest in options.digests else plan_file).change_digest,
        commit=options.commit,
        # also those that the plan did not need: a later round may
        allowed=tuple(sorted({*map(str, plan_options.allowances), *plan_options.exceptions})),
        # a run that is killed writes no ending: by this drift knows what it left
        manifests_digest=plan.manifests_digest if is_whole else "",
    )
    async with journalled_run(held, header, cancelled=None) as journal:
        ids = tuple(record.id for record in earlier)
        run = _open_run(plan, options, services, journal, known.state, ids, header.started)
        # the run keeps what it needs of it: of a million contacts it is large
        del known
        return await _finish_run(run)


def _open_run(
    plan: LocationPlan,
    options: ApplyOptions,
    services: Services,
    journal: JournalledRun,
    stored: LocationState,
    earlier: tuple[str, ...],
    began: Instant,
) -> Run:
    proposed, plan_options = options.proposed(plan.location), options.options[plan.location]
    state = respell_state(stored, proposed or plan)
    reversal = options.reversals.get(plan.location)
    return Run(
        plan=plan,
        limit=intersect_ceilings(derive_ceiling(plan), derive_ceiling(proposed)) if proposed else derive_ceiling(plan),
        options=plan_options.in_spelling(state.spelling),
        reversal=None if reversal is None else reversal.in_spelling(state.spelling),
        apply_options=options,
        services=services,
        journal=journal,
        gate=RequestGate(
            plan.location,
            services.pace(plan.location) if services.pace else Pace(plan_options.rate),
            services.clock,
            services.report,
            journal.held,
            chance=services.chance,
            spill=options.spill,
            later=APPLY_LATER,
            # what a run undoes is of no time
            valid_until=plan.valid_until if reversal is None else None,
        ),
        earlier=earlier,
        began=began,
        location_book=LocationBook(state, state.spelling.spell_desired(options.desired[plan.location])),
        progress=RunProgress(outside=options.difference(plan.location).lacking),
    )


async def _finish_run(run: Run) -> LocationReport:
    """Carries it out to its end, be that an error."""
    run.services.stop.listen(run.gate.halt)
    problem: ReconcilerError | None = None
    try:
        await carry_out(run)
    except Halted:
        problem = run.gate.error
    except ReconcilerError as error:
        problem = error
    finally:
        run.services.stop.forget(run.gate.halt)
    # to hold them is to write to the state, which has failed then
    if not isinstance(problem, StateError):
        try:
            await hold_unseen(run)
        except StateError as error:
            problem = problem or error
    report = await _report_run(run, problem)
    if isinstance(problem, StateError):
        # where the journal cannot be written, what it holds is the truth: the next run reads it
        run.journal.leave_open()
    else:
        try:
            await _end_run(run, report)
        except StateError as error:
            problem = problem or error
            report = fail_report(replace(report, status=RunStatus.STOPPED), problem)
    return name_recovery_files(report, run.progress.recovery_files) if problem else report


async def _end_run(run: Run, report: LocationReport) -> None:
    if rejected := run.progress.rejected:
        # only now: a token that is wrong refuses every contact, and says nothing of them
        believed = rejected if run.progress.disbelieved else {contact: run.state_of(contact) for contact in rejected}
        await run.call(run.store.save_states, run.lease, believed)
    # a part of the plan, or a reversal, applies no set as a whole: the sizes of the last apply of all stay
    is_whole = run.reversal is None and not run.options.selection.is_part
    # where only a pace keeps additions back, the next slice is of sets that were approved as they are now
    is_done = not report.error and not run.progress.is_cut
    sizes = run.desired.set_sizes if is_whole and (is_done or _has_begun_location(run)) else None
    await run.journal.end(report.status, set_sizes=sizes, ending=_make_ending(run, report, is_whole=is_whole))
    if run.apply_options.history_keep is not None:
        await prune_journal(run, run.apply_options.history_keep)


def _make_ending(run: Run, report: LocationReport, *, is_whole: bool) -> RunEnding:
    """`is_whole`: whether the run applied all sets and tags of the manifests."""
    ending = replace(ending_of(report), waits_until=None if report.error else run.progress.release.until)
    if not is_whole:
        return ending
    return replace(ending, manifests_digest=run.desired.digest, definitions_digest=run.desired.definitions_digest)


def _has_begun_location(run: Run) -> bool:
    """Whether this is the first run that was answered: with it the guard of first additions has had its say."""
    return run.progress.answered and not run.location_book.state.set_sizes


async def _report_run(run: Run, problem: ReconcilerError | None) -> LocationReport:
    await hold_unsettled(run)
    if run.progress.disbelieved:
        await disbelieve_absences(run)
    run.outcomes.close_unsent(run.present, run.observed)
    pairs, held = Counter(run.outcomes.pairs(run.observed)), _still_held(run)
    difference = run.apply_options.difference(run.location)
    if difference.foreign:
        pairs[Outcome.NOT_SENT] += count_change_pairs(difference.foreign)
    run.report(HeldCounted(run.location, _count_waiting(run, held, pairs)))
    run.report(count_state(run.location, run.observed, run.now()))
    besides = frozenset(contact for delta in difference.besides for contact in delta.contacts)
    release = run.progress.release
    # of a round that was cut short nothing is known to have been given that the others would wait for
    waiting = {} if problem and release.deltas else release.waiting
    told = [each.note for each in waiting.values()]
    end = RunEnd(run.observed, run.present, is_stopped=problem is not None, besides=besides, waiting=waiting)
    report = LocationReport(
        location=run.location,
        run=run.journal.id,
        # one with additions that wait does not use its plan up
        status=RunStatus.STOPPED if problem or waiting else RunStatus.COMPLETE,
        rounds=run.progress.rounds,
        requests=run.gate.writes,
        reads=run.gate.reads,
        reads_for=dict(sorted(run.gate.reads_for.items())),
        adopted=run.progress.adopted,
        released=run.progress.released,
        pairs=dict(pairs),
        findings=run.outcomes.findings(),
        surprises=run.outcomes.surprises(),
        notes=(*told, *run.progress.notes, *note_left_aside(run.plan, held)),
        outside=run.progress.outside,
        unsent=(*explain_unsent(run.outcomes, run.plan.deferrals, end), *foreign_changes(difference.foreign)),
    )
    return fail_report(report, problem) if problem else report


def _still_held(run: Run) -> list[HeldContacts]:
    """The pairs that the plan held, and that nothing settled which this run learnt."""
    found: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    for held in run.plan.held:
        for contact in held.contacts:
            state = run.state_of(contact)
            # a tag that flaps is in no doubt: it waits until it is seen there
            flapping = frozenset(held.tags) - (state.observed or NONE) if held.why == FLAPPING else NONE
            waiting = flapping | state.doubtful | state.ledger.unconfirmed
            if tags := tuple(tag for tag in held.tags if tag in waiting):
                found[held.why, tags].append(contact)
    return [HeldContacts(why, tags, tuple(contacts)) for (why, tags), contacts in found.items()]


def _count_waiting(run: Run, held: Iterable[HeldContacts], pairs: Counter[Outcome]) -> int:
    """The pairs that wait for a person or a reading: those of this run's `pairs`, and those of earlier ones."""
    ours = (Outcome.HELD, Outcome.IN_DOUBT)
    earlier = (frozenset(each.tags) - run.outcomes.tags_with(who, *ours) for each in held for who in each.contacts)
    return sum(pairs[outcome] for outcome in ours) + sum(map(len, earlier))


def _refuse_stale(plan: LocationPlan, state: LocationState, earlier: Iterable[RunRecord]) -> None:
    """A plan is of one lineage, and used up by the run that completes it. `earlier`: the runs of this very plan.

    Raises StateError where the state was migrated away since the plan was made.
    """
    if state.moved_to:
        # while a person was asked, or the run waited for the lease that the migration held
        raise StateError(
            f"the state of location {state.location} was migrated to {state.moved_to} since the plan was made: nothing "
            "was sent",
            hint="name that state (--state, RECONCILER_STATE or `state` in reconciler.yaml), and plan again",
        )
    if plan.lineage not in (None, state.lineage):
        raise StalePlan(
            f"the plan is of lineage {plan.lineage}, the state of lineage {state.lineage}", hint="run plan again"
        )
    # nothing was written since: no run can have used the plan up
    if plan.serial == state.serial:
        return
    for run in earlier:
        if run.status is RunStatus.COMPLETE:
            raise StalePlan(f"the plan is used up: run {run.id} carried it out", hint="run plan again")
        if run.is_pruned:
            raise StalePlan(
                f"what run {run.id} sent of the plan is no longer known: its rows were given up",
                hint="run plan again; the setting history_keep says how many runs keep their rows",
            )


async def _refuse_newer_pull(snapshots: Mapping[SetName, Snapshot], held: HeldLease, services: Services) -> None:
    """Between the reading of the manifests and the lease a pull may have given a set other contacts."""
    if not snapshots:
        return
    location, read = held.lease.location, services.read_snapshots
    kept = await held.call(held.store.read_snapshots if read is None else partial(read, location, snapshots))
    for name, snapshot in snapshots.items():
        if name not in kept or kept[name].contacts != snapshot.contacts:
            raise StalePlan(
                f"the plan is stale: contact set {name!r} of location {location} was pulled since",
                hint="plan again",
            )


def _refuse_expired(plan: LocationPlan, now: Instant) -> None:
    """Waiting for an approval or the lease takes time, in which a set begins or ends, or its pull becomes too old."""
    if plan.valid_until is not None and now >= plan.valid_until:
        raise StalePlan("the plan is stale: a set has become active or expired since", hint="plan again")


def fail_report(report: LocationReport, error: ReconcilerError) -> LocationReport:
    """The report of a run that this error ended."""
    message, hint = "; ".join(error.lines), "; ".join(error.hints)
    if isinstance(error, Interrupted):
        unsent, unsure = (report.pairs.get(outcome, 0) for outcome in (Outcome.NOT_SENT, Outcome.IN_DOUBT))
        message += f"; {unsent:,} not sent" + (f", {unsure:,} in doubt" if unsure else "")
    resets = error.resets if isinstance(error, QuotaExhausted) else None
    return replace(report, error=message, hint=hint, error_code=error.exit_code, resets=resets)
