"""What a run writes down of one batch, and what it books of its answer: in the state, in memory, for its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.apply.batch_journal import (
    journal_answer,
    journal_intent,
    journal_unseen,
    report_in_doubt,
    withdraw_batch,
    withdraw_but_for,
)
from reconciler.apply.books import KnownWrite, SentInDoubt
from reconciler.apply.run import Run
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState, ContactStates
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, FailedChange, Surprises
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.planning.plan import PlanOptions
from reconciler.core.running.stop_conditions import Rates
from tests.apply.test_beside import LONE, Work, a_run
from tests.build import a_rule, a_set, carries, changed_state, declare, fields_of, name, tags
from tests.fakes import START

ANNA, BERT, CARA, DORA, EMIL = map(name, ("anna", "bert", "cara", "dora", "emil"))
EVERYBODY = (ANNA, BERT, CARA, DORA, EMIL)
DESIRED = declare(a_set("s", EVERYBODY, "vip"))
ADDING = Batch(Action.ADD, EVERYBODY, (Tag("vip"),))
REMOVING = Batch(Action.REMOVE, (ANNA, BERT), (Tag("old"),))
KNOWN = {BERT: carries("old"), CARA: carries("x", ledger="x"), DORA: carries(""), EMIL: carries("")}
LEFT, ANSWERED = Instant(START + 2_000), Instant(START + 5_000)


def applied(old: str, *, added: str = "", removed: str = "") -> ContactOutcome:
    return ContactOutcome(Outcome.APPLIED, "", old=tags(old), added=tags(added), removed=tags(removed))


def play(
    directory: Path,
    work: Work,
    desired: Desired = DESIRED,
    options: PlanOptions = LONE,
    known: Mapping[ContactId, ContactState] = KNOWN,
) -> Run:
    """Does the work in a run that knows all but anna."""

    async def know_and_work(run: Run) -> None:
        await run.save_states(known)
        await work(run)

    with a_run(directory, desired, dict.fromkeys(("anna", "bert", "cara", "dora", "emil"), ""), options) as work_in_run:
        return work_in_run(know_and_work)


async def stored(run: Run) -> tuple[list[BatchRecord], dict[str, ContactState]]:
    """The journal of the run, and the contacts, as the state has them."""
    batches = await run.call(run.store.read_batches, run.journal.id)
    state = await run.call(run.store.load_state)
    return list(batches), dict(state.observed.items())


def pass_to(run: Run, at: Instant) -> None:
    run.services.clock.ms = at  # type: ignore[attr-defined]


def test_an_answer_is_written_down_and_booked_for_each_contact(tmp_path: Path) -> None:
    refused = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
    doubt = ContactOutcome(Outcome.IN_DOUBT, "no row in the answer")
    found: list[tuple[list[BatchRecord], dict[str, ContactState]]] = []

    async def work(run: Run) -> None:
        before = {contact: run.state_of(contact) for contact in EVERYBODY}
        journalled = await journal_intent(run, ADDING)
        assert (journalled.batch, journalled.asked, journalled.before) == (ADDING, ADDING, before)
        assert journalled.dated == journalled.sent < run.now()
        dated = journalled.dated
        pass_to(run, LEFT)
        answers = {
            ANNA: applied("a b", added="vip"),
            BERT: applied("old new", added="vip"),
            CARA: doubt,
            DORA: refused,
            EMIL: applied("", added="vip"),
        }
        pass_to(run, ANSWERED)
        await journal_answer(run, replace(journalled, sent=LEFT), answers)

        assert run.doubts.sent == {CARA: SentInDoubt(adds=tags("vip"))}
        assert run.progress.rejected == {DORA: before[DORA]}
        # of one that was never observed the answer shows what it carried
        assert run.progress.new_holders == Counter({Tag("a"): 1, Tag("b"): 1})
        assert run.rates == Rates(rows=5, errors=2, compared=2, surprised=1)
        # the last two of them that changed something, in the order of the answer
        assert run.location_book.writes == (
            KnownWrite(BERT, LEFT, ANSWERED, tags("old new vip")),
            KnownWrite(EMIL, LEFT, ANSWERED, tags("vip")),
        )
        assert run.outcomes.surprises() == (Surprises((Tag("new"),), (), (BERT,)),)
        assert run.outcomes.pairs(ContactStates()) == {Outcome.APPLIED: 3, Outcome.IN_DOUBT: 1, Outcome.REJECTED: 1}
        assert set(run.outcomes.findings()) == {
            FailedChange(CARA, Outcome.IN_DOUBT, Action.ADD, (Tag("vip"),), "no row in the answer"),
            FailedChange(DORA, Outcome.REJECTED, Action.ADD, (Tag("vip"),), "contact is deleted"),
        }
        batches, states = await stored(run)
        found.append((batches, states))
        assert batches == [
            BatchRecord(
                Action.ADD,
                (Tag("vip"),),
                dated,
                ANSWERED,
                BatchStatus.ANSWERED,
                {contact: replace_entered(answers[contact]) for contact in sorted(EVERYBODY)},
            )
        ]
        # in the state a refused contact is as before: only this run takes it for refused so far
        assert states[DORA] == before[DORA]
        assert fields_of(run.state_of(DORA))["quarantine"] == Rejection.DELETED
        assert fields_of(run.state_of(DORA))["quarantined_at"] == ANSWERED
        # she comes back once she belongs to other sets
        assert fields_of(run.state_of(DORA))["membership"] == {"s"}
        in_run = {contact: run.state_of(contact) for contact in (ANNA, BERT, CARA, EMIL)}
        assert {contact: states[contact] for contact in in_run} == in_run
        assert states[ANNA].observed == tags("a b vip")
        assert (states[CARA].doubtful, fields_of(states[CARA])["doubt_at"]) == (tags("vip"), LEFT)
        assert {contact: states[contact].ledger.tags for contact in EVERYBODY} == {
            ANNA: tags("vip"),
            BERT: tags("vip"),
            CARA: tags("x vip"),
            DORA: tags(""),
            EMIL: tags("vip"),
        }

    play(tmp_path, work)
    assert len(found) == 1


def replace_entered(verdict: ContactOutcome) -> Answer:
    """All of them entered the ledger by the intent; the one that was refused left it again."""
    return Answer(verdict, released=tags(""), entered=tags("vip"))


def test_an_answer_that_changed_nothing_teaches_nothing_of_dates(tmp_path: Path) -> None:
    async def work(run: Run) -> None:
        journalled = await journal_intent(run, replace(ADDING, contacts=(ANNA, BERT)))
        noop = ContactOutcome(Outcome.NOOP, old=tags("vip old"))
        await journal_answer(run, journalled, {ANNA: noop, BERT: applied("old", added="vip")})
        assert [write.contact for write in run.location_book.writes] == [BERT]
        # bert was observed before, and carried what was known
        assert (run.outcomes.surprises(), run.rates) == ((), Rates(rows=2, compared=1))

    play(tmp_path, work)


def test_the_last_two_writes_are_kept_of_many(tmp_path: Path) -> None:
    async def work(run: Run) -> None:
        journalled = await journal_intent(run, ADDING)
        await journal_answer(run, journalled, dict.fromkeys(EVERYBODY, applied("", added="vip")))
        assert [write.contact for write in run.location_book.writes] == [DORA, EMIL]

    play(tmp_path, work)


def test_a_batch_that_had_no_effect_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async def work(run: Run) -> None:
        before = {contact: run.state_of(contact) for contact in EVERYBODY}
        journalled = await journal_intent(run, ADDING)
        pass_to(run, ANSWERED)
        await withdraw_batch(run, journalled)
        ((batch,), states) = await stored(run)
        assert (batch.status, batch.ended) == (BatchStatus.WITHDRAWN, ANSWERED)
        assert {each.verdict for each in batch.answers.values()} == {ContactOutcome(Outcome.NOT_SENT)}
        assert {contact: states.get(contact, NEVER_OBSERVED) for contact in EVERYBODY} == before
        assert {contact: run.state_of(contact) for contact in EVERYBODY} == before
        assert (run.doubts.sent, run.outcomes.findings()) == ({}, ())

    play(tmp_path, work)


def test_of_a_batch_without_effect_those_who_are_not_there_stay_in_doubt(tmp_path: Path) -> None:
    async def work(run: Run) -> None:
        before = {contact: run.state_of(contact) for contact in EVERYBODY}
        journalled = replace(await journal_intent(run, ADDING), sent=LEFT)
        pass_to(run, ANSWERED)
        await withdraw_but_for(run, journalled, frozenset({BERT, EMIL}), "not there to be read")
        ((batch,), states) = await stored(run)
        assert (batch.status, batch.ended) == (BatchStatus.ANSWERED, ANSWERED)
        doubted = ContactOutcome(Outcome.IN_DOUBT, "not there to be read")
        assert {contact: each.verdict for contact, each in batch.answers.items()} == {
            contact: doubted if contact in (BERT, EMIL) else ContactOutcome(Outcome.NOT_SENT) for contact in EVERYBODY
        }
        assert {contact: states.get(contact, NEVER_OBSERVED) for contact in (ANNA, CARA, DORA)} == {
            contact: before[contact] for contact in (ANNA, CARA, DORA)
        }
        for contact in (BERT, EMIL):
            assert states[contact] == run.state_of(contact)
            assert (states[contact].doubtful, fields_of(states[contact])["doubt_at"]) == (tags("vip"), LEFT)
            assert states[contact].ledger.tags == tags("vip")
        assert run.doubts.sent == dict.fromkeys((BERT, EMIL), SentInDoubt(adds=tags("vip")))
        assert set(run.outcomes.findings()) == {
            FailedChange(contact, Outcome.IN_DOUBT, Action.ADD, (Tag("vip"),), "not there to be read")
            for contact in (BERT, EMIL)
        }

    play(tmp_path, work)


def test_a_removal_whose_effect_nobody_saw_changes_no_contact(tmp_path: Path) -> None:
    verdict = ContactOutcome(Outcome.IN_DOUBT, "refused, and not read")

    async def work(run: Run) -> None:
        journalled = await journal_intent(run, REMOVING)
        pass_to(run, ANSWERED)
        await journal_unseen(run, journalled, verdict)
        ((batch,), states) = await stored(run)
        assert (batch.status, batch.ended) == (BatchStatus.ANSWERED, ANSWERED)
        assert batch.answers == dict.fromkeys((ANNA, BERT), Answer(verdict))
        assert states == {ANNA: NEVER_OBSERVED} | KNOWN
        assert (run.doubts.sent, run.outcomes.findings()) == ({}, ())

    play(tmp_path, work)


@pytest.mark.parametrize("action", Action)
def test_an_answer_that_is_not_written_down_is_in_doubt_in_the_report(tmp_path: Path, action: Action) -> None:
    batch = ADDING if action is Action.ADD else REMOVING

    async def work(run: Run) -> None:
        journalled = await journal_intent(run, batch)
        report_in_doubt(run, journalled, "no disk")
        assert set(run.outcomes.findings()) == {
            FailedChange(contact, Outcome.IN_DOUBT, action, batch.tags, "no disk") for contact in batch.contacts
        }

    play(tmp_path, work)


def test_a_removal_asks_for_the_spelling_that_is_kept_and_an_addition_for_the_one_that_was_approved(
    tmp_path: Path,
) -> None:
    approved, kept = Tag("two  spaces"), Tag("two spaces")

    async def work(run: Run) -> None:
        await run.learn_aliases([(approved, kept)])
        adding = Batch(Action.ADD, (ANNA,), (approved,))
        removing = Batch(Action.REMOVE, (BERT,), (approved,))
        for batch, asked in ((adding, adding), (removing, replace(removing, tags=(kept,)))):
            journalled = await journal_intent(run, batch)
            assert (journalled.batch, journalled.asked) == (batch, asked)
        recorded, _ = await stored(run)
        assert [batch.tags for batch in recorded] == [(approved,), (kept,)]

    play(tmp_path, work)


def test_a_spelling_that_is_learnt_before_the_answer_is_no_surprise(tmp_path: Path) -> None:
    approved, kept = Tag("two  spaces"), Tag("two spaces")

    async def work(run: Run) -> None:
        journalled = await journal_intent(run, replace(ADDING, contacts=(ANNA,)))
        await run.learn_aliases([(approved, kept)])
        answer = ContactOutcome(Outcome.APPLIED, old=frozenset({kept}), added=tags("vip"))
        await journal_answer(run, journalled, {ANNA: answer})
        assert (run.outcomes.surprises(), run.rates) == ((), Rates(rows=1, compared=1))
        known = run.state_of(ANNA)
        assert known.observed == known.ledger.tags == {approved, Tag("vip")}

    play(tmp_path, work, known={ANNA: changed_state(carries(), observed=frozenset({kept}), ledger=frozenset({kept}))})


def test_a_tag_that_is_given_once_was_given_unless_its_contact_was_refused(tmp_path: Path) -> None:
    desired = declare(a_set("s", EVERYBODY, "mail"), rule=[a_rule("mail", once=True)])
    mail = Tag("mail")

    async def work(run: Run) -> None:
        added = replace(await journal_intent(run, Batch(Action.ADD, (ANNA, DORA), (mail,))), sent=LEFT)
        removed = await journal_intent(run, Batch(Action.REMOVE, (CARA,), (mail,)))
        pass_to(run, ANSWERED)
        refused = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
        await journal_answer(run, added, {ANNA: applied("", added="mail"), DORA: refused})
        pass_to(run, ANSWERED)
        await journal_answer(run, removed, {CARA: applied("mail", removed="mail")})
        # by the date of the intent, before which nothing of it left
        assert {contact: run.state_of(contact).past_adds.spent for contact in (ANNA, DORA, CARA)} == {
            ANNA: ((mail, added.dated),),
            DORA: (),
            CARA: ((mail, ANSWERED),),
        }

    play(tmp_path, work, desired, known={**KNOWN, CARA: carries("mail", ledger="mail")})


@pytest.mark.parametrize(("longer_ms", "still"), [(0, ""), (1, "lost")])
def test_an_answer_settles_a_doubt_of_before_once_its_request_can_no_longer_land(
    tmp_path: Path, longer_ms: int, still: str
) -> None:
    """So long as the settings say, which may be longer than by default."""
    settle_ms = 200_000
    known = {ANNA: carries("", ledger="lost", doubt="lost", at=START - settle_ms)}

    async def work(run: Run) -> None:
        journalled = await journal_intent(run, replace(ADDING, contacts=(ANNA,)))
        pass_to(run, Instant(START + 5_000 - longer_ms))
        await journal_answer(run, journalled, {ANNA: applied("", added="vip")})
        assert run.state_of(ANNA).doubtful == tags(still)

    play(tmp_path, work, options=replace(LONE, settle_ms=settle_ms + 5_000), known=known)
