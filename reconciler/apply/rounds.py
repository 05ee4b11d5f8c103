"""From the plan to where nothing is left to do: steps, rounds, doubts; many requests at once.

Rules
1. Nothing outside the approved plan and its ceilings is sent; a pair sent is not sent again, but once after a doubt.
2. The doubts of earlier runs are settled before any other request to those contacts, those of this run when all else is
   done.
3. After each round the rest is planned anew from the answers, under the guards of the whole run, until nothing is left.
4. Two requests under way share no contact. One error halts all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from reconciler.apply.examine_refused import learn_from_first_write
from reconciler.apply.release import release, slow_tags, wait_for_release, without_slow
from reconciler.apply.resolve_doubts import Again, find_decidable, settle_doubts, take_up_earlier_runs
from reconciler.apply.run import Run, over_limit
from reconciler.apply.split_refused import deliver
from reconciler.core.model.alike import map_alike
from reconciler.core.model.batch import Batch, Demand
from reconciler.core.model.contact_changes import adopt_pairs, date_given, find_undated, release_pairs
from reconciler.core.model.contact_state import NONE, ContactState
from reconciler.core.model.errors import ReconcilerError, Unfinished
from reconciler.core.model.events import BatchAnswered, RoundStarted
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.settings import Guard
from reconciler.core.observing.refresh_rules import record_observations
from reconciler.core.planning.approved_scope import keep_approved
from reconciler.core.planning.batches import make_batches
from reconciler.core.planning.changes import Delta, Demands, demands_from_deltas
from reconciler.core.planning.diff import owned_in
from reconciler.core.planning.guard_measures import measure_guards
from reconciler.core.planning.guard_sentences import explain_refusals
from reconciler.core.planning.guards import Before, Counts, Measured, count_pairs
from reconciler.core.planning.make_plan import before_run, plan_location, plan_revert
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.situation import NO_REASSERTION
from reconciler.core.running.batch_split import BatchQueue, add_trial
from reconciler.core.running.doubt import is_open
from reconciler.core.running.stop_conditions import plan_canary_steps, restrict_to_step
from reconciler.request_gate import Halted

MAX_ROUNDS = 10
MAX_SETTLINGS = 3
CanaryStep = Collection[ContactId] | None


async def carry_out(run: Run) -> None:
    """All rounds of the run. Raises the error that stopped it."""
    await _store_observations(run)
    await _date_given(run)
    # pairs of a plan file that are no longer needed are never sent, but the report accounts for every pair of the file
    besides = run.apply_options.difference(run.location).besides
    run.outcomes.add_planned((*run.plan.deltas, *run.plan.reasserted, *besides))
    run.outcomes.add_deferred(run.plan.deferrals)
    # before the doubts of earlier runs are settled: guards measure against what the plan was made on
    rounds = _Rounds(run, before_run(run.location_book.state))
    moved = await take_up_earlier_runs(run)
    if run.apply_options.canary is None:
        # what is given slowly is counted under the lease: the plan sends all at once
        await rounds.until_released(None if moved or slow_tags(run) else run.plan, None)
        return
    for step in plan_canary_steps((*run.plan.deltas, *run.plan.deferrals), run.apply_options.canary):
        await rounds.until_released(None, step)
        _check_step(run, step)
        if step is not None and run.progress.release.waiting:
            run.progress.cut("the other contacts wait until all of the first ones were sent")
            return


def _check_step(run: Run, step: CanaryStep) -> None:
    """Raises Unfinished where a step shows a share over its limit, however few contacts it has."""
    # after the last step, None, nothing is left to stop
    if step is not None and (passed := run.rates.over(run.apply_options.stop_on.of_steps(), few=1)):
        raise over_limit(f"after the first {len(step):,} contact{'s' * (len(step) > 1)}: {passed}")


class _Rounds:
    """The rounds of a run; `before`: holders and sizes when it began."""

    def __init__(self, run: Run, before: Before) -> None:
        self.run = run
        self._before_run = before
        # owned as the run begins: pruning a tag's last pair must not take the approval of its deferrals away
        deferred = {tag for deferral in run.plan.deferrals for tag in deferral.tags}
        self._owned = owned_in(run.desired, run.observed, run.options.selection) & deferred

    async def until_released(self, current: LocationPlan | None, step: CanaryStep) -> None:
        """Until nothing is left to send, or what is left waits for another run. `current`: None where to plan anew."""
        await self.until_converged(await self.inside(step) if current is None else current, step)
        while await wait_for_release(self.run):
            # judged as a run of its own would be: the slices take more requests than the plan that was approved
            self.run.progress.begin_slice()
            await self.until_converged(await self.inside(step), step)

    async def until_converged(self, current: LocationPlan, step: CanaryStep) -> None:
        for _ in range(MAX_SETTLINGS):
            current = await self._until_sent(current, step)
            again = await self._settle_own_doubts()
            if again is None:
                return
            if again := without_slow(self.run, again):
                await self._send_once_more(again)
            current = await self.inside(step)

    async def _until_sent(self, current: LocationPlan, step: CanaryStep) -> LocationPlan:
        rounds = 0
        while current.batches or current.ledger:
            if rounds == MAX_ROUNDS:
                raise Unfinished(f"not converged after {MAX_ROUNDS} rounds", hint="run plan to see what is left")
            rounds += 1
            await self._send_round(current)
            current = await self.inside(step)
        return current

    async def _settle_own_doubts(self) -> Again | None:
        """The pairs that may be sent once more; None where no doubt could be settled."""
        run, rejected = self.run, self.run.outcomes.rejected
        decidable = find_decidable(run)
        doubts = {contact: run.state_of(contact) for contact in run.doubts.sent if contact not in rejected}
        if not run.can_read:
            # what the answer to a later request tells
            doubts = {who: state for who, state in doubts.items() if not is_open(state, run.options.settle_ms)}
        if not decidable and not doubts:
            return None
        again = await settle_doubts(run, doubts | decidable)
        if run.can_read:
            # doubts that no reading settled are the next run's: to read them again now would show the same
            run.doubts.clear()
        return again

    async def _send_once_more(self, again: Again) -> None:
        def demands_of(action: Action) -> tuple[Demand, ...]:
            pairs = ((tags, contacts) for (sent, tags), contacts in again.items() if sent is action)
            return tuple(Demand(tags, tags, tuple(sorted(contacts))) for tags, contacts in pairs)

        adds, removes = demands_of(Action.ADD), demands_of(Action.REMOVE)
        batches = make_batches(Demands(adds, removes), self.run.caps, solve=self.run.options.solve).batches
        self._refuse_requests(len(batches))
        self.run.progress.add_counts(Counts(requests=len(batches)))
        await self._send(batches)

    def _refuse_requests(self, number: int) -> None:
        # the pairs were counted when they were sent first; the requests were not
        measured = self._measure_guards((), number)
        refused = tuple(guard for guard in measured if guard.guard is Guard.MAX_REQUESTS and guard.refused)
        if refused:
            raise _refusal(replace(self.run.plan, guards=refused))

    async def _send_round(self, current: LocationPlan) -> None:
        run = self.run
        # nor is a pair put under management that a set which has ended declared
        run.gate.halt_if_ended()
        await _record_ledger(run, current)
        run.outcomes.add_planned(current.deltas)
        observed, requests = run.observed, len(current.batches)
        run.progress.add_counts(count_pairs(current.deltas, current.reasserted, requests=requests, observed=observed))
        await self._send(current.batches)

    async def _send(self, batches: Sequence[Batch]) -> None:
        self.run.report(RoundStarted(self.run.location, self.run.progress.start_round(), len(batches)))
        await send_all(self.run, _with_trial(self.run, batches))

    async def inside(self, step: CanaryStep = None) -> LocationPlan:
        """The rest of the work, as far as it was approved, belongs to the step, and the guards let it pass."""
        run = self.run
        fresh = await self.run.call(self._plan_anew)
        deltas, outside = keep_approved(fresh.deltas, run.limit, failed=run.outcomes.failed)
        run.progress.set_outside(outside)
        if step is not None:
            deltas = restrict_to_step(deltas, step)
        deltas = await release(run, deltas)
        inside = fresh
        if deltas != fresh.deltas:
            batches = make_batches(
                demands_from_deltas(deltas), run.caps, solve=run.options.solve, effort=run.options.effort
            ).batches
            inside = replace(fresh, deltas=deltas, batches=batches, guards=self._measure_guards(deltas, len(batches)))
        if inside.batches and inside.refused:
            run.outcomes.add_planned(deltas)
            raise _refusal(inside)
        return inside

    def _plan_anew(self) -> LocationPlan:
        """Beside the event loop: nothing else changes the state of the location meanwhile."""
        run = self.run
        # a re-assertion saves requests of the plan it was approved with: it is no part of a later round
        options = replace(run.options, reassertion=NO_REASSERTION)
        plan = partial(plan_location, owned=self._owned)
        if run.reversal is not None:
            plan = partial(plan_revert, run.reversal)
        spent, done = run.outcomes.spent, run.progress.counts
        return plan(run.desired, run.location_book.state, options, spent=spent, done=done, before=self._before)

    def _measure_guards(self, deltas: Sequence[Delta], requests: int) -> tuple[Measured, ...]:
        run = self.run
        counts: Counts = run.progress.counts + count_pairs(deltas, requests=requests, observed=run.observed)
        limits, allowances = run.options.limits, run.options.allowances
        return measure_guards(counts, self._before, run.desired, limits=limits, allowances=allowances)

    @property
    def _before(self) -> Before:
        """The holders before the run, with those that the answers showed among contacts never observed."""
        return replace(self._before_run, holders=self._before_run.holders + self.run.progress.new_holders)


def _refusal(plan: LocationPlan) -> Unfinished:
    return Unfinished("; ".join(explain_refusals((plan,))), hint="what is left is in the next plan")


def _with_trial(run: Run, batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches, two of them as one where it is time to see whether requests must be as small as was learnt."""
    if run.location_book.trial is not None or not run.facts.doubts_limits(run.now()):
        return batches
    # not those with tags that start a workflow: were the trial refused, every contact would have to be read
    spare = frozenset(tag for tag, rule in run.desired.rules.items() if rule.once or rule.triggers)
    batches, trial = add_trial(batches, run.options.caps, run.caps, spare=spare)
    run.location_book.set_trial(trial)
    return batches


async def _store_observations(run: Run) -> None:
    """Stores the observations that the plan was made on and the state does not have yet."""
    seen, settle_ms = map(run.spelling.spell_observed, run.plan.observations), run.options.settle_ms
    if changed := record_observations(run.observed, tuple(seen), settle_ms=settle_ms):
        await run.call(run.store.save_states, run.lease, changed)


async def _date_given(run: Run) -> None:
    """Dates what was given before its tag became `once`: set and rule may leave the manifests in one commit."""
    once, now = run.desired.once, run.now()
    undated = find_undated(run.observed, once)
    dated = map_alike(lambda state: date_given(state, once, now), undated.values())
    await run.save_states(dict(zip(undated, dated, strict=True)))


async def _record_ledger(run: Run, current: LocationPlan) -> None:
    changed: dict[ContactId, ContactState] = {}
    once, now = run.desired.once, run.now()
    for change in current.ledger:
        adopted, released = frozenset(change.adopted), frozenset(change.released)
        contacts = len(change.contacts)
        run.progress.add_ledger_change(adopted=len(adopted) * contacts, released=len(released) * contacts)
        for contact in change.contacts:
            state = adopt_pairs(run.state_of(contact), adopted, keep=NONE, once=once, at=now)
            state = release_pairs(state, released, once=once, at=now)
            changed[contact] = replace(state, ledger=replace(state.ledger, kept=frozenset(change.kept)))
    if changed:
        await run.call(run.store.save_adoptions, run.lease, run.journal.id, changed)
        run.observed.update(changed)


Tasks = dict["asyncio.Task[None]", int]
"""The requests under way, each with the place of its batch in the queue."""


async def send_all(run: Run, batches: Sequence[Batch]) -> None:
    """Delivers the batches. Raises the error that halted the run, once all requests under way have ended."""
    queue = BatchQueue(batches)
    tasks: Tasks = {}
    ended = 0
    try:
        while True:
            _start_ready(run, batches, queue, tasks)
            if not tasks:
                break
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # in the plan's order: the same answers make the same run
            for task in sorted(done, key=tasks.__getitem__):
                index = tasks.pop(task)
                _finish(run, task)
                queue.end_batch(index)
                ended += 1
                run.report(_describe_answer(run, batches[index], done=ended, of=len(batches)))
    finally:
        # a task that is cancelled writes nothing: its intent is in the journal, and the next run settles it
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    if run.gate.error is not None:
        raise run.gate.error


def _start_ready(run: Run, batches: Sequence[Batch], queue: BatchQueue, tasks: Tasks) -> None:
    # None: each batch that waits shares a contact with one under way, or follows one
    while run.gate.error is None and len(tasks) < run.room and (index := queue.start_next()) is not None:
        tasks[asyncio.create_task(_deliver(run, batches[index]))] = index


async def _deliver(run: Run, batch: Batch) -> None:
    await deliver(run, batch)
    # while the batch holds its contacts no other request of ours changes them
    await learn_from_first_write(run)


def _finish(run: Run, task: asyncio.Task[None]) -> None:
    try:
        task.result()
    except Halted:
        return
    # any other error is a fault of the program, and ends the run at once
    except ReconcilerError as error:
        run.gate.halt(error)


def _describe_answer(run: Run, batch: Batch, *, done: int, of: int) -> BatchAnswered:
    tags = frozenset(batch.tags)
    worst = run.outcomes.count_worst(batch.contacts, tags)
    return BatchAnswered(
        location=run.location,
        action=batch.action,
        tags=len(batch.tags),
        done=done,
        requests=of,
        applied=worst[Outcome.APPLIED],
        noop=worst[Outcome.NOOP],
        rejected=worst[Outcome.REJECTED],
        unclear=worst[Outcome.HELD] + worst[Outcome.IN_DOUBT],
        quota_left=run.gate.pace.left_today(run.now()),
    )
