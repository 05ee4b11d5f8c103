"""Many requests at once, never two that share a contact."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from reconciler.apply.date_habit import learn_from_first_write
from reconciler.apply.run import Run
from reconciler.apply.split_refused import deliver
from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.events import BatchAnswered
from reconciler.core.model.outcome import Outcome
from reconciler.core.planning.batches import Batch
from reconciler.core.running.batch_split import BatchQueue
from reconciler.request_gate import Halted

_Tasks = dict["asyncio.Task[None]", int]


async def send_all(run: Run, batches: Sequence[Batch]) -> None:
    """Delivers the batches; raises what stopped the run, once everything under way has ended."""
    schedule = BatchQueue(batches)
    flights: _Tasks = {}
    ended = 0
    try:
        while True:
            _start_ready(run, batches, schedule, flights)
            if not flights:
                break
            done, _ = await asyncio.wait(flights, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=flights.__getitem__):
                index = flights.pop(task)
                _finish(run, task)
                schedule.end_batch(index)
                ended += 1
                run.tell(_answered(run, batches[index], done=ended, of=len(batches)))
    finally:
        # what is cancelled writes nothing: its intent is in the journal
        for task in flights:
            task.cancel()
        if flights:
            await asyncio.wait(flights)
    if run.error is not None:
        raise run.error


def _start_ready(run: Run, batches: Sequence[Batch], schedule: BatchQueue, flights: _Tasks) -> None:
    while run.error is None and len(flights) < run.room:
        index = schedule.start_next()
        if index is None:
            return
        flights[asyncio.create_task(_deliver(run, batches[index]))] = index


async def _deliver(run: Run, batch: Batch) -> None:
    await deliver(run, batch)
    # while the batch holds its contacts no other request of ours changes them
    await learn_from_first_write(run)


def _finish(run: Run, task: asyncio.Task[None]) -> None:
    """An error of ours stops the run once the others have landed; any other one at once."""
    try:
        task.result()
    except Halted:
        return
    except ReconcilerError as error:
        run.halt(error)


def _answered(run: Run, batch: Batch, *, done: int, of: int) -> BatchAnswered:
    tags = frozenset(batch.tags)
    worst = Counter(run.tally.worst_outcome(contact, tags) for contact in batch.contacts)
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
        quota_left=run.pace.left_today(run.now()),
    )
