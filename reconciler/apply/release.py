"""The additions of slowly given tags that a run may send now, and the wait for the others.

Rules
1. Additions are counted from the journal, under the lease, before each round: intents of this run and of those that
   were killed are in it. A round sends no more than fits then; its own additions count for the next one.
2. A request that waited past the end of a window leaves without the tags of that window.
3. A doubt that turns out to have had no effect is sent once more by a later round, as its pace allows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from reconciler.apply.resolve_doubts import Again
from reconciler.apply.run import Run
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.journal import BatchRecord
from reconciler.core.model.names import TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Delta
from reconciler.core.planning.slow_release import (
    SentAdds,
    count_kept_runs,
    find_sent,
    list_release_rules,
    release_changes,
)
from reconciler.ports import LocationReader


async def release(run: Run, deltas: tuple[Delta, ...]) -> tuple[Delta, ...]:
    """Of these changes those that may go now; the others wait."""
    rules = list_release_rules(run.desired)
    sent = await run.call(_count_sent, run, run.store) if rules else {}
    released = release_changes(deltas, rules, sent, run.now())
    run.progress.set_release(released)
    return released.deltas


def _count_sent(run: Run, journal: LocationReader) -> SentAdds:
    def read_batches(earlier: str) -> list[BatchRecord]:
        return list(map(run.spelling.spell_record, journal.read_batches(earlier)))

    rules, settle_ms = list_release_rules(run.desired), run.options.settle_ms
    return find_sent(journal.read_runs(), read_batches, rules, run.now(), settle_ms=settle_ms)


def slow_tags(run: Run) -> TagSet:
    """The tags that are given slowly."""
    return frozenset(list_release_rules(run.desired))


def without_closed(run: Run, batch: Batch) -> Batch:
    """The part of a batch that may leave now: without additions beyond their window."""
    if batch.action is not Action.ADD:
        return batch
    rules, now = list_release_rules(run.desired), run.now()
    # a window that opens later is the next round's
    closed = {tag for tag in batch.tags if (rule := rules.get(tag)) is not None and not rule.is_open(now)}
    return replace(batch, tags=tuple(tag for tag in batch.tags if tag not in closed))


def without_slow(run: Run, again: Again) -> Again:
    """Of the requests that may be sent once more those that no pace counts: the next round plans the others."""
    slow = slow_tags(run)
    kept: Again = {}
    for (action, tags), contacts in again.items():
        if left := tags - (slow if action is Action.ADD else NONE):
            kept.setdefault((action, left), []).extend(contacts)
    return kept


async def wait_for_release(run: Run) -> bool:
    """Waits, where that is wanted, until some of the additions that wait may go; whether there are any."""
    until = run.progress.release.until
    if until is None or not run.apply_options.wait:
        return False
    # the next plan may want other tags
    ends = run.plan.valid_until
    if ends is not None and until >= ends:
        run.progress.add_note("not waited for: a set becomes active or expires before that, and the plan ends with it")
        return False
    # one reason is told: that of the tag which goes first
    first = min(run.progress.release.waiting.values(), key=lambda each: each.until)
    if (wait := until - run.now()) > 0:
        await run.gate.pause(wait, first.note)
    return True


async def prune_journal(run: Run, keep: int) -> None:
    """Gives up the rows of older runs, but for those that a pace counts still."""
    # without a pace nothing is asked of the state
    if rules := list_release_rules(run.desired):
        runs = await run.call(run.store.read_runs)
        keep = max(keep, count_kept_runs(runs, rules, run.now(), settle_ms=run.options.settle_ms))
    await run.call(partial(run.store.prune_journal, run.lease, keep))
