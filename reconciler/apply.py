"""The shell: the only place where a plan meets the API. Takes an ApprovedPlan and nothing else.

Rules
1. Per batch: the intent is durable, then it is sent, then answer and observations are durable in one transaction.
2. Nothing outside the approved plan and its ceilings is sent; a pair sent once is not sent again in the run.
3. A contact's removes go only where its adds ended applied, noop or seen.
4. Known to have had no effect: retried, with pauses. Of unknown effect: in doubt, never sent again blindly.
5. After each round what is left is planned anew from the answers, until nothing is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.core.alias import aliases_in
from reconciler.core.batching import Batch, make_batches
from reconciler.core.ceiling import Ceiling, ceiling, within
from reconciler.core.change import Delta, demands_of
from reconciler.core.desired import Desired
from reconciler.core.emergency import Lost, nothing_sent
from reconciler.core.errors import (
    ApiError,
    InDoubt,
    LeaseLost,
    NotApplied,
    ReconcilerError,
    StalePlan,
    StateError,
    Unfinished,
)
from reconciler.core.event import BatchAnswered, Event, RoundStarted, Waiting
from reconciler.core.guard import Before, Counts, Measured, count, measure
from reconciler.core.journal import RunHeader, RunStatus
from reconciler.core.lease import Holder
from reconciler.core.names import ContactId, Instant, LocationId, Tag, TagSet
from reconciler.core.observed import Known, Observed, absorb, adopt, intend, release, withdraw
from reconciler.core.outcome import Action, Outcome, Row, Verdict, judge
from reconciler.core.pace import Pace
from reconciler.core.plan import (
    ApprovedPlan,
    LocationPlan,
    Plan,
    PlanOptions,
    Snapshot,
    before_run,
    explain_refusals,
    pairs_of,
    plan_location,
)
from reconciler.core.reassert import NO_REASSERTION
from reconciler.core.report import LocationReport
from reconciler.core.revert import Reversal, plan_revert
from reconciler.core.tally import Tally
from reconciler.ports import Clock, Emergency, Reporter, StateStore, TagWriter
from reconciler.tenure import Tenure, take
from reconciler.wire import BulkUpdate

MAX_ROUNDS = 10
PAUSES_MS = (500, 1_000, 2_000, 4_000)
NONE: TagSet = frozenset()


def _nowhere(lost: Lost, /) -> str:  # noqa: ARG001 (nothing is kept)
    return ""


@dataclass(frozen=True, slots=True)
class World:
    """What a run needs of the world. `writer` gives the API of a location; `emergency` keeps what `store` cannot."""

    writer: Callable[[LocationId], TagWriter]
    store: StateStore
    clock: Clock
    report: Reporter
    emergency: Emergency = _nowhere


@dataclass(frozen=True, slots=True)
class Mission:
    """What a run is given besides its plan. `reversals`: the runs that it undoes, where it does not carry out what
    is desired. `history_keep`: so many runs keep their rows, None: all of them."""

    desired: Mapping[LocationId, Desired]
    options: Mapping[LocationId, PlanOptions]
    holder: Holder
    commit: str = ""
    reversals: Mapping[LocationId, Reversal] = field(default_factory=dict)
    lock_timeout_ms: int = 0
    history_keep: int | None = None


async def apply(approved: ApprovedPlan, mission: Mission, world: World) -> tuple[LocationReport, ...]:
    """Carries out the plan, one location after the other; a location that fails does not stop the others."""
    return tuple([await _apply_location(location, approved, mission, world) for location in approved.plan.locations])


async def _apply_location(plan: LocationPlan, approved: ApprovedPlan, mission: Mission, world: World) -> LocationReport:
    if plan.is_empty and not plan.observations:
        return _nothing_sent(plan, RunStatus.COMPLETE)
    try:
        tenure = await take(
            plan.location,
            mission.holder,
            store=world.store,
            clock=world.clock,
            report=world.report,
            lock_timeout_ms=mission.lock_timeout_ms,
        )
    except ReconcilerError as error:
        return _failed(_nothing_sent(plan, RunStatus.STOPPED), error)
    try:
        return await _under_lease(tenure, plan, approved, mission, world)
    except ReconcilerError as error:
        return _failed(_nothing_sent(plan, RunStatus.STOPPED), error)
    finally:
        tenure.release()


async def _under_lease(
    tenure: Tenure, plan: LocationPlan, approved: ApprovedPlan, mission: Mission, world: World
) -> LocationReport:
    _refuse_stale(plan, approved.plan, world.store)
    header = RunHeader(
        location=plan.location,
        operation=mission.holder.operation,
        who=mission.holder.who,
        started=world.clock.now(),
        change_digest=approved.plan.change_digest,
        commit=mission.commit,
        allowed=tuple(f"{each.flag}: {each.allowed}" for each in plan.guards if each.allowed),
    )
    number = world.store.begin_run(tenure.lease, header)
    options = mission.options[plan.location]
    run = _Run(
        plan=plan,
        desired=mission.desired[plan.location],
        options=options,
        reversal=mission.reversals.get(plan.location),
        state=world.store.load(plan.location),
        tenure=tenure,
        history_keep=mission.history_keep,
        number=number,
        world=world,
        pace=Pace(options.rate),
    )
    return await run.carry_out()


def _nothing_sent(plan: LocationPlan, status: RunStatus) -> LocationReport:
    return LocationReport(
        plan.location, "", status, pairs=Tally(planned=pairs_of(plan.deltas)).pairs(plan.deferrals, Observed())
    )


def _refuse_stale(plan: LocationPlan, whole: Plan, store: StateStore) -> None:
    """A plan is of one lineage, and used up by the run that completes it."""
    state = store.load(plan.location)
    if plan.lineage not in (None, state.lineage):
        raise StalePlan(
            f"the plan is of lineage {plan.lineage}, the state of lineage {state.lineage}", hint="run plan again"
        )
    if plan.serial == state.serial:
        return
    for run in store.runs(plan.location):
        same = run.header.change_digest == whole.change_digest and run.header.started >= whole.as_of
        if same and run.status is RunStatus.COMPLETE:
            raise StalePlan(f"the plan is used up: run {run.id} carried it out", hint="run plan again")


def _failed(report: LocationReport, error: ReconcilerError) -> LocationReport:
    return replace(report, error=error.message, hint=error.hint, error_code=error.exit_code)


@dataclass(slots=True)
class _Run:
    """One run in one location: what it was given, and what it has done so far."""

    plan: LocationPlan
    desired: Desired
    options: PlanOptions
    reversal: Reversal | None
    state: Snapshot
    tenure: Tenure
    history_keep: int | None
    number: str
    world: World
    pace: Pace
    rounds: int = 0
    requests: int = 0
    outside: int = 0
    adopted: int = 0
    released: int = 0
    done: Counts = field(default_factory=Counts)
    tally: Tally = field(default_factory=Tally)
    learnt: Counter[Tag] = field(default_factory=Counter)
    before: Before = field(init=False)

    async def carry_out(self) -> LocationReport:
        problem: ReconcilerError | None = None
        try:
            await self._rounds()
        except ReconcilerError as error:
            problem = error
        # where the journal cannot be written, what it holds is the truth: the next run reads it
        if not isinstance(problem, StateError):
            try:
                self._end(RunStatus.STOPPED if problem else RunStatus.COMPLETE)
            except StateError as error:
                problem = problem or error
        report = self._reported(RunStatus.STOPPED if problem else RunStatus.COMPLETE)
        return _failed(report, problem) if problem else report

    def _end(self, status: RunStatus) -> None:
        sizes = {each.name: len(each.members) for each in self.desired.sets}
        # of a part of the whole nothing follows for the size of a set, nor of what undoes a run
        chosen = self.options.selection
        whole = status is RunStatus.COMPLETE and self.reversal is None and not (chosen.sets or chosen.tags)
        self.world.store.end_run(
            self.tenure.lease,
            self.number,
            status,
            self.world.clock.now(),
            set_sizes=sizes if whole else None,
        )
        if self.history_keep is not None:
            self.world.store.prune(self.tenure.lease, self.history_keep)

    def _reported(self, status: RunStatus) -> LocationReport:
        return LocationReport(
            location=self.plan.location,
            run=self.number,
            status=status,
            rounds=self.rounds,
            requests=self.requests,
            adopted=self.adopted,
            released=self.released,
            pairs=self.tally.pairs(self.plan.deferrals, self.state.observed),
            findings=tuple(self.tally.findings),
            outside=self.outside,
        )

    async def _rounds(self) -> None:
        self._store_observations()
        self.before = before_run(self.state)
        limit: Ceiling | None = None
        current = self.plan
        if self.state.serial != self.plan.serial:
            limit = ceiling(self.plan)
            current = self._inside(limit)
        while current.batches or current.ledger:
            self.rounds += 1
            await self._round(current)
            if self.rounds == MAX_ROUNDS:
                raise ReconcilerError(f"not converged after {MAX_ROUNDS} rounds", hint="run plan to see what is left")
            limit = limit or ceiling(self.plan)
            current = self._inside(limit)

    def _inside(self, limit: Ceiling) -> LocationPlan:
        """What is left to do, as far as it was approved and the guards let it pass."""
        # what would be sent again is not in what was approved
        options = replace(self.options, reassertion=NO_REASSERTION)
        plan = plan_location if self.reversal is None else partial(plan_revert, self.reversal)
        fresh = plan(self.desired, self.state, options, spent=self.tally.spent, done=self.done, before=self._before())
        deltas, self.outside = within(fresh.deltas, limit, failed=self.tally.failed)
        inside = fresh
        if deltas != fresh.deltas:
            caps = options.caps.within(self.state.facts)
            batches = make_batches(demands_of(deltas), caps, effort=options.effort).batches
            inside = replace(fresh, deltas=deltas, batches=batches, guards=self._measured(deltas, len(batches)))
        if inside.batches and inside.refused:
            self.tally.planned += pairs_of(deltas)
            raise Unfinished("; ".join(explain_refusals((inside,))), hint="what is left is in the next plan")
        return inside

    def _measured(self, deltas: Sequence[Delta], requests: int) -> tuple[Measured, ...]:
        counts = self.done + count(deltas, requests=requests)
        limits, allowances = self.options.limits, self.options.allowances
        return measure(counts, self._before(), self.desired, limits=limits, allowances=allowances)

    def _before(self) -> Before:
        """What was there before the run, with what the answers told of contacts never observed."""
        return replace(self.before, holders=self.before.holders + self.learnt)

    async def _round(self, current: LocationPlan) -> None:
        self.world.report(RoundStarted(self.plan.location, self.rounds, len(current.batches)))
        self._record_ledger(current)
        self.tally.planned += pairs_of(current.deltas) + current.summary.reasserted
        self.done = self.done + count(current.deltas, current.reasserted, requests=len(current.batches))
        for done, batch in enumerate(current.batches, start=1):
            await self._batch(batch, done=done, of=len(current.batches))

    def _store_observations(self) -> None:
        """What the plan was made on and the state does not know yet."""
        observed, settle_ms = self.state.observed, self.options.settle_ms
        changed = {
            contact: known
            for seen in self.plan.observations
            for contact, known in seen.absorb(observed, settle_ms=settle_ms)
        }
        if changed:
            self.world.store.learn(self.tenure.lease, changed)
            observed.update(changed)

    def _record_ledger(self, current: LocationPlan) -> None:
        changed: dict[ContactId, Known] = {}
        for change in current.ledger:
            adopted, released = frozenset(change.adopted), frozenset(change.released)
            self.adopted += len(adopted) * len(change.contacts)
            self.released += len(released) * len(change.contacts)
            for contact in change.contacts:
                known = release(adopt(self.state.observed[contact], adopted, keep=NONE), released)
                changed[contact] = replace(known, kept=frozenset(change.kept))
        if changed:
            self.world.store.learn(self.tenure.lease, changed)
            self.state.observed.update(changed)

    async def _batch(self, batch: Batch, *, done: int, of: int) -> None:
        if batch.action is Action.REMOVE and self.tally.failed:
            batch = replace(batch, contacts=tuple(each for each in batch.contacts if each not in self.tally.failed))
        if not batch.contacts:
            return
        # before the intent: whoever is killed while it waits has sent nothing, and leaves no doubt
        await self._ready()
        tags = frozenset(batch.tags)
        before = {contact: self.state.observed[contact] for contact in batch.contacts}
        sent = self.world.clock.now()
        intended = {each: self._intended(each, batch.action, tags, known, sent) for each, known in before.items()}
        number = self.world.store.intend(self.tenure.lease, self.number, batch, intended, sent)
        sent = self.world.clock.now()
        try:
            verdicts = await self._send(batch)
        except (ApiError, LeaseLost):
            withdrawn = {contact: withdraw(intended[contact], before[contact]) for contact in batch.contacts}
            now = self.world.clock.now()
            with self._or_kept(number, nothing_sent(batch), withdrawn, now):
                self.world.store.withdraw(self.tenure.lease, number, withdrawn, now)
            raise
        now = self.world.clock.now()
        learn = partial(
            absorb, action=batch.action, tags=tags, sent=sent, answered=now, settle_ms=self.options.settle_ms
        )
        learnt = {
            contact: learn(intended[contact], verdict, membership=self.desired.membership(contact))
            for contact, verdict in verdicts.items()
        }
        try:
            with self._or_kept(number, verdicts, learnt, now):
                self.world.store.record(self.tenure.lease, number, verdicts, learnt, now)
        except StateError as error:
            lost = Verdict(Outcome.IN_DOUBT, f"its answer could not be recorded: {error.message}")
            self.tally.take(batch, dict.fromkeys(batch.contacts, lost))
            raise
        self.state.observed.update(learnt)
        for contact, verdict in verdicts.items():
            if before[contact].observed is None and verdict.old is not None:
                self.learnt.update(verdict.old)
        self.tally.take(batch, verdicts)
        self._note_aliases(batch, verdicts)
        self.world.report(_answered(self.plan.location, batch, verdicts, done=done, of=of))

    def _note_aliases(self, batch: Batch, verdicts: Mapping[ContactId, Verdict]) -> None:
        """Tags that came back spelt otherwise: remembered, so that they are taken for the tag from here on."""
        if batch.action is Action.REMOVE:
            return
        facts = self.state.facts
        found = aliases_in(frozenset(batch.tags), (verdict.observed for verdict in verdicts.values()))
        if new := sorted(set(found) - set(facts.aliases)):
            self.state = replace(self.state, facts=facts.with_aliases(new))
            self.world.store.note(self.tenure.lease, self.state.facts)

    @contextmanager
    def _or_kept(
        self, number: int, verdicts: Mapping[ContactId, Verdict], learnt: Mapping[ContactId, Known], now: Instant
    ) -> Iterator[None]:
        """What the state does not take goes into the emergency journal, which the error then names."""
        try:
            yield
        except StateError as error:
            lost = Lost(self.plan.location, self.state.lineage, self.number, number, now, verdicts, learnt)
            if place := self.world.emergency(lost):
                error.message += f"; what was answered is in {place}"
                error.hint = f"once the state can be written, and before the next run: reconciler state recover {place}"
            raise

    def _intended(self, contact: ContactId, action: Action, tags: TagSet, known: Known, now: Instant) -> Known:
        # what a reversal gives back is ours again only where it was
        ours = tags if self.reversal is None else self.reversal.managed(contact, tags, self.desired)
        return intend(known, action, ours, keep=self.desired.want(contact).keep, at=now)

    async def _send(self, batch: Batch) -> dict[ContactId, Verdict]:
        """A verdict a contact; an answer that cannot be known leaves them all in doubt."""
        update = BulkUpdate(batch.action, self.plan.location, batch.contacts, batch.tags)
        try:
            rows = await self._attempts(update)
        except InDoubt as error:
            return {contact: Verdict(Outcome.IN_DOUBT, error.message) for contact in batch.contacts}
        return judge(batch.action, batch.contacts, batch.tags, rows)

    async def _attempts(self, update: BulkUpdate) -> tuple[Row, ...]:
        for pause in (*PAUSES_MS, None):
            await self._ready()
            self.requests += 1
            try:
                return await self._once(update)
            except NotApplied as error:
                if pause is None:
                    raise
                await self._wait(max(pause, error.retry_after_ms or 0), error.message)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, update: BulkUpdate) -> tuple[Row, ...]:
        ticket, answered = self.pace.leave(self.world.clock.now()), False
        try:
            rows = await self.tenure.during(self.world.writer(self.plan.location).update_tags(update))
            answered = True
        finally:
            self.pace.end(ticket, self.world.clock.now(), answered=answered)
        return rows

    async def _ready(self) -> None:
        """Within the rate limit, and under a lease that is alive."""
        await self._wait(self.pace.wait(self.world.clock.now()), "rate limit")
        self.tenure.renew()

    async def _wait(self, milliseconds: int, why: str) -> None:
        if milliseconds > 0:
            self.world.report(Waiting(self.plan.location, milliseconds, why))
        await self.tenure.sleep(milliseconds)


def _answered(
    location: LocationId, batch: Batch, verdicts: Mapping[ContactId, Verdict], *, done: int, of: int
) -> Event:
    ended = Counter(verdict.outcome for verdict in verdicts.values())
    return BatchAnswered(
        location=location,
        action=batch.action,
        tags=len(batch.tags),
        done=done,
        requests=of,
        applied=ended[Outcome.APPLIED],
        noop=ended[Outcome.NOOP],
        rejected=ended[Outcome.REJECTED],
        unclear=ended[Outcome.HELD] + ended[Outcome.IN_DOUBT],
    )
