"""The books of a run: what is counted, what is in doubt, what the location taught; and where lost answers are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from reconciler.apply.books import (
    DoubtBook,
    KnownWrite,
    LocationBook,
    RunProgress,
    SentInDoubt,
    UnseenRemoval,
    name_recovery_files,
)
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.journal import LocationReport, RunStatus
from reconciler.core.model.names import Instant, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.planning.changes import Delta
from reconciler.core.planning.guards import Counts
from reconciler.core.planning.slow_release import Release
from tests.build import HERE, a_set, carries, contact_state, declare, ids, loaded, state, tags
from tests.fakes import START

ANNA, BERT, CARA = ids("anna bert cara")
REMOVAL = UnseenRemoval(Batch(Action.REMOVE, (ANNA,), (Tag("a"),)), START, "refused")


def test_a_run_counts_what_it_did() -> None:
    progress = RunProgress(7)
    assert [progress.start_round(), progress.start_round()] == [1, 2]
    assert [progress.count_extra(), progress.count_extra()] == [1, 2]
    for adopted, released in ((1, 2), (3, 4)):
        progress.add_ledger_change(adopted=adopted, released=released)
    progress.add_counts(Counts(requests=1))
    progress.add_counts(Counts(requests=2))
    for note in ("one", "two", "one"):
        progress.add_note(note)
    progress.add_rejected({ANNA: carries("a")})
    progress.add_rejected({BERT: carries("b")})
    progress.add_recovery_file("here")
    progress.set_outside(5)
    assert progress == RunProgress(
        5,
        rounds=2,
        extra=2,
        adopted=4,
        released=6,
        counts=Counts(requests=3),
        notes=["one", "two"],
        rejected={ANNA: carries("a"), BERT: carries("b")},
        recovery_files=["here"],
    )


def test_a_slice_is_judged_by_its_own_requests_and_by_the_pairs_of_all() -> None:
    progress = RunProgress(0, counts=replace(Counts(requests=9), lost=Counter({Tag("a"): 2})))
    progress.begin_slice()
    assert (progress.counts.requests, progress.counts.lost) == (0, Counter({Tag("a"): 2}))
    waiting = Release((Delta((), (ANNA,)),))
    progress.set_release(waiting)
    assert progress.release == waiting


def test_requests_of_unknown_effect_are_counted_in_a_row() -> None:
    progress = RunProgress(0)
    assert ([progress.count_silent(), progress.count_silent()], progress.answered) == ([1, 2], False)
    progress.set_answered()
    assert (progress.silent, progress.answered, progress.count_silent()) == (0, True, 1)
    assert progress.disbelieved is False
    progress.disbelieve_absences()
    assert progress.disbelieved is True


def test_the_holders_that_a_first_answer_shows_are_those_before_it_and_what_it_removed_is_lost() -> None:
    progress = RunProgress(0)
    shown = ContactOutcome(Outcome.APPLIED, old=tags("a b"), added=tags("c"), removed=tags("b"))
    progress.add_first_observations(shown, 3)
    progress.add_first_observations(shown, 2)
    # an answer without the tags before it shows nothing
    progress.add_first_observations(replace(shown, old=None), 50)
    assert progress.new_holders == Counter({Tag("a"): 5, Tag("b"): 5})
    assert progress.counts.lost == Counter({Tag("b"): 5})


def test_what_is_in_doubt_is_kept_by_contact_and_action() -> None:
    book = DoubtBook()
    book.add(ANNA, Action.ADD, tags("a"))
    book.add(ANNA, Action.REMOVE, tags("r"))
    book.add(ANNA, Action.ADD, tags("b"))
    book.add(ANNA, Action.REMOVE, tags("s"))
    book.add(BERT, Action.REMOVE, tags("a"))
    assert [book.sent_to(who) for who in (ANNA, BERT, CARA)] == [
        SentInDoubt(tags("a b"), tags("r s")),
        SentInDoubt(removes=tags("a")),
        SentInDoubt(),
    ]
    everybody = (ANNA, BERT, CARA)
    assert [book.contacts_with(everybody, tags(text)) for text in ("a", "b x", "s", "x", "")] == [
        {ANNA, BERT},
        {ANNA},
        {ANNA},
        set(),
        set(),
    ]
    assert book.contacts_with((BERT, CARA), tags("a b")) == {BERT}
    book.remove(ANNA)
    book.remove(CARA)
    assert book.sent == {BERT: SentInDoubt(removes=tags("a"))}
    book.clear()
    assert book == DoubtBook()


def test_what_was_tried_and_proven_adds_up_for_each_contact() -> None:
    book = DoubtBook()
    assert (book.tags_tried(ANNA), book.tags_proven(ANNA)) == (NONE, NONE)
    for text in ("a", "b"):
        book.add_tried(ANNA, tags(text))
        book.add_proven(BERT, tags(text))
    book.set_sought([ANNA, CARA])
    book.add_unseen(REMOVAL)
    assert (book.tags_tried(ANNA), book.tags_tried(BERT)) == (tags("a b"), NONE)
    assert (book.tags_proven(ANNA), book.tags_proven(BERT)) == (NONE, tags("a b"))
    assert (book.sought, book.unseen) == ({ANNA, CARA}, [REMOVAL])


def location_book() -> LocationBook:
    known = state(anna=contact_state(tags(("new lead",))))
    return LocationBook(loaded(known), declare(a_set("s", "anna", ("New  Lead",))))


def test_a_spelling_that_is_learnt_counts_for_what_is_known_and_for_what_is_desired() -> None:
    book = location_book()
    book.learn_alias((Tag("New  Lead"), Tag("new lead")))
    kept = book.state.spelling.read(tags(("new lead",)))
    assert len(kept) == 1
    assert book.state.observed[ANNA].observed == kept
    assert frozenset(book.desired.want(ANNA).present) == kept
    book.learn_alias((Tag("Other  One"), Tag("other one")))
    # the one before is still read
    assert book.state.spelling.read(tags(("new lead",))) == kept
    assert len(book.state.spelling.read(tags(("Other  One", "other one")))) == 1


def test_refused_tags_keep_the_words_of_the_api() -> None:
    book = location_book()
    book.refuse_tags([Tag("a"), Tag("b")], "too long")
    book.refuse_tags([Tag("c")], "no such tag")
    assert book.refused == {"a": "too long", "b": "too long", "c": "no such tag"}
    facts = LocationFacts(moves_updated=True)
    book.set_facts(facts)
    book.set_trial(REMOVAL.batch)
    assert (book.state.facts, book.trial) == (facts, REMOVAL.batch)


def write(contact: str, seconds: int) -> KnownWrite:
    (one,) = ids(contact)
    return KnownWrite(one, Instant(START + 1_000 * seconds), Instant(START + 1_000 * seconds + 200), tags("a"))


def test_the_last_writes_to_two_contacts_are_kept() -> None:
    """One alone may have been edited by others."""
    book = location_book()
    for each in (write("anna", 1), write("bert", 2), write("cara", 3), write("cara", 4)):
        book.add_write(each)
    assert book.writes == (write("bert", 2), write("cara", 4))
    book.add_write(write("bert", 5))
    assert book.writes == (write("cara", 4), write("bert", 5))
    assert book.take_writes() == (write("cara", 4), write("bert", 5))
    assert book.take_writes() == ()


def test_the_last_write_is_taken_once() -> None:
    book = location_book()
    assert book.take_last_write() == ()
    book.add_write(write("anna", 1))
    book.add_write(write("bert", 2))
    assert book.take_last_write() == (write("bert", 2),)
    assert book.take_last_write() == ()
    alone = location_book()
    alone.add_write(write("anna", 1))
    assert alone.take_last_write() == (write("anna", 1),)
    # it stays for a doubt that needs it
    assert book.take_writes() == (write("anna", 1), write("bert", 2))


BROKEN = LocationReport(HERE, "r1", RunStatus.STOPPED, error="the disk is full", hint="make room")


@pytest.mark.parametrize(
    ("files", "error", "hint"),
    [
        ([], "", "make room"),
        (
            ["p.json.emergency"],
            "; what was answered is in p.json.emergency",
            "once the state can be written, and before the next run, with --state where this one had it: "
            "reconciler state recover p.json.emergency",
        ),
        (
            ["a b", "", "c"],
            "; what was answered is in a b, c; 1 answer could be written nowhere: its contacts are in doubt until they "
            "are read",
            "once the state can be written, and before the next run, with --state where this one had it: "
            "reconciler state recover 'a b' c",
        ),
        (
            ["", ""],
            "; 2 answers could be written nowhere: its contacts are in doubt until they are read",
            "make room",
        ),
        (
            [""] * 1_000,
            "; 1,000 answers could be written nowhere: its contacts are in doubt until they are read",
            "make room",
        ),
    ],
    ids=["none", "one", "two and one lost", "two lost", "many lost"],
)
def test_every_file_with_an_answer_is_named_and_the_command_that_takes_it_in(
    files: list[str], error: str, hint: str
) -> None:
    named = name_recovery_files(BROKEN, files)
    assert named == replace(BROKEN, error=f"the disk is full{error}", hint=hint)
