"""A batch in as many requests as the API takes it in.

Rules
1. What was learnt in this run is heeded before anything leaves: sizes, tags that are refused, contacts that are out.
2. A batch that is refused as a whole is halved, by its tags first, then by its contacts. One batch at a time is taken
   apart: the others may learn from it.
3. Where both halves are refused alike, whichever way it is cut, and where a batch is a single pair, the run stops.
   Where one half passes, the culprit is looked for in the other; the run goes on without it.
4. At most `MOST_EXTRA` requests a run are spent on that.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.apply.run import Run
from reconciler.apply.sending import send, without
from reconciler.core.batching import Batch
from reconciler.core.errors import RequestRefused
from reconciler.core.outcome import Outcome
from reconciler.core.splitting import cuts, fits, narrowed, pieces

MOST_EXTRA = 40
SPLIT = (400, 413, 422)


async def deliver(run: Run, batch: Batch) -> None:
    """All of the batch that is still wanted. Raises Halted, ApiError or StateError: then the run must stop."""
    for piece in _wanted(run, batch):
        try:
            await send(run, piece)
        except RequestRefused as refused:
            if refused.status not in SPLIT:
                raise
            await _take_apart(run, piece, refused)


def _wanted(run: Run, batch: Batch) -> tuple[Batch, ...]:
    if refused := [tag for tag in batch.tags if tag in run.refused]:
        for tag in refused:
            _give_up(run, replace(batch, tags=(tag,)), run.refused[tag])
        batch = replace(batch, tags=tuple(tag for tag in batch.tags if tag not in run.refused))
    batch = without(batch, run.unwanted(batch))
    return pieces(batch, run.caps) if batch.contacts and batch.tags else ()


async def _take_apart(run: Run, batch: Batch, refused: RequestRefused) -> None:
    async with run.splitting:
        # while it waited another one may have taught what is wrong with it
        if not fits(batch, run.caps) or any(tag in run.refused for tag in batch.tags):
            again = _wanted(run, batch)
        else:
            await _halve(run, batch, refused)
            return
    for piece in again:
        await deliver(run, piece)


async def _halve(
    run: Run, batch: Batch, refused: RequestRefused, *, culprit: bool = False, by_tag: bool = False
) -> None:
    """`culprit`: its other half passed, `by_tag`: which had other tags."""
    for halves in cuts(batch):
        failed = [(half, error) for half in halves if (error := await _try(run, half)) is not None]
        if not failed:
            _learn_size(run, batch, halves[0], refused)
            return
        tags_cut = len(halves[0].tags) < len(batch.tags)
        alike = len(failed) == 2 and failed[0][1].message == failed[1][1].message
        if alike and not (culprit and tags_cut):
            continue
        for half, error in failed:
            await _halve(run, half, error, culprit=True, by_tag=tags_cut)
        return
    if not culprit:
        raise _hopeless(refused)
    if by_tag or len(batch.contacts) > 1:
        run.refused |= dict.fromkeys(batch.tags, refused.message)
    _give_up(run, batch, refused.message)


def _learn_size(run: Run, batch: Batch, half: Batch, refused: RequestRefused) -> None:
    run.learn(narrowed(run.facts, batch, half))
    run.note(f"a request was refused for its size, smaller ones from here on: {refused.message}")


async def _try(run: Run, batch: Batch) -> RequestRefused | None:
    run.extra += 1
    if run.extra > MOST_EXTRA:
        raise RequestRefused(
            f"requests are refused as a whole, and {MOST_EXTRA} more did not tell why",
            status=0,
            hint="see api.max_contacts and api.max_tags, and the tags of the batch",
        )
    try:
        await send(run, batch)
    except RequestRefused as refused:
        if refused.status not in SPLIT:
            raise
        return refused
    return None


def _hopeless(refused: RequestRefused) -> RequestRefused:
    hint = refused.hint or "both halves of it are refused alike; if it is the size, see api.max_contacts and max_tags"
    return RequestRefused(refused.message, status=refused.status, hint=hint)


def _give_up(run: Run, batch: Batch, message: str) -> None:
    for contact in batch.contacts:
        run.tally.spoil(contact, batch.action, frozenset(batch.tags), Outcome.NOT_SENT, message)
