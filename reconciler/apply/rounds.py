"""From the plan to where nothing is left to do: waves, rounds, doubts.

Rules
1. Nothing outside the approved plan and its ceilings is sent; a pair sent is not sent again, but once after a doubt.
2. What an earlier run left in doubt is settled before anything else is sent to those contacts. What this run leaves in
   doubt is settled when all else is done.
3. After each round what is left is planned anew from the answers, under the guards of the whole run, until nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from reconciler.apply.concurrent import send_all
from reconciler.apply.learnt_aliases import batches_of
from reconciler.apply.resolve_doubts import Again, settle_doubts
from reconciler.apply.run import Run, check_wave
from reconciler.core.model.contact_changes import adopt_pairs, release_pairs
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import Unfinished
from reconciler.core.model.events import RoundStarted
from reconciler.core.model.journal import Answer, BatchRecord
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
from reconciler.core.running.batch_split import add_trial
from reconciler.core.running.doubt import decidable_doubts, is_unclear, open_doubts
from reconciler.core.running.stop_conditions import plan_waves, restrict_to_wave

MAX_ROUNDS = 10
MAX_SETTLINGS = 3
NONE: TagSet = frozenset()
Wave = Collection[ContactId] | None


async def carry_out(run: Run) -> None:
    """All rounds of the run. Raises what stopped it."""
    _store_observations(run)
    run.tally.add_planned(run.plan.deltas)
    run.tally.add_planned(run.plan.reasserted)
    # what a plan file has besides is never sent: it turns out to be so already, or is told as not sent
    run.tally.add_planned(run.mission.rest(run.location).besides)
    run.tally.add_deferred(run.plan.deferrals)
    rounds = _Rounds(run, before_run(run.state))
    moved = await _take_up(run)
    if run.mission.canary is None:
        await rounds.until_converged(rounds.inside() if moved else run.plan, None)
        return
    for wave in plan_waves((*run.plan.deltas, *run.plan.deferrals), run.mission.canary):
        await rounds.until_converged(rounds.inside(wave), wave)
        check_wave(run, wave)


async def _take_up(run: Run) -> bool:
    """What earlier runs added or left in doubt; whether that, or what is known, is not what the plan was made on."""
    before = _added_before(run)
    _take_as_done(run, before)
    # what undoes a run leaves the doubts of others to them
    left = _left_behind(run) if run.reversal is None else {}
    _hold_what_was_tried(run, before, besides=left)
    if not left:
        return bool(before) or run.state.serial != run.plan.serial
    if run.world.reader is not None:
        run.sought = frozenset(left)
    await settle_doubts(run, {contact: run.state.observed[contact] for contact in left})
    _hold_what_was_tried(run, before)
    return True


def _added_before(run: Run) -> list[BatchRecord]:
    """The additions that earlier runs of the same plan sent."""
    batches = (batch for earlier in run.earlier for batch in batches_of(run, earlier))
    return [batch for batch in batches if batch.action is Action.ADD]


def _take_as_done(run: Run, before: Iterable[BatchRecord]) -> None:
    """What an earlier run of the same plan added is not added again, though a workflow may have consumed it since."""
    for contact, tags in _still_approved(run, before, _ended_well):
        run.tally.set_outcome(contact, tags, Outcome.NOOP)


def _hold_what_was_tried(run: Run, before: Iterable[BatchRecord], *, besides: Container[ContactId] = ()) -> None:
    """What an earlier run of the same plan may have added is not added again, whoever asks to retry what is held.

    Only a proof of this run that it never landed lets it go. `besides`: not yet read.
    """
    for contact, tags in _still_approved(run, before, is_unclear):
        if contact not in besides:
            _hold(run, contact, tags - run.proven.get(contact, NONE))


def _hold(run: Run, contact: ContactId, tried: TagSet) -> None:
    known = run.state.observed[contact]
    gone = tried - ((known.observed or NONE) - known.doubt)
    # what was not put back was asked for first by that run, and seen since
    landed = gone & (known.ledger - known.unconfirmed - known.doubt) - {tag for tag, _ in known.restored}
    run.tally.set_outcome(contact, (tried - gone) | landed, Outcome.NOOP)
    if held := gone - landed:
        run.tally.record_failure(contact, Action.ADD, held, Outcome.HELD, _TRIED)


_TRIED = "an earlier run of this plan sent it, and no reading proves that it had no effect: a new plan may add it"


def _still_approved(
    run: Run, before: Iterable[BatchRecord], ended: Callable[[Answer], bool]
) -> Iterator[tuple[ContactId, TagSet]]:
    """The additions that ended so, and that the plan has or allows and nothing was said of yet."""
    spent = run.tally.spent
    for batch in before:
        for contact, answer in batch.answers.items():
            if ended(answer):
                approved = run.limit.adds.get(contact, NONE) | run.tally.tags_with(contact, Outcome.NOT_SENT)
                if tags := approved.intersection(batch.tags) - spent.get(contact, NONE):
                    yield contact, tags


def _ended_well(answer: Answer) -> bool:
    return answer.verdict is not None and answer.verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)


def _left_behind(run: Run) -> dict[ContactId, ContactState]:
    """What earlier runs left in doubt, and a reading settles: one to be made, or one that was kept."""
    options, observed = run.options, run.state.observed
    unread = open_doubts(observed, run.desired, settle_ms=options.settle_ms, now=options.now)
    return unread | _decidable(run)


def _decidable(run: Run) -> dict[ContactId, ContactState]:
    # what undoes a run leaves the doubts of others to them
    if run.reversal is not None:
        return {}
    return decidable_doubts(run.state.observed, run.desired, run.facts, run.options.now)


def _owned_from_the_beginning(run: Run) -> TagSet:
    """The tags of deferrals that are owned as the run begins: what it prunes itself takes no approval away."""
    deferred = {tag for each in run.plan.deferrals for tag in each.tags}
    return owned_in(run.desired, run.state.observed, run.options.selection) & deferred


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
        decidable = _decidable(run)
        doubts = {who: run.state.observed[who] for who in run.doubtful if who not in run.tally.rejected}
        if not decidable and (not doubts or run.world.reader is None):
            return None
        doubts |= decidable
        again = await settle_doubts(run, doubts)
        # what no reading told stays in doubt, and is the next run's
        run.doubtful.clear()
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
        self.run.done = self.run.done + Counts(requests=len(batches))
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
        run.tally.add_planned(current.deltas)
        run.done = run.done + count_pairs(
            current.deltas, current.reasserted, requests=len(current.batches), observed=run.state.observed
        )
        await self._send(current.batches)

    async def _send(self, batches: Sequence[Batch]) -> None:
        self.run.rounds += 1
        self.run.tell(RoundStarted(self.run.location, self.run.rounds, len(batches)))
        await send_all(self.run, _with_trial(self.run, batches))

    def inside(self, wave: Wave = None) -> LocationPlan:
        """What is left to do, as far as it was approved, belongs to the wave, and the guards let it pass."""
        run = self.run
        fresh = self._fresh()
        deltas, run.outside = keep_approved(fresh.deltas, run.limit, failed=run.tally.failed)
        if wave is not None:
            deltas = restrict_to_wave(deltas, wave)
        inside = fresh
        if deltas != fresh.deltas:
            batches = make_batches(
                demands_from_deltas(deltas), run.caps, solve=run.options.solve, effort=run.options.effort
            ).batches
            inside = replace(fresh, deltas=deltas, batches=batches, guards=self._measured(deltas, len(batches)))
        if inside.batches and inside.refused:
            run.tally.add_planned(deltas)
            raise Unfinished("; ".join(explain_refusals((inside,))), hint="what is left is in the next plan")
        return inside

    def _fresh(self) -> LocationPlan:
        """What would be planned now; what would be sent again is not in what was approved."""
        run = self.run
        options = replace(run.options, reassertion=NO_REASSERTION)
        plan = partial(plan_location, owned=self._owned)
        if run.reversal is not None:
            plan = partial(plan_revert, run.reversal)
        return plan(run.desired, run.state, options, spent=run.tally.spent, done=run.done, before=self._before())

    def _measured(self, deltas: Sequence[Delta], requests: int) -> tuple[Measured, ...]:
        run = self.run
        counts: Counts = run.done + count_pairs(deltas, requests=requests, observed=run.state.observed)
        limits, allowances = run.options.limits, run.options.allowances
        return measure_guards(counts, self._before(), run.desired, limits=limits, allowances=allowances)

    def _before(self) -> Before:
        """What was there before the run, with what the answers told of contacts never observed."""
        return replace(self._first, holders=self._first.holders + self.run.learnt)


def _with_trial(run: Run, batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches, two of them as one where it is time to see whether requests must be as small as was learnt.

    Not those with tags that start something: a refused one is looked at, contact by contact.
    """
    if run.trial is not None or not run.facts.doubts_limits(run.now()):
        return batches
    spare = frozenset(tag for tag, rule in run.desired.rules.items() if rule.once or rule.triggers)
    batches, run.trial = add_trial(batches, run.options.caps, run.caps, spare=spare)
    return batches


def _store_observations(run: Run) -> None:
    """What the plan was made on and the state does not know yet."""
    seen, settle_ms = map(run.state.spelling.spell_observed, run.plan.observations), run.options.settle_ms
    changed = record_observations(run.state.observed, tuple(seen), settle_ms=settle_ms)
    if changed:
        run.world.store.save_states(run.tenure.lease, changed)


def _record_ledger(run: Run, current: LocationPlan) -> None:
    changed: dict[ContactId, ContactState] = {}
    once, now = run.desired.once, run.now()
    for change in current.ledger:
        adopted, released = frozenset(change.adopted), frozenset(change.released)
        run.adopted += len(adopted) * len(change.contacts)
        run.released += len(released) * len(change.contacts)
        for contact in change.contacts:
            known = adopt_pairs(run.state.observed[contact], adopted, keep=NONE)
            known = release_pairs(known, released, once=once, at=now)
            changed[contact] = replace(known, kept=frozenset(change.kept))
    if changed:
        run.world.store.save_adoptions(run.tenure.lease, run.number, changed)
        run.state.observed.update(changed)
