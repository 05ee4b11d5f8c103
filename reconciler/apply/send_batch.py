"""One batch as one request, until it is answered, in doubt, or refused.

Rules
1. Known to have had no effect: tried again, with pauses, and withdrawn in the end. Of unknown effect: in doubt.
2. Refused as a whole is not yet without effect: `examine_refused` looks before the intent is withdrawn. Where that
   shows an effect it is in doubt. Where no token may read, additions are held; where nothing was read late enough,
   additions are in doubt, and removals, which may be sent again, until a part of them is taken.
3. To be cancelled is to be killed: nothing is written, the next run finds the intent.
4. Nothing leaves where halt or lease end come while the intent is written, or that takes long: it is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import methodcaller

from reconciler.apply.batch_journal import (
    JournalledBatch,
    journal_answer,
    journal_intent,
    journal_unseen,
    report_in_doubt,
    withdraw_batch,
    withdraw_but_for,
)
from reconciler.apply.books import UnseenRemoval
from reconciler.apply.examine_refused import Effect, Look, Suspect, look_at
from reconciler.apply.release import without_closed
from reconciler.apply.run import ContactOutcomes, Run
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    InDoubt,
    LeaseLost,
    NotApplied,
    QuotaExhausted,
    RequestRefused,
    StateError,
)
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, classify_rows, is_version_refused
from reconciler.core.running.batch_split import read_limits
from reconciler.request_gate import Halted, Tries
from reconciler.wire import BulkUpdate

MOST_LATE = 3
SPLIT = (400, 413, 422)
"""The statuses with which a request is refused for its content; any other refuses every request alike."""


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A request that was refused for its content; it may be sent again in parts."""

    error: RequestRefused


async def send_batch(run: Run, batch: Batch) -> ContactOutcomes | RefusedBatch:
    """Sends one request's worth; an outcome a contact.

    Raises Halted, StateError, and ApiError where it was never applied, or every request would be refused.
    """
    tries = Tries()
    while True:
        # an intent for each attempt: a doubt lasts from when the request really left
        turn = await _take_turn(run, batch)
        if turn is None:
            return {}
        journalled, ticket = turn
        try:
            outcomes = await _ask(run, journalled, ticket)
        except RequestRefused as refused:
            return await _examine(run, journalled, refused)
        except (ApiError, LeaseLost) as error:
            await withdraw_batch(run, journalled)
            if not await _may_go_again(run, tries, error):
                raise _with_location(run, error) from None
        else:
            await journal_answer(run, journalled, outcomes)
            return outcomes


async def _take_turn(run: Run, batch: Batch) -> tuple[JournalledBatch, int] | None:
    """The batch with a durable intent, and the ticket with which it may leave now; None where none of it may."""
    for _ in range(MOST_LATE):
        # before the intent: a run that is killed while it waits has sent nothing, and leaves no doubt
        ticket = await run.gate.take_turn(run.services.writer(run.location).ready)
        # asked for a turn a batch may wait for minutes: its window may be over
        batch = without_closed(run, batch)
        if not batch.tags:
            run.gate.pace.take_back(ticket)
            return None
        with run.gate.returning(ticket):
            journalled = await journal_intent(run, batch)
        try:
            run.gate.refuse_late(ticket)
        except (Halted, LeaseLost):
            await withdraw_batch(run, journalled)
            raise
        if (now := run.now()) - journalled.dated <= run.options.latest_ms:
            # what it may have done is looked for from then on, and until it can no longer take effect
            return replace(journalled, sent=now), ticket
        run.gate.pace.take_back(ticket)
        await withdraw_batch(run, journalled)
    raise StateError(
        f"the state takes longer than {run.options.latest_ms // 1000} s to write down what is about to be sent",
        hint="see what else works on it, then apply again",
    )


async def _ask(run: Run, journalled: JournalledBatch, ticket: int) -> ContactOutcomes:
    batch = journalled.asked
    update = BulkUpdate(batch.action, run.location, batch.contacts, batch.tags)
    try:
        rows = await run.gate.write(ticket, run.services.writer(run.location).update_tags(update))
    except InDoubt as error:
        run.halt_if_silent(error)
        return dict.fromkeys(batch.contacts, ContactOutcome(Outcome.IN_DOUBT, error.message))
    run.progress.set_answered()
    return classify_rows(batch.action, batch.contacts, batch.tags, rows)


async def _may_go_again(run: Run, tries: Tries, error: ApiError | LeaseLost) -> bool:
    """Only where it was never applied; a run that spills waits for tomorrow's quota."""
    return isinstance(error, NotApplied | QuotaExhausted) and await run.gate.wait_to_retry(tries, error)


def _with_location(run: Run, error: ApiError | LeaseLost) -> ApiError | LeaseLost:
    """The error, with the location where it is about the token."""
    if not isinstance(error, AuthRefused) or is_version_refused(error.status, error.said):
        return error
    message = f"{error.message}; location {run.location} needs a token of its own, with the scope contacts.write"
    return AuthRefused(message, status=error.status, hint=error.hint, said=error.said, page=error.page)


async def _examine(run: Run, journalled: JournalledBatch, error: RequestRefused) -> ContactOutcomes | RefusedBatch:
    """Decides about a request that was refused as a whole. Raises the refusal where every request would be refused."""
    splits = error.status in SPLIT
    # a refusal of every request stops the run at once, without the wait for an effect that may show later
    look = await _look(run, journalled, waits=splits) if error.status else Look(Effect.NONE)
    unseen = look.effect in (Effect.UNREAD, Effect.FORBIDDEN)
    if look.effect is Effect.POSSIBLE or (unseen and journalled.batch.action is Action.ADD):
        outcomes = await _record_doubt(run, journalled, error, look)
        if unseen:
            # additions in doubt are not sent again in parts: only the message can still tell of a size
            await learn_named_size(run, journalled.batch, error)
        if unseen and not splits:
            raise error
        return outcomes
    if unseen:
        # removals: to send them again harms nobody, so they go on in parts whatever came of them
        verdict = ContactOutcome(Outcome.IN_DOUBT, f"{error.message}; {look.why}")
        run.doubts.add_unseen(UnseenRemoval(journalled.batch, journalled.sent, verdict.message))
        await journal_unseen(run, journalled, verdict)
    elif look.absent and journalled.batch.action is Action.ADD:
        await withdraw_but_for(run, journalled, look.absent, f"{error.message}; the contact is not there to be read")
    else:
        await withdraw_batch(run, journalled)
    if not splits:
        raise error
    return RefusedBatch(error)


async def _look(run: Run, journalled: JournalledBatch, *, waits: bool) -> Look:
    try:
        return await look_at(run, Suspect(journalled.batch, journalled.before, journalled.sent), waits=waits)
    except StateError as error:
        # the look itself stores facts; its failure must not leave the batch out of the report
        report_in_doubt(run, journalled, f"it was refused, and nobody looked whether it took effect: {error.message}")
        raise


async def _record_doubt(run: Run, journalled: JournalledBatch, error: RequestRefused, look: Look) -> ContactOutcomes:
    outcome = Outcome.HELD if look.effect is Effect.FORBIDDEN else Outcome.IN_DOUBT
    message = f"{error.message}; {look.why}"
    outcomes = dict.fromkeys(journalled.batch.contacts, ContactOutcome(outcome, message))
    run.progress.add_note(f"a refused request may have taken effect: {message}")
    await journal_answer(run, journalled, outcomes)
    run.halt_if_silent(error)
    return outcomes


async def learn_named_size(run: Run, batch: Batch, error: RequestRefused) -> bool:
    """Heeds the size that the message names, if it does; whether that is so."""
    limits = read_limits(error.message, batch)
    if limits is not None:
        await learn_size(run, methodcaller("limited", *limits, run.now()), error)
    return limits is not None


async def learn_size(run: Run, teach: Callable[[LocationFacts], LocationFacts], error: RequestRefused) -> None:
    await run.learn(teach)
    run.progress.add_note(f"a request was refused for its size, smaller ones from here on: {error.message}")
