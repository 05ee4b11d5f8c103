"""One batch in the journal: its intent before it leaves; its answer, or that it had no effect, after it.

Rules
1. The intent is durable before the request leaves; the answer and the states that follow from it are one transaction.
   While the state takes it the run goes on: what it learnt meanwhile counts for the answer too.
2. Tags are journalled as the run calls them, however an answer spells them.
3. A contact that the API refuses is quarantined at the end of the run only: a wrong token refuses every contact.
4. An answer that the state does not take is written beside the plan, and the report names the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice

from reconciler.apply.books import KnownWrite
from reconciler.apply.run import ContactOutcomes, Run
from reconciler.core.formats.state_json import UnrecordedAnswers
from reconciler.core.manifests.wants import Want
from reconciler.core.model.alike import count_alike, distinct_objects, map_alike
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_changes import not_among, record_answer, record_intent, withdraw_intent
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import StateError
from reconciler.core.model.names import ContactId, Instant, SetName, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.planning.tag_aliases import Spelling, aliases_in
from reconciler.core.running.stop_conditions import find_surprise

States = Mapping[ContactId, ContactState]


@dataclass(frozen=True, slots=True)
class JournalledBatch:
    """A batch with a durable intent."""

    batch: Batch
    asked: Batch
    """As it is sent: an add as it was approved, a removal by the spellings that are there."""
    number: int
    dated: Instant
    """The date of the intent."""
    sent: Instant
    """When the request left: a state takes its time to write an intent down. The date until then."""
    before: States
    """The states without the intent."""
    intended: States
    """The states with it."""


async def journal_intent(run: Run, batch: Batch) -> JournalledBatch:
    now = run.now()
    before = run.states_of(batch.contacts)
    intended = _intend(run, batch, before, now)
    asked = run.spelling.spell_request(batch) if batch.action is Action.REMOVE else batch
    number = await run.call(run.store.record_intent, run.lease, run.journal.id, asked, intended, now)
    return JournalledBatch(batch, asked, number, now, now, before, intended)


def _intend(run: Run, batch: Batch, before: States, now: Instant) -> States:
    desired, tags = run.desired, frozenset(batch.tags)

    def follow(state: ContactState, managed: TagSet, want: Want) -> ContactState:
        return record_intent(state, batch.action, managed, keep=want.keep, at=now, once=desired.once)

    managed = [tags] * len(before)
    if run.reversal is not None:
        # a tag that a reversal gives back enters the ledger only where it was in it before
        same: dict[TagSet, TagSet] = {}
        found = (run.reversal.managed(contact, tags, desired) for contact in before)
        managed = [same.setdefault(each, each) for each in found]
    # many contacts of a batch share a state and what is declared, and so the state that follows
    return dict(zip(before, map_alike(follow, before.values(), managed, desired.wants_of(before)), strict=True))


async def withdraw_batch(run: Run, journalled: JournalledBatch) -> None:
    """The request is known to have had no effect."""
    withdrawn = _withdrawn(journalled, journalled.before)
    now = run.now()
    with _or_recovery_file(run, journalled, _nothing_sent(journalled.batch), withdrawn, now):
        await run.call(run.store.withdraw_batch, run.lease, journalled.number, withdrawn, now)


async def withdraw_but_for(run: Run, journalled: JournalledBatch, contacts: frozenset[ContactId], why: str) -> None:
    """Withdraws the additions to all of the contacts but these: on them the effect of the request is in doubt."""
    batch, tags, now = journalled.batch, frozenset(journalled.batch.tags), run.now()
    doubted = replace(batch, contacts=tuple(contact for contact in batch.contacts if contact in contacts))
    outcomes = dict.fromkeys(doubted.contacts, ContactOutcome(Outcome.IN_DOUBT, why))
    doubtful = {contact: journalled.intended[contact].with_doubt(tags, journalled.sent) for contact in doubted.contacts}
    durable = _withdrawn(journalled, journalled.before) | doubtful
    await _save_answer(run, journalled, _nothing_sent(batch) | outcomes, durable, now)
    run.observed.update({contact: run.spelling.spell_state(state) for contact, state in doubtful.items()})
    run.outcomes.record_batch(doubted, outcomes)
    for contact in doubted.contacts:
        run.doubts.add(contact, Action.ADD, tags)


def _nothing_sent(batch: Batch) -> ContactOutcomes:
    return dict.fromkeys(batch.contacts, ContactOutcome(Outcome.NOT_SENT))


def _withdrawn(journalled: JournalledBatch, contacts: Iterable[ContactId]) -> dict[ContactId, ContactState]:
    return {contact: withdraw_intent(journalled.intended[contact], journalled.before[contact]) for contact in contacts}


async def journal_unseen(run: Run, journalled: JournalledBatch, verdict: ContactOutcome) -> None:
    """The contacts stay as the intent left them: in doubt."""
    await _save_answer(run, journalled, dict.fromkeys(journalled.batch.contacts, verdict), {}, run.now())


async def journal_answer(run: Run, sent: JournalledBatch, answered: ContactOutcomes) -> None:
    now = run.now()
    aliases = _new_aliases(sent.batch, answered, run.spelling)
    spelling = run.spelling.with_learnt(aliases)
    answer = _read_answer(run, sent, answered, spelling, now)
    journalled, outcomes = answer.journalled, answer.outcomes
    try:
        # durable is that a refused contact is as before: only in memory, for this run, it is quarantined already
        await _save_answer(run, journalled, outcomes, answer.states | answer.rejected, now, aliases)
    except StateError as error:
        report_in_doubt(run, journalled, f"its answer could not be recorded: {error.message}")
        raise
    if run.spelling != spelling:
        # while it was recorded another answer taught a spelling
        answer = _read_answer(run, sent, answered, run.spelling, now)
        journalled, outcomes = answer.journalled, answer.outcomes
    run.observed.update(answer.states)
    run.progress.add_rejected(answer.rejected)
    run.outcomes.record_batch(journalled.batch, _as_named(journalled.batch, outcomes))
    _note_answers(run, journalled, outcomes, now)
    run.halt_if_wrong()


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer in one spelling of tags."""

    journalled: JournalledBatch
    outcomes: ContactOutcomes
    states: dict[ContactId, ContactState]
    """The states that follow from it."""
    rejected: dict[ContactId, ContactState]
    """The states before it of the contacts that the API refused."""


def _read_answer(
    run: Run, sent: JournalledBatch, answered: ContactOutcomes, spelling: Spelling, now: Instant
) -> _Answer:
    journalled, outcomes = _spell(sent, answered, spelling)
    states = _absorb(run, journalled, outcomes, now)
    return _Answer(journalled, outcomes, states, _withdrawn(journalled, _with_outcome(outcomes, Outcome.REJECTED)))


def report_in_doubt(run: Run, journalled: JournalledBatch, why: str) -> None:
    """For an answer that cannot be written down: in the state the batch is in doubt by its intent."""
    verdict = ContactOutcome(Outcome.IN_DOUBT, why)
    run.outcomes.record_batch(journalled.batch, dict.fromkeys(journalled.batch.contacts, verdict))


async def _save_answer(
    run: Run,
    journalled: JournalledBatch,
    outcomes: ContactOutcomes,
    durable: States,
    now: Instant,
    aliases: Iterable[Alias] = (),
) -> None:
    with _or_recovery_file(run, journalled, outcomes, durable, now):
        # aliases first: after a kill in between the next run reads the doubtful tags in the right spelling
        await run.learn_aliases(aliases)
        await run.call(run.store.record_answer, run.lease, journalled.number, outcomes, durable, now)


@contextmanager
def _or_recovery_file(
    run: Run, journalled: JournalledBatch, outcomes: Mapping[ContactId, ContactOutcome], states: States, now: Instant
) -> Iterator[None]:
    try:
        yield
    except StateError:
        lineage, number = run.location_book.state.lineage, journalled.number
        answers = UnrecordedAnswers(run.location, lineage, run.journal.id, number, now, outcomes, states)
        run.progress.add_recovery_file(run.services.recovery_files(answers))
        raise


def _absorb(
    run: Run, journalled: JournalledBatch, outcomes: ContactOutcomes, now: Instant
) -> dict[ContactId, ContactState]:
    batch, desired = journalled.batch, run.desired
    record = partial(
        record_answer,
        action=batch.action,
        tags=run.spelling.read(frozenset(batch.tags)),
        sent=journalled.sent,
        intended=journalled.dated,
        answered=now,
        settle_ms=run.options.settle_ms,
        once=desired.once,
    )

    def absorb(state: ContactState, verdict: ContactOutcome, membership: frozenset[SetName]) -> ContactState:
        return record(state, verdict, membership=membership)

    intended = list(map(journalled.intended.__getitem__, outcomes))
    states = map_alike(absorb, intended, outcomes.values(), desired.memberships_of(outcomes))
    return dict(zip(outcomes, states, strict=True))


def _note_answers(run: Run, journalled: JournalledBatch, outcomes: ContactOutcomes, now: Instant) -> None:
    """Books the doubts, the surprises, the holders and the writes that the answers show."""
    batch, tags = journalled.batch, frozenset(journalled.batch.tags)
    for contact in _with_outcome(outcomes, Outcome.IN_DOUBT):
        run.doubts.add(contact, batch.action, tags)
    states = list(map(journalled.before.__getitem__, outcomes))
    alike = count_alike(states, outcomes.values())
    run.rates.count_rows(alike)
    for before, verdict, number in alike:
        if before.observed is None:
            run.progress.add_first_observations(verdict, number)
    if any(find_surprise(before, verdict) for before, verdict, _ in alike):
        for contact, surprising in zip(outcomes, map_alike(find_surprise, states, outcomes.values()), strict=True):
            if surprising:
                run.outcomes.add_surprise(contact, surprising)
    # a write that changed no tag need not move the contact's date: it teaches nothing
    applied = (contact for contact in reversed(outcomes) if outcomes[contact].outcome is Outcome.APPLIED)
    # the book keeps the last two
    for contact in reversed(list(islice(applied, 2))):
        if (after := outcomes[contact].observed) is not None:
            run.location_book.add_write(KnownWrite(contact, journalled.sent, now, after))


def _new_aliases(batch: Batch, answered: ContactOutcomes, spelling: Spelling) -> list[Alias]:
    """Tags that came back spelt otherwise, and were not known to."""
    if batch.action is Action.REMOVE:
        # only the answer to an add shows how the location keeps the tag that was sent
        return []
    carried = {verdict.observed for verdict in distinct_objects(answered.values())}
    return list(aliases_in(frozenset(batch.tags), (tags and spelling.read(tags) for tags in carried)))


def _with_outcome(outcomes: ContactOutcomes, outcome: Outcome) -> Iterable[ContactId]:
    """The contacts that were answered so."""
    if all(verdict.outcome is not outcome for verdict in distinct_objects(outcomes.values())):
        return ()
    return [contact for contact, verdict in outcomes.items() if verdict.outcome is outcome]


def _spell(
    sent: JournalledBatch, answered: ContactOutcomes, spelling: Spelling
) -> tuple[JournalledBatch, ContactOutcomes]:
    """The states, and the answer, in one spelling of each tag."""
    if not spelling.names:
        return sent, answered
    read_state, read_outcome = cache(spelling.spell_state), cache(spelling.spell_outcome)
    before = {contact: read_state(state) for contact, state in sent.before.items()}
    intended = {contact: read_state(state) for contact, state in sent.intended.items()}
    outcomes = {contact: read_outcome(verdict) for contact, verdict in answered.items()}
    return replace(sent, before=before, intended=intended), outcomes


def _as_named(batch: Batch, outcomes: ContactOutcomes) -> ContactOutcomes:
    """The outcomes under the batch's names too: an answer may spell a tag as was learnt only now, or after the plan."""
    tags = frozenset(batch.tags)

    def add_names(moved: TagSet) -> TagSet:
        return moved if moved <= tags else moved | (tags - not_among(tags, moved))

    # most answers name no other tag: their outcomes are handed on as they are
    if all(verdict.added | verdict.removed <= tags for verdict in distinct_objects(outcomes.values())):
        return outcomes
    strange = {contact: verdict for contact, verdict in outcomes.items() if not verdict.added | verdict.removed <= tags}
    return outcomes | {
        contact: replace(verdict, added=add_names(verdict.added), removed=add_names(verdict.removed))
        for contact, verdict in strange.items()
    }
