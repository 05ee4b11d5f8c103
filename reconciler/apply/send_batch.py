"""One batch: intent, request, answer, each durable before the next.

Rules
1. The intent is durable before the request leaves; the answer, with what it tells, in one transaction after it.
2. Known to have had no effect: tried again, with pauses, and withdrawn in the end. Of unknown effect: in doubt.
3. Refused as a whole is not yet without effect: it is looked at (`looking`) before the intent is withdrawn. Where that
   shows an effect it is in doubt; where nobody may read, additions are held; where nobody could look late enough,
   additions are in doubt, and removals, which may be sent again, until a part of them is taken.
4. Whoever the API refuses is believed at the end of the run only: a wrong token refuses everybody.
5. To be cancelled is to be killed: nothing is written, the next run finds the intent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

from reconciler.apply.date_habit import learn_named
from reconciler.apply.examine_refused import Effect, Look, Suspect, look_at
from reconciler.apply.learnt_aliases import aliases_told, as_named, spelt_known, spelt_verdicts
from reconciler.apply.run import KnownWrite, Run, Unseen, Verdicts, halt_if_wrong
from reconciler.core.formats.recovery_file import UnrecordedAnswers, nothing_sent
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.contact_changes import record_answer, record_intent, withdraw_intent
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    InDoubt,
    LeaseLost,
    NotApplied,
    QuotaExhausted,
    RequestRefused,
    StateError,
    Unfinished,
)
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, classify_rows
from reconciler.core.planning.batches import Batch
from reconciler.core.planning.tag_aliases import Spelling
from reconciler.core.running.quota import Tries
from reconciler.core.running.stop_conditions import find_surprise
from reconciler.wire import BulkUpdate

MOST_SILENT = 10
"""So many requests in a row may end in doubt: then the API is not well, and nothing more is sent."""

SPLIT = (400, 413, 422)
"""The statuses with which a request is refused for what it holds; any other refuses every request alike."""


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A request that was refused for what it holds; it may be sent again in parts."""

    error: RequestRefused


@dataclass(frozen=True, slots=True)
class _JournalledBatch:
    """A batch whose intent is durable under `number`; what was known before it, and what is known with it.

    `asked`: as it is sent, an add as it was approved, a removal by the spellings that are there.
    """

    batch: Batch
    asked: Batch
    number: int
    sent: Instant
    before: Mapping[ContactId, ContactState]
    intended: Mapping[ContactId, ContactState]


async def send(run: Run, batch: Batch) -> Verdicts | RefusedBatch:
    """Sends one request's worth; a verdict a contact. Raises Halted, StateError, and ApiError where it was never
    applied, or refused whatever it holds."""
    tries = Tries()
    while True:
        # before the intent: whoever is killed while it waits has sent nothing, and leaves no doubt
        ticket = await run.turn(writes=True)
        # an intent for each attempt: a doubt lasts from when the request really left
        letter = _intend(run, batch)
        try:
            verdicts = await _delivered(run, letter, ticket)
        except RequestRefused as refused:
            return await _looked_at(run, letter, refused)
        except (ApiError, LeaseLost) as error:
            _withdraw(run, letter)
            if not await _may_go_again(run, tries, error):
                raise _placed(run, error) from None
        else:
            _record(run, letter, verdicts)
            return verdicts


async def _looked_at(run: Run, letter: _JournalledBatch, error: RequestRefused) -> Verdicts | RefusedBatch:
    """What becomes of a request that was refused as a whole. Raises the refusal where every request would be."""
    splits = error.status in SPLIT
    # what refuses every request stops the run at once: nothing waits for what may show later
    look = await _look(run, letter, waits=splits) if error.status else Look(Effect.NONE)
    unseen = look.effect in (Effect.UNREAD, Effect.FORBIDDEN)
    if look.effect is Effect.POSSIBLE or (unseen and letter.batch.action is Action.ADD):
        verdicts = _doubted(run, letter, error, look)
        if unseen:
            learn_named(run, letter.batch, error)
        if unseen and not splits:
            raise error
        return verdicts
    if unseen:
        told = ContactOutcome(Outcome.IN_DOUBT, f"{error.message}; {look.why}")
        run.unseen.append(Unseen(letter.batch, letter.sent, told.message))
        _journal(run, letter, dict.fromkeys(letter.batch.contacts, told), {}, run.now())
    elif look.absent and letter.batch.action is Action.ADD:
        _withdraw_but_for(run, letter, look.absent, f"{error.message}; the contact is not there to be read")
    else:
        _withdraw(run, letter)
    if not splits:
        raise error
    return RefusedBatch(error)


def _doubted(run: Run, letter: _JournalledBatch, error: RequestRefused, look: Look) -> Verdicts:
    outcome = Outcome.HELD if look.effect is Effect.FORBIDDEN else Outcome.IN_DOUBT
    told = f"{error.message}; {look.why}"
    verdicts = dict.fromkeys(letter.batch.contacts, ContactOutcome(outcome, told))
    run.note(f"a refused request may have taken effect: {told}")
    _record(run, letter, verdicts)
    _count_silent(run, error)
    return verdicts


async def _look(run: Run, letter: _JournalledBatch, *, waits: bool) -> Look:
    try:
        return await look_at(run, Suspect(letter.batch, letter.before, letter.sent), waits=waits)
    except StateError as error:
        _lose_sight(run, letter, f"it was refused, and nobody looked whether it took effect: {error.message}")
        raise


def _lose_sight(run: Run, letter: _JournalledBatch, why: str) -> None:
    """What cannot be written down is in doubt in the report; in the state it is by its intent."""
    run.tally.record_batch(letter.batch, dict.fromkeys(letter.batch.contacts, ContactOutcome(Outcome.IN_DOUBT, why)))


def _count_silent(run: Run, error: ApiError) -> None:
    run.silent += 1
    if run.silent >= MOST_SILENT:
        run.halt(_silence(error))


async def _may_go_again(run: Run, tries: Tries, error: ApiError | LeaseLost) -> bool:
    """Where it was never applied; what today's quota has no room for may wait for tomorrow's."""
    return isinstance(error, NotApplied | QuotaExhausted) and await run.once_more(tries, error)


def _placed(run: Run, error: ApiError | LeaseLost) -> ApiError | LeaseLost:
    """The error, with the location where it is about the token."""
    if isinstance(error, AuthRefused):
        error.message += f"; location {run.location} needs a token of its own, with the scope contacts.write"
    return error


def _intend(run: Run, batch: Batch) -> _JournalledBatch:
    now = run.now()
    before = {contact: run.state.observed[contact] for contact in batch.contacts}
    # many contacts of a batch have the same known of them: what follows from it is made once
    made = cache(partial(record_intent, at=now, once=run.desired.once))
    intended = {contact: _intended(run, contact, batch, known, made) for contact, known in before.items()}
    asked = run.state.spelling.spell_request(batch) if batch.action is Action.REMOVE else batch
    number = run.world.store.record_intent(run.tenure.lease, run.number, asked, intended, now)
    return _JournalledBatch(batch, asked, number, now, before, intended)


def _intended(
    run: Run, contact: ContactId, batch: Batch, known: ContactState, made: Callable[..., ContactState]
) -> ContactState:
    # what a reversal gives back is ours again only where it was
    tags = frozenset(batch.tags)
    ours = tags if run.reversal is None else run.reversal.managed(contact, tags, run.desired)
    return made(known, batch.action, ours, keep=run.desired.want(contact).keep)


async def _delivered(run: Run, letter: _JournalledBatch, ticket: int) -> Verdicts:
    batch = letter.asked
    update = BulkUpdate(batch.action, run.location, batch.contacts, batch.tags)
    run.requests += 1
    try:
        rows = await run.asked(ticket, run.world.writer(run.location).update_tags(update))
    except InDoubt as error:
        _count_silent(run, error)
        return dict.fromkeys(batch.contacts, ContactOutcome(Outcome.IN_DOUBT, error.message))
    run.silent, run.answered = 0, True
    return classify_rows(batch.action, batch.contacts, batch.tags, rows)


def _silence(error: ApiError) -> Unfinished:
    return Unfinished(
        f"{MOST_SILENT} requests in a row are of unknown effect, the last one: {error.message}",
        hint="apply again when the API is well: what is in doubt is settled first",
    )


def _withdraw(run: Run, letter: _JournalledBatch) -> None:
    withdrawn = {
        contact: withdraw_intent(letter.intended[contact], letter.before[contact]) for contact in letter.before
    }
    now = run.now()
    with _or_kept(run, letter, nothing_sent(letter.batch), withdrawn, now):
        run.world.store.withdraw_batch(run.tenure.lease, letter.number, withdrawn, now)


def _withdraw_but_for(run: Run, letter: _JournalledBatch, contacts: frozenset[ContactId], why: str) -> None:
    """Withdraws the additions to all of the contacts but these: what the request did to them is in doubt."""
    tags, now = frozenset(letter.batch.tags), run.now()
    doubted = replace(letter.batch, contacts=tuple(who for who in letter.batch.contacts if who in contacts))
    verdicts = dict.fromkeys(doubted.contacts, ContactOutcome(Outcome.IN_DOUBT, why))
    doubtful = {contact: letter.intended[contact].in_doubt(tags, letter.sent) for contact in doubted.contacts}
    withdrawn = {
        contact: withdraw_intent(letter.intended[contact], letter.before[contact]) for contact in letter.before
    }
    _journal(run, letter, nothing_sent(letter.batch) | verdicts, withdrawn | doubtful, now)
    run.state.observed.update(doubtful)
    run.tally.record_batch(doubted, verdicts)
    for contact in doubted.contacts:
        run.doubt(contact, Action.ADD, tags)


def _record(run: Run, letter: _JournalledBatch, answered: Verdicts) -> None:
    now = run.now()
    aliases = aliases_told(letter.batch, answered, run.state.spelling)
    letter, verdicts = _spelt(letter, answered, run.state.spelling.with_learnt(aliases))
    once, settle_ms = run.desired.once, run.options.settle_ms
    made = cache(partial(record_answer, sent=letter.sent, answered=now, settle_ms=settle_ms, once=once))
    known = {contact: _absorbed(run, letter, contact, verdict, made) for contact, verdict in verdicts.items()}
    rejected = {
        contact: withdraw_intent(letter.intended[contact], letter.before[contact])
        for contact, verdict in verdicts.items()
        if verdict.outcome is Outcome.REJECTED
    }
    durable = known | rejected
    try:
        _journal(run, letter, verdicts, durable, now, aliases)
    except StateError as error:
        _lose_sight(run, letter, f"its answer could not be recorded: {error.message}")
        raise
    run.state.observed.update(known)
    run.rejected |= rejected
    run.tally.record_batch(letter.batch, as_named(letter.batch, verdicts))
    run.rates.count_rows(letter.before, verdicts)
    for contact, verdict in verdicts.items():
        _notice(run, letter, contact, verdict, now)
    halt_if_wrong(run)


def _journal(
    run: Run,
    letter: _JournalledBatch,
    verdicts: Verdicts,
    durable: Mapping[ContactId, ContactState],
    now: Instant,
    aliases: Iterable[Alias] = (),
) -> None:
    with _or_kept(run, letter, verdicts, durable, now):
        # first: whoever is killed in between settles the doubt by them
        run.learn_aliases(aliases)
        run.world.store.record_answer(run.tenure.lease, letter.number, verdicts, durable, now)


def _spelt(letter: _JournalledBatch, answered: Verdicts, spelling: Spelling) -> tuple[_JournalledBatch, Verdicts]:
    """What was known, and what was answered, in one spelling of each tag."""
    if not spelling.names:
        return letter, answered
    before, intended = spelt_known(letter.before, spelling), spelt_known(letter.intended, spelling)
    return replace(letter, before=before, intended=intended), spelt_verdicts(answered, spelling)


def _absorbed(
    run: Run, letter: _JournalledBatch, contact: ContactId, verdict: ContactOutcome, made: Callable[..., ContactState]
) -> ContactState:
    batch, membership = letter.batch, run.desired.membership(contact)
    tags = run.state.spelling.read(frozenset(batch.tags))
    return made(letter.intended[contact], verdict, batch.action, tags, membership=membership)


def _notice(run: Run, letter: _JournalledBatch, contact: ContactId, verdict: ContactOutcome, now: Instant) -> None:
    """What one answer tells beyond its outcome."""
    before = letter.before[contact]
    if verdict.outcome is Outcome.IN_DOUBT:
        run.doubt(contact, letter.batch.action, frozenset(letter.batch.tags))
    if found := find_surprise(before, verdict):
        run.tally.add_surprise(contact, found)
    if before.observed is None and verdict.old is not None:
        run.learnt.update(verdict.old)
        # what a blind removal took was no holder known; its answer tells of one that was, and is lost
        run.done.lost.update(verdict.removed)
    if verdict.outcome is Outcome.APPLIED and verdict.observed is not None:
        run.remember(KnownWrite(contact, letter.sent, now, verdict.observed))


@contextmanager
def _or_kept(
    run: Run,
    letter: _JournalledBatch,
    verdicts: Mapping[ContactId, ContactOutcome],
    known: Mapping[ContactId, ContactState],
    now: Instant,
) -> Iterator[None]:
    """What the state does not take goes into an emergency journal, which the report names."""
    try:
        yield
    except StateError:
        lost = UnrecordedAnswers(run.location, run.state.lineage, run.number, letter.number, now, verdicts, known)
        run.kept.append(run.world.emergency(lost))
        raise


def without(batch: Batch, contacts: set[ContactId]) -> Batch:
    if not contacts:
        return batch
    return replace(batch, contacts=tuple(each for each in batch.contacts if each not in contacts))
