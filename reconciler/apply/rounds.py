"""From the plan to where nothing is left to do: waves, rounds, doubts.

Rules
1. Nothing outside the approved plan and its ceilings is sent; a pair sent is not sent again, but once after a doubt.
2. What an earlier run left in doubt is settled before anything else is sent to those contacts. What this run leaves in
   doubt is settled when all else is done.
3. After each round what is left is planned anew from the answers, under the guards of the whole run, until nothing is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from reconciler.apply.books import NONE
from reconciler.apply.examine_refused import learn_from_first_write
from reconciler.apply.resolve_doubts import Again, find_decidable, settle_doubts, take_up_earlier_runs
from reconciler.apply.run import Run, over_limit
from reconciler.apply.split_refused import deliver
from reconciler.core.model.contact_changes import adopt_pairs, release_pairs
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import ReconcilerError, Unfinished
from reconciler.core.model.events import BatchAnswered, RoundStarted
from reconciler.core.model.names import ContactId, TagSet
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.rectangles import Demand
from reconciler.core.model.settings import Guard
from reconciler.core.observing.refresh_rules import record_observations
from reconciler.core.planning.approved_scope import keep_approved
from reconciler.core.planning.batches import Batch, make_batches
from reconciler.core.planning.changes import Delta, Demands, demands_from_deltas
from reconciler.core.planning.diff import owned_in
from reconciler.core.planning.guard_measures import measure_guards
from reconciler.core.planning.guard_sentences import explain_refusals
from reconciler.core.planning.guards import Before, Counts, Measured, count_pairs
from reconciler.core.planning.make_plan import before_run, plan_location
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.revert import plan_revert
from reconciler.core.planning.situation import NO_REASSERTION
from reconciler.core.running.batch_split import BatchQueue, add_trial
from reconciler.core.running.stop_conditions import plan_waves, restrict_to_wave
from reconciler.request_gate import Halted

MAX_ROUNDS = 10
MAX_SETTLINGS = 3
Wave = Collection[ContactId] | None


async def carry_out(run: Run) -> None:
    """All rounds of the run. Raises what stopped it."""
    _store_observations(run)
    run.outcomes.add_planned(run.plan.deltas)
    run.outcomes.add_planned(run.plan.reasserted)
    # what a plan file has besides is never sent: it turns out to be so already, or is told as not sent
    run.outcomes.add_planned(run.apply_options.rest(run.location).besides)
    run.outcomes.add_deferred(run.plan.deferrals)
    rounds = _Rounds(run, before_run(run.location_book.state))
    moved = await take_up_earlier_runs(run)
    if run.apply_options.canary is None:
        await rounds.until_converged(rounds.inside() if moved else run.plan, None)
        return
    for wave in plan_waves((*run.plan.deltas, *run.plan.deferrals), run.apply_options.canary):
        await rounds.until_converged(rounds.inside(wave), wave)
        _check_wave(run, wave)


def _check_wave(run: Run, wave: Wave) -> None:
    """Raises Unfinished where a wave shows a share over its limit, however few contacts it has; None: the last one,
    after which nothing is left to stop."""
    if wave is not None and (passed := run.rates.over(run.apply_options.stop_on, few=1)):
        raise over_limit(f"after the first {len(wave):,} contact{'s' * (len(wave) > 1)}: {passed}")


def _owned_from_the_beginning(run: Run) -> TagSet:
    """The tags of deferrals that are owned as the run begins: what it prunes itself takes no approval away."""
    deferred = {tag for each in run.plan.deferrals for tag in each.tags}
    return owned_in(run.desired, run.location_book.observed, run.options.selection) & deferred


class _Rounds:
    """The rounds of a run. `before`: what was there when it began."""

    def __init__(self, run: Run, before: Before) -> None:
        self.run = run
        self._first = before
        self._owned = _owned_from_the_beginning(run)

    async def until_converged(self, current: LocationPlan, wave: Wave) -> None:
        for _ in range(MAX_SETTLINGS):
            current = await self._until_sent(current, wave)
            again = await self._settle()
            if again is None:
                return
            if again:
                await self._once_more(again)
            current = self.inside(wave)

    async def _until_sent(self, current: LocationPlan, wave: Wave) -> LocationPlan:
        rounds = 0
        while current.batches or current.ledger:
            if rounds == MAX_ROUNDS:
                raise Unfinished(f"not converged after {MAX_ROUNDS} rounds", hint="run plan to see what is left")
            rounds += 1
            await self._round(current)
            current = self.inside(wave)
        return current

    async def _settle(self) -> Again | None:
        """What may be sent once more; None where nothing was in doubt that could be settled."""
        run = self.run
        decidable = find_decidable(run)
        doubts = {who: run.state_of(who) for who in run.doubts.sent if who not in run.outcomes.rejected}
        if not decidable and (not doubts or not run.can_read):
            return None
        doubts |= decidable
        again = await settle_doubts(run, doubts)
        # what no reading told stays in doubt, and is the next run's
        run.doubts.clear()
        return again

    async def _once_more(self, again: Again) -> None:
        demands = {
            action: tuple(
                Demand(tags, tags, tuple(sorted(who))) for (what, tags), who in again.items() if what is action
            )
            for action in Action
        }
        batches = make_batches(
            Demands(demands[Action.ADD], demands[Action.REMOVE]), self.run.caps, solve=self.run.options.solve
        ).batches
        self._refuse_requests(len(batches))
        self.run.progress.add_counts(Counts(requests=len(batches)))
        await self._send(batches)

    def _refuse_requests(self, number: int) -> None:
        """The pairs were counted when they were sent first; the requests were not."""
        refused = tuple(
            each for each in self._measured((), number) if each.guard is Guard.MAX_REQUESTS and each.refused
        )
        if refused:
            plan = replace(self.run.plan, guards=refused)
            raise Unfinished("; ".join(explain_refusals((plan,))), hint="what is left is in the next plan")

    async def _round(self, current: LocationPlan) -> None:
        run = self.run
        _record_ledger(run, current)
        run.outcomes.add_planned(current.deltas)
        observed, requests = run.location_book.observed, len(current.batches)
        run.progress.add_counts(count_pairs(current.deltas, current.reasserted, requests=requests, observed=observed))
        await self._send(current.batches)

    async def _send(self, batches: Sequence[Batch]) -> None:
        self.run.report(RoundStarted(self.run.location, self.run.progress.start_round(), len(batches)))
        await send_all(self.run, _with_trial(self.run, batches))

    def inside(self, wave: Wave = None) -> LocationPlan:
        """What is left to do, as far as it was approved, belongs to the wave, and the guards let it pass."""
        run = self.run
        fresh = self._fresh()
        deltas, outside = keep_approved(fresh.deltas, run.limit, failed=run.outcomes.failed)
        run.progress.set_outside(outside)
        if wave is not None:
            deltas = restrict_to_wave(deltas, wave)
        inside = fresh
        if deltas != fresh.deltas:
            batches = make_batches(
                demands_from_deltas(deltas), run.caps, solve=run.options.solve, effort=run.options.effort
            ).batches
            inside = replace(fresh, deltas=deltas, batches=batches, guards=self._measured(deltas, len(batches)))
        if inside.batches and inside.refused:
            run.outcomes.add_planned(deltas)
            raise Unfinished("; ".join(explain_refusals((inside,))), hint="what is left is in the next plan")
        return inside

    def _fresh(self) -> LocationPlan:
        """What would be planned now; what would be sent again is not in what was approved."""
        run = self.run
        options = replace(run.options, reassertion=NO_REASSERTION)
        plan = partial(plan_location, owned=self._owned)
        if run.reversal is not None:
            plan = partial(plan_revert, run.reversal)
        spent, done = run.outcomes.spent, run.progress.counts
        return plan(run.desired, run.location_book.state, options, spent=spent, done=done, before=self._before())

    def _measured(self, deltas: Sequence[Delta], requests: int) -> tuple[Measured, ...]:
        run = self.run
        counts: Counts = run.progress.counts + count_pairs(
            deltas, requests=requests, observed=run.location_book.observed
        )
        limits, allowances = run.options.limits, run.options.allowances
        return measure_guards(counts, self._before(), run.desired, limits=limits, allowances=allowances)

    def _before(self) -> Before:
        """What was there before the run, with what the answers told of contacts never observed."""
        return replace(self._first, holders=self._first.holders + self.run.progress.new_holders)


def _with_trial(run: Run, batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches, two of them as one where it is time to see whether requests must be as small as was learnt.

    Not those with tags that start something: a refused one is looked at, contact by contact.
    """
    if run.location_book.trial is not None or not run.facts.doubts_limits(run.now()):
        return batches
    spare = frozenset(tag for tag, rule in run.desired.rules.items() if rule.once or rule.triggers)
    batches, trial = add_trial(batches, run.options.caps, run.caps, spare=spare)
    run.location_book.set_trial(trial)
    return batches


def _store_observations(run: Run) -> None:
    """What the plan was made on and the state does not know yet."""
    seen, settle_ms = map(run.spelling.spell_observed, run.plan.observations), run.options.settle_ms
    changed = record_observations(run.location_book.observed, tuple(seen), settle_ms=settle_ms)
    if changed:
        run.store.save_states(run.lease, changed)


def _record_ledger(run: Run, current: LocationPlan) -> None:
    changed: dict[ContactId, ContactState] = {}
    once, now = run.desired.once, run.now()
    for change in current.ledger:
        adopted, released = frozenset(change.adopted), frozenset(change.released)
        contacts = len(change.contacts)
        run.progress.add_ledger_change(adopted=len(adopted) * contacts, released=len(released) * contacts)
        for contact in change.contacts:
            known = adopt_pairs(run.state_of(contact), adopted, keep=NONE)
            known = release_pairs(known, released, once=once, at=now)
            changed[contact] = replace(known, kept=frozenset(change.kept))
    if changed:
        run.store.save_adoptions(run.lease, run.journal.id, changed)
        run.location_book.observed.update(changed)


Tasks = dict["asyncio.Task[None]", int]
"""The requests under way, each with the place of its batch in the queue."""


async def send_all(run: Run, batches: Sequence[Batch]) -> None:
    """Delivers the batches; raises what stopped the run, once everything under way has ended."""
    queue = BatchQueue(batches)
    tasks: Tasks = {}
    ended = 0
    try:
        while True:
            _start_ready(run, batches, queue, tasks)
            if not tasks:
                break
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.__getitem__):
                index = tasks.pop(task)
                _finish(run, task)
                queue.end_batch(index)
                ended += 1
                run.report(_answered(run, batches[index], done=ended, of=len(batches)))
    finally:
        # what is cancelled writes nothing: its intent is in the journal
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    if run.gate.error is not None:
        raise run.gate.error


def _start_ready(run: Run, batches: Sequence[Batch], queue: BatchQueue, tasks: Tasks) -> None:
    while run.gate.error is None and len(tasks) < run.room:
        index = queue.start_next()
        if index is None:
            return
        tasks[asyncio.create_task(_deliver(run, batches[index]))] = index


async def _deliver(run: Run, batch: Batch) -> None:
    await deliver(run, batch)
    # while the batch holds its contacts no other request of ours changes them
    await learn_from_first_write(run)


def _finish(run: Run, task: asyncio.Task[None]) -> None:
    """An error of ours stops the run once the others have ended; any other one at once."""
    try:
        task.result()
    except Halted:
        return
    except ReconcilerError as error:
        run.gate.halt(error)


def _answered(run: Run, batch: Batch, *, done: int, of: int) -> BatchAnswered:
    tags = frozenset(batch.tags)
    worst = Counter(run.outcomes.worst_outcome(contact, tags) for contact in batch.contacts)
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
