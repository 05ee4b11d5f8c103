"""A batch in as many requests as the API takes it in.

Rules
1. Before a request leaves the run heeds the sizes, the refused tags and the refused contacts that it learnt of so far.
2. A batch that was refused as a whole, and had no effect (`send_batch` looks), is sent in parts. One batch at a time is
   taken apart: the others may learn from it.
3. A number in the message is the size, where the batch exceeds it. Else the whole is sent once more: a refusal that
   passes is not about size. Then halves are sent, tags first. Where both are refused, one contact alone and a single
   pair show whether any request is taken at all: if not, the run stops.
4. A smaller size is learnt where all parts of a refused batch are taken. Where one of them is, the culprit is looked
   for in the other; the run goes on without it.
5. A size that was learnt is tried out again, by one larger request (`core.running.batch_split.add_trial`).
6. At most `MOST_EXTRA` requests a run are spent on all that.
7. Parts that share contacts leave some seconds apart: a contact's date shall tell one from the other.
8. Removals of unknown effect that no part brought to an end are in doubt when the run ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import methodcaller

from reconciler.apply.examine_refused import APART_MS, last_written
from reconciler.apply.run import ContactOutcomes, Run
from reconciler.apply.send_batch import RefusedBatch, learn_named_size, learn_size, send_batch
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import RequestRefused
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Outcome
from reconciler.core.running.batch_split import (
    fits_caps,
    halve_batch,
    is_single,
    narrow_limits,
    read_limits,
    split_to_caps,
    widen_limits,
)

MOST_EXTRA = 40
AGAIN_MS = 2_000
"""After this pause the whole is sent once more."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A batch that was refused."""

    batch: Batch
    error: RequestRefused
    taken: bool = False
    """Whether another part of the same batch was taken."""
    by_tag: bool = False
    """Whether that part had other tags: then the culprit is a tag."""
    by_contact: bool = False
    """Whether that part had all of the tags: then it is a contact."""


async def deliver(run: Run, batch: Batch) -> None:
    """Sends all of the batch that is still wanted. Raises Halted, ApiError or StateError: then the run must stop."""
    waiting = await _try_larger(run, batch) if batch == run.location_book.trial else [batch]
    while waiting:
        # anew for each request: an answer may have taught a smaller size, or that a tag or a contact is refused
        wanted = _split_wanted(run, waiting.pop(0))
        if not wanted:
            continue
        first, waiting = wanted[0], [*wanted[1:], *waiting]
        answer = await send_batch(run, first)
        if isinstance(answer, RefusedBatch):
            waiting = [*await _take_apart(run, first, answer.error), *waiting]


async def _try_larger(run: Run, batch: Batch) -> list[Batch]:
    """Sends more than was learnt that a request may hold; the part of the batch that is still to be delivered."""
    batch = _without_unwanted(run, batch)
    if not batch.contacts or fits_caps(batch, run.caps):
        return [batch]
    answer = await send_batch(run, batch)
    if isinstance(answer, RefusedBatch):
        _count_extra(run, answer.error)
        # the size that was learnt holds, and for another while: its date is renewed
        limits = read_limits(answer.error.message, batch) or (None, None)
        await run.learn(methodcaller("limited", *limits, run.now()))
        run.progress.add_note(f"a larger request than was learnt was tried, and refused: {answer.error.message}")
        return [batch]
    if _is_taken(answer):
        await run.learn(lambda facts: widen_limits(facts, batch, run.options.caps))
    return []


async def hold_unseen(run: Run) -> None:
    """Removals that were refused, and taken in no part, stay in doubt where no reading showed their effect."""
    changed: dict[ContactId, ContactState] = {}
    for unseen in run.doubts.unseen:
        for contact in unseen.batch.contacts:
            if tags := run.outcomes.tags_with(contact, Outcome.NOT_SENT).intersection(unseen.batch.tags):
                run.outcomes.record_failure(contact, unseen.batch.action, tags, Outcome.HELD, unseen.message)
                changed[contact] = changed.get(contact, run.state_of(contact)).with_doubt(tags, unseen.sent)
    await run.save_states(changed)


def _split_wanted(run: Run, batch: Batch) -> tuple[Batch, ...]:
    refused = run.location_book.refused
    for tag in [tag for tag in batch.tags if tag in refused]:
        _give_up(run, replace(batch, tags=(tag,)), refused[tag])
    batch = replace(batch, tags=tuple(tag for tag in batch.tags if tag not in refused))
    batch = _without_unwanted(run, batch)
    return split_to_caps(batch, run.caps)


def _without_unwanted(run: Run, batch: Batch) -> Batch:
    unwanted = run.unwanted(batch)
    if not unwanted:
        return batch
    return replace(batch, contacts=tuple(contact for contact in batch.contacts if contact not in unwanted))


def _is_explained(run: Run, batch: Batch) -> bool:
    """Whether a size or a refused tag that was learnt since explains the refusal of the batch."""
    return not fits_caps(batch, run.caps) or any(tag in run.location_book.refused for tag in batch.tags)


async def _take_apart(run: Run, batch: Batch, error: RequestRefused) -> list[Batch]:
    """Learns why the batch is refused; the part of it that may be delivered now."""
    async with run.splitting:
        # while it waited for the lock another batch may have taught the reason
        if _is_explained(run, batch):
            return [batch]
        if is_single(batch):
            raise _hopeless(error)
        if await learn_named_size(run, batch, error):
            _count_extra(run, error)
            return [batch]
        await run.gate.pause(AGAIN_MS, f"a request was refused, and is sent once more: {error.message}")
        again = await _try(run, batch, error)
        if isinstance(again, RefusedBatch):
            return await _halve(run, _Part(batch, again.error))
    if _is_taken(again):
        run.progress.add_note(
            f"a request was refused, and taken the second time: nothing is learnt of that: {error.message}"
        )
    return []


async def _halve(run: Run, part: _Part) -> list[Batch]:
    """Sends the halves of a part; the batches that may be delivered now. Raises RequestRefused where none is taken."""
    halves = halve_batch(part.batch, contacts_first=part.by_contact)
    if halves is None or (part.by_contact and len(part.batch.contacts) == 1):
        return _blame(run, part)
    answers = [(half, await _try(run, half, part.error)) for half in halves]
    failed = [_Part(half, answer.error) for half, answer in answers if isinstance(answer, RefusedBatch)]
    if not failed:
        # both halves are taken, and the whole was not: it was too large
        if all(_is_taken(answer) for _, answer in answers if not isinstance(answer, RefusedBatch)):
            await _learn_narrower(run, part, halves[0])
        return []
    tags_cut = len(halves[0].tags) < len(part.batch.tags)
    if len(failed) == len(halves):
        if not part.taken:
            return await _single_out(run, part, failed, tags_cut=tags_cut)
        if part.by_tag and not tags_cut:
            # one tag is left, refused for any contact, while the others are taken: it is the culprit
            return _blame(run, part)
    return await _halve_each(
        run, [replace(part, batch=half.batch, error=half.error, taken=True, by_tag=tags_cut) for half in failed]
    )


async def _halve_each(run: Run, parts: list[_Part]) -> list[Batch]:
    waiting: list[Batch] = []
    for part in parts:
        waiting += [part.batch] if _is_explained(run, part.batch) else await _halve(run, part)
    return waiting


async def _single_out(run: Run, part: _Part, failed: list[_Part], *, tags_cut: bool) -> list[Batch]:
    """Both halves were refused: sends one contact with all of the tags, and if need be with one of them."""
    batch, error = part.batch, part.error
    first, further = replace(batch, contacts=batch.contacts[:1]), replace(batch, contacts=batch.contacts[1:])
    if is_single(failed[0].batch):
        raise _hopeless(failed[0].error)
    if further.contacts:
        answer = await _try(run, first, error)
        if not isinstance(answer, RefusedBatch):
            if tags_cut:
                return await _send_remainder(run, _Part(batch, error, by_contact=True), further)
            half = failed[0]
            waiting = await _send_remainder(run, half, replace(half.batch, contacts=half.batch.contacts[1:]))
            return waiting + await _halve_each(run, [replace(failed[1], taken=True)])
        if is_single(first):
            raise _hopeless(answer.error)
    single = await _try(run, replace(first, tags=batch.tags[:1]), error)
    if isinstance(single, RefusedBatch):
        # not even one contact with one tag: another request would fare no better
        raise _hopeless(single.error)
    waiting = await _send_remainder(run, _Part(first, error, by_tag=True), replace(first, tags=batch.tags[1:]))
    return [*waiting, further]


async def _send_remainder(run: Run, part: _Part, remainder: Batch) -> list[Batch]:
    """Goes on with the remainder of a part that was refused, after one contact or one tag of it was taken."""
    answer = await _try(run, remainder, part.error)
    if isinstance(answer, RefusedBatch):
        return await _halve_each(run, [replace(part, batch=remainder, error=answer.error, taken=True)])
    if _is_taken(answer):
        await _learn_narrower(run, part, remainder)
    return []


async def _learn_narrower(run: Run, part: _Part, taken: Batch) -> None:
    now = run.now()
    await learn_size(run, lambda facts: narrow_limits(facts, part.batch, taken, now), part.error)


def _blame(run: Run, part: _Part) -> list[Batch]:
    """Gives up a part that alone is at fault, and its tag in all other batches where another tag was taken."""
    if not part.taken:
        raise _hopeless(part.error)
    # a tag that is refused beside tags that are taken is refused for every contact
    if part.by_tag:
        run.location_book.refuse_tags(part.batch.tags, part.error.message)
    _give_up(run, part.batch, part.error.message)
    return []


def _is_taken(outcomes: ContactOutcomes) -> bool:
    """Whether the API has carried out a request: one of unknown effect teaches no size."""
    ended = (Outcome.APPLIED, Outcome.NOOP, Outcome.REJECTED)
    return any(verdict.outcome in ended for verdict in outcomes.values())


async def _try(run: Run, batch: Batch, error: RequestRefused) -> ContactOutcomes | RefusedBatch:
    """Sends a part; `error` is the refusal of the whole."""
    _count_extra(run, error)
    batch = _without_unwanted(run, batch)
    if not batch.contacts:
        return {}
    # a refused part is looked at by its contacts' dates, which count whole seconds
    written = max(last_written(run.state_of(contact)) for contact in batch.contacts)
    if (wait := written + APART_MS - run.now()) > 0:
        await run.gate.pause(wait, "contacts were just written: their dates shall tell the next request from that")
    return await send_batch(run, batch)


def _count_extra(run: Run, error: RequestRefused) -> None:
    if run.progress.count_extra() > MOST_EXTRA:
        raise RequestRefused(
            f"requests are refused as a whole, and {MOST_EXTRA} more did not tell why: {error.message}",
            status=0,
            hint="see api.max_contacts and api.max_tags, and the tags of the batch",
        )


def _hopeless(refused: RequestRefused) -> RequestRefused:
    hint = (
        refused.hint or "a single contact and tag is refused too; if it is the size, see api.max_contacts and max_tags"
    )
    return RequestRefused(refused.message, status=refused.status, hint=hint)


def _give_up(run: Run, batch: Batch, message: str) -> None:
    for contact in batch.contacts:
        run.outcomes.record_failure(contact, batch.action, frozenset(batch.tags), Outcome.NOT_SENT, message)
