"""What every store promises, whatever it is made of. Looks at a store through its interface only."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest

from reconciler.beside import ThreadWorker, connect_location
from reconciler.core.formats.integrity import verify
from reconciler.core.formats.state_json import Portable, state_document
from reconciler.core.model.api_limits import NO_FACTS, LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import (
    NEVER_OBSERVED,
    ContactReading,
    ContactState,
    ContactStates,
    ObservationOrigin,
)
from reconciler.core.model.errors import LeaseLost, LockHeld, UsageError
from reconciler.core.model.journal import Answer, RunEnding, RunHeader, RunStatus, Shortfall
from reconciler.core.model.lease import TTL_MS, Holder, Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.people import IndexStatus, MatchCounts, PeopleLot, Snapshot
from reconciler.core.planning.plan import LocationState
from reconciler.operations.runs import read_log
from reconciler.ports import LocationReader, LocationStore, StateReader
from reconciler.store.leases import origin_of_this_process
from tests.build import HERE, contact_state, name, tags
from tests.fakes import START, a_holder
from tests.store import sample
from tests.store.conftest import Home
from tests.store.sample import fill

THERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
ANNA, BERT, CARA, DORA = map(name, ("Anna", "Bert", "Cara", "Dora"))
LATER = Instant(START + 1_000)


def seen(*names: str, at: int = START) -> ContactState:
    return contact_state(observed=tags(names), observed_at=Instant(at), origin=ObservationOrigin.GET)


def batch(*contacts: ContactId, names: Iterable[str] = ("x",), action: Action = Action.ADD) -> Batch:
    return Batch(action, contacts, tuple(map(Tag, names)))


def header(location: LocationId = HERE) -> RunHeader:
    return RunHeader(location, "apply", "anna@example", START, "sha256:abc", "0123abc")


def applied(*names: str, old: Iterable[str] = ()) -> ContactOutcome:
    return ContactOutcome(Outcome.APPLIED, "Tags updated", old=tags(old), added=tags(names))


def contents(state: LocationState) -> tuple[object, ...]:
    """A snapshot as a value: numbering and order of the patterns do not matter."""
    return state.location, state.lineage, state.serial, dict(state.observed.items()), dict(state.set_sizes), state.facts


def snapshot(*contacts: ContactId, at: int = START) -> Snapshot:
    """A snapshot of a file whose rows all matched."""
    matched = len(contacts)
    return Snapshot(tuple(sorted(contacts)), Instant(at), "sha256:abc", MatchCounts(rows=matched, matched=matched))


def taken(store: LocationStore, *, name: str = "one", now: int = START) -> Lease:
    return store.acquire_lease(a_holder(name), Instant(now))


def test_a_location_never_seen_is_empty(home: Home) -> None:
    for state in (home.look(), home.state()):
        assert contents(state.at(HERE).load_state()) == (HERE, None, 0, {}, {}, NO_FACTS)
        assert list(state.list_locations()) == []
        assert list(state.at(HERE).read_runs()) == []


def test_a_location_has_one_lineage_for_ever(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    lineage = store.load_state().lineage
    store.save_states(lease, {ANNA: seen("a")})
    store.release_lease(lease)
    taken(home.store(), name="two", now=START + TTL_MS)

    assert lineage
    assert home.reader().load_state().lineage == lineage


def test_a_connection_belongs_to_the_thread_that_works_with_it(home: Home) -> None:
    """As each run has it: the calls of a location are made beside the event loop."""

    async def work() -> str | None:
        async with connect_location(home.state(), HERE, ThreadWorker) as connection:
            store, call = connection.store, connection.call
            lease = await call(store.acquire_lease, a_holder("one"), START)
            await call(store.save_states, lease, {ANNA: seen("a")})
            return (await call(store.load_state)).lineage

    assert asyncio.run(work()) == home.reader().load_state().lineage


def test_lineages_differ(home: Home) -> None:
    state = home.state()
    taken(state.at(HERE))
    taken(state.at(THERE))

    assert state.at(HERE).load_state().lineage != state.at(THERE).load_state().lineage


@pytest.mark.one_in(9)
@pytest.mark.parametrize(
    "known",
    [
        NEVER_OBSERVED,
        seen(),
        seen("a", "b"),
        contact_state(ledger=tags("l"), kept=tags("l")),
        seen("a", at=1).with_doubt(tags("d"), LATER),
        contact_state(quarantine=Rejection.DELETED, quarantined_at=LATER),
        contact_state(
            tags("a"),
            START,
            ObservationOrigin.SEARCH,
            ledger=tags("l k"),
            kept=tags("k"),
            doubt=tags("d"),
            doubt_at=LATER,
            quarantine=Rejection.FOREIGN,
            quarantined_at=LATER,
        ),
        contact_state(
            quarantine=Rejection.INVALID,
            quarantined_at=LATER,
            quarantined_since=START,
            membership=frozenset({SetName("grün, alt"), SetName("b")}),
        ),
        contact_state(quarantine=Rejection.DELETED, quarantined_at=LATER, membership=frozenset()),
        contact_state(ledger=tags("l grün"), unconfirmed=tags("grün")),
        contact_state(ledger=tags("a grün"), restored=((Tag("a"), START), (Tag("grün"), LATER))),
        contact_state(spent=((Tag("a"), START), (Tag("grün"), LATER)), attempted_at=LATER),
        contact_state(doubt=tags("d"), doubt_at=START, reading=ContactReading(START, LATER, START, None, tags("grün"))),
        contact_state(doubt=tags("d"), doubt_at=START, reading=ContactReading(START, LATER, None, START)),
    ],
)
def test_what_is_known_of_a_contact_comes_back_whole(home: Home, known: ContactState) -> None:
    store = home.store()
    store.save_states(taken(store), {ANNA: known})

    for state in (store, home.reader(), home.store()):
        assert state.load_state().observed[ANNA] == known


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "tag",
    [
        "grün",
        "e\u0301 is not \u00e9",
        "日本語",
        "👩‍👩‍👧 family",
        "مرحبا",
        "\u202ereversed",
        "a,b;c'd\"e\\f",
        "a\nb\tc",
        "\x00nul",
        "[]",
        "null",
        "",
        "%s ? {0}",
        "\ud800 alone",
        "x" * 10_000,
    ],
    ids=[
        "umlaut",
        "accents",
        "kanji",
        "family",
        "arabic",
        "reversed",
        "marks",
        "lines",
        "nul",
        "brackets",
        "null",
        "empty",
        "format",
        "surrogate",
        "long",
    ],
)
def test_any_text_is_a_tag(home: Home, tag: str) -> None:
    store = home.store()
    known = contact_state(tags((tag, "a")), START, ObservationOrigin.WRITE, ledger=tags((tag,)))
    store.save_states(taken(store), {ANNA: known})

    assert home.reader().load_state().observed[ANNA] == known


def test_different_spellings_are_different_tags(home: Home) -> None:
    store = home.store()
    store.save_states(taken(store), {ANNA: seen("é"), BERT: seen("e\u0301")})
    observed = home.reader().load_state().observed

    assert observed[ANNA].observed == tags("é")
    assert observed[BERT].observed == tags("e\u0301")


def test_any_text_is_a_contact_id(home: Home) -> None:
    strange = [ContactId(text) for text in ("", "x' OR 1=1 --", "ünï", "a\x00b", "../..", "A", "a", "1", "01")]
    store = home.store()
    store.save_states(taken(store), {contact: seen(str(nth)) for nth, contact in enumerate(strange)})

    observed = home.reader().load_state().observed
    assert [observed[contact].observed for contact in strange] == [tags((str(nth),)) for nth in range(len(strange))]


def test_the_last_word_on_a_contact_counts(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: seen("a"), BERT: seen("b")})
    store.save_states(lease, {ANNA: seen("c")})

    assert dict(store.load_state().observed.items()) == {ANNA: seen("c"), BERT: seen("b")}


def test_locations_do_not_see_one_another(home: Home) -> None:
    state = home.state()
    store, other = state.at(HERE), state.at(THERE)
    here, there = taken(store), taken(other)
    store.save_states(here, {ANNA: seen("a")})
    other.save_states(there, {ANNA: seen("z"), CARA: seen()})
    run = other.begin_run(there, header(THERE))
    other.end_run(there, run, RunStatus.COMPLETE, LATER, set_sizes={SetName("s"): 3})

    assert list(state.list_locations()) == sorted([HERE, THERE])
    assert dict(store.load_state().observed.items()) == {ANNA: seen("a")}
    assert dict(other.load_state().observed.items()) == {ANNA: seen("z"), CARA: seen()}
    assert (list(store.read_runs()), dict(store.load_state().set_sizes)) == ([], {})


def test_a_lease_of_another_location_allows_no_write(home: Home) -> None:
    state = home.state()
    taken(state.at(HERE))
    there = taken(state.at(THERE))
    with pytest.raises(LeaseLost):
        state.at(HERE).save_states(there, {ANNA: seen("a")})

    assert contents(home.reader().load_state())[3] == contents(home.reader(THERE).load_state())[3] == {}


def test_the_serial_grows_with_each_change_of_content(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    serials = [store.load_state().serial]
    for known in (seen("a"), seen("b"), seen("b", at=LATER), contact_state(ledger=tags("b"))):
        store.save_states(lease, {ANNA: known})
        serials.append(store.load_state().serial)

    assert serials == sorted(set(serials))


def same_content(store: LocationStore, lease: Lease) -> None:
    store.save_states(lease, {})
    store.save_states(lease, {ANNA: seen("a")})


def a_lease_more(store: LocationStore, lease: Lease) -> None:
    store.release_lease(store.renew_lease(lease, LATER))
    taken(store, name="two")


def a_run_without_effect(store: LocationStore, lease: Lease) -> None:
    store.end_run(lease, store.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes={SetName("s"): 2})


def a_stopped_run(store: LocationStore, lease: Lease) -> None:
    store.end_run(lease, store.begin_run(lease, header()), RunStatus.STOPPED, LATER, set_sizes=None)


@pytest.mark.parametrize("step", [same_content, a_lease_more, a_run_without_effect, a_stopped_run])
@pytest.mark.parametrize("reopened", [False, True])
def test_the_serial_stays_where_the_content_does(
    home: Home, step: Callable[[LocationStore, Lease], None], reopened: bool
) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: seen("a")})
    a_run_without_effect(store, lease)
    before = contents(store.load_state())
    step(home.store() if reopened else store, lease)

    assert contents(store.load_state()) == before


def test_an_intent_is_durable_before_its_answer(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    store.record_intent(lease, run, batch(ANNA, BERT), {ANNA: contact_state(ledger=tags("x")), BERT: seen()}, START)

    state = home.reader()
    assert state.load_state().observed[ANNA].ledger.tags == tags("x")
    assert [(each.requests, each.rows, each.status) for each in state.read_runs()] == [(1, 2, RunStatus.RUNNING)]


def test_an_intent_without_an_answer_is_seen_as_a_doubt(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    intended = contact_state(ledger=tags("x"))
    store.record_intent(lease, store.begin_run(lease, header()), batch(ANNA), {ANNA: intended}, LATER)

    assert home.reader().load_state().observed[ANNA] == intended.with_doubt(tags("x"), LATER)


def test_an_unanswered_batch_is_a_doubt_from_the_next_run_on(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    store.record_intent(lease, run, batch(ANNA, BERT, names=("x", "y")), {ANNA: seen("a"), BERT: NEVER_OBSERVED}, LATER)
    before = store.load_state().serial
    again = taken(home.store(), name="two", now=START + TTL_MS + 1)
    store.begin_run(again, header())

    state = home.reader()
    loaded = state.load_state()
    assert loaded.observed[ANNA] == seen("a").with_doubt(tags("x y"), LATER)
    assert loaded.observed[BERT] == NEVER_OBSERVED.with_doubt(tags("x y"), LATER)
    assert loaded.serial > before
    assert [each.status for each in state.read_runs()] == [RunStatus.INTERRUPTED, RunStatus.RUNNING]


def test_doubts_of_several_unanswered_batches_add_up(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    store.record_intent(lease, run, batch(ANNA, names=["x"]), {ANNA: NEVER_OBSERVED}, START)
    store.record_intent(lease, run, batch(ANNA, names=["y"], action=Action.REMOVE), {}, LATER)
    store.begin_run(lease, header())

    assert store.load_state().observed[ANNA] == NEVER_OBSERVED.with_doubt(tags("x y"), LATER)


def test_an_answered_or_withdrawn_batch_is_no_doubt(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    first = store.record_intent(lease, run, batch(ANNA), {ANNA: NEVER_OBSERVED}, START)
    store.record_answer(lease, first, {ANNA: applied("x")}, {ANNA: seen("x")}, LATER)
    second = store.record_intent(lease, run, batch(BERT), {BERT: contact_state(ledger=tags("x"))}, START)
    store.withdraw_batch(lease, second, {BERT: NEVER_OBSERVED}, LATER)
    store.begin_run(lease, header())

    assert dict(store.load_state().observed.items()) == {ANNA: seen("x"), BERT: NEVER_OBSERVED}


def test_a_batch_of_contacts_never_heard_of_is_journalled(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.record_intent(lease, store.begin_run(lease, header()), batch(ANNA, action=Action.REMOVE), {}, START)
    store.begin_run(lease, header())

    assert store.load_state().observed[ANNA].doubtful == tags("x")
    assert store.read_runs()[0].rows == 1


def test_an_answer_and_its_observations_are_recorded_together(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    number = store.record_intent(lease, store.begin_run(lease, header()), batch(ANNA, BERT), {}, START)
    verdicts = {ANNA: applied("x", old=["a"]), BERT: ContactOutcome(Outcome.HELD, "what?")}
    store.record_answer(
        lease, number, verdicts, {ANNA: seen("a", "x"), BERT: NEVER_OBSERVED.with_doubt(tags("x"), START)}, LATER
    )

    observed = home.reader().load_state().observed
    assert observed[ANNA] == seen("a", "x")
    assert observed[BERT].doubtful == tags("x")


def test_set_sizes_are_those_of_the_last_run_that_completed(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    sizes = [{"a": 3, "b": 1}, None, {"b": 2}, {}]
    found = []
    for each in sizes:
        run = store.begin_run(lease, header())
        named = None if each is None else {SetName(name): size for name, size in each.items()}
        store.end_run(lease, run, RunStatus.STOPPED if each is None else RunStatus.COMPLETE, LATER, set_sizes=named)
        found.append(dict(home.reader().load_state().set_sizes))

    assert found == [{"a": 3, "b": 1}, {"a": 3, "b": 1}, {"b": 2}, {}]


def test_runs_are_listed_in_their_order(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    first = store.begin_run(lease, header())
    number = store.record_intent(lease, first, batch(ANNA, BERT), {ANNA: NEVER_OBSERVED, BERT: NEVER_OBSERVED}, START)
    store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {}, LATER)
    store.end_run(lease, first, RunStatus.COMPLETE, LATER, set_sizes={})
    second = store.begin_run(lease, replace(header(), operation="refresh", change_digest="", commit=""))

    runs = home.reader().read_runs()
    assert first != second
    assert [(each.id, each.status, each.ended, each.requests, each.rows) for each in runs] == [
        (first, RunStatus.COMPLETE, LATER, 1, 2),
        (second, RunStatus.RUNNING, None, 0, 0),
    ]
    assert [each.header for each in runs] == [
        header(),
        replace(header(), operation="refresh", change_digest="", commit=""),
    ]


def answers(store: LocationReader, run: str) -> list[dict[ContactId, Answer]]:
    return [dict(each.answers) for each in store.read_batches(run)]


def test_a_run_remembers_what_was_asked_and_answered(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    number = store.record_intent(lease, run, batch(ANNA, BERT, CARA, names=["y", "x"]), {}, START)
    rejected = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
    doubtful = ContactOutcome(Outcome.IN_DOUBT, "no row in the answer")
    store.record_answer(lease, number, {ANNA: applied("x", old=["y"]), BERT: rejected, CARA: doubtful}, {}, LATER)
    second = store.record_intent(lease, run, batch(ANNA, action=Action.REMOVE), {}, LATER)
    store.withdraw_batch(lease, second, {}, LATER)
    store.record_intent(lease, run, batch(BERT), {}, LATER)

    first, withdrawn, open_one = home.reader().read_batches(run)
    assert (first.action, first.tags, first.intended, first.ended) == (Action.ADD, ("x", "y"), START, LATER)
    assert [each.status for each in (first, withdrawn, open_one)] == ["answered", "withdrawn", "intended"]
    assert dict(first.answers) == {
        # what the API says of a success tells nothing
        ANNA: Answer(replace(applied("x", old=["y"]), message="")),
        BERT: Answer(rejected),
        CARA: Answer(doubtful),
    }
    assert dict(withdrawn.answers) == {ANNA: Answer(ContactOutcome(Outcome.NOT_SENT))}
    assert (dict(open_one.answers), open_one.ended) == ({BERT: Answer(None)}, None)


def test_an_answer_comes_back_with_all_that_it_told(home: Home) -> None:
    """To undo a run is to know what each of its requests really took away, and what was there before."""
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    number = store.record_intent(lease, run, batch(ANNA, BERT, CARA, DORA, action=Action.REMOVE), {}, START)
    told = {
        ANNA: ContactOutcome(Outcome.APPLIED, old=tags("x y"), removed=tags("x")),
        BERT: ContactOutcome(Outcome.NOOP, old=tags("")),
        CARA: ContactOutcome(Outcome.HELD, "what?", None, tags("x"), tags("a"), tags("r")),
        DORA: ContactOutcome(Outcome.APPLIED, old=tags("x y"), removed=tags("x")),
    }
    store.record_answer(lease, number, told, {}, LATER)

    for state in (store, home.reader()):
        (found,) = state.read_batches(run)
        assert {contact: answer.verdict for contact, answer in found.answers.items()} == told


def test_a_run_that_never_was_has_no_batches(home: Home) -> None:
    assert list(home.reader().read_batches("nothing")) == []
    assert list(home.store().read_batches("nothing")) == []


def test_an_answer_remembers_what_was_ours_and_is_gone(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(
        lease, {ANNA: contact_state(ledger=tags("x y")), BERT: seen("x"), CARA: contact_state(ledger=tags("x"))}
    )
    run = store.begin_run(lease, header())
    removing = batch(ANNA, BERT, CARA, action=Action.REMOVE)
    number = store.record_intent(lease, run, removing, {}, START)
    gone = ContactOutcome(Outcome.APPLIED, "", old=tags("x"), removed=tags("x"))
    after = {ANNA: contact_state(ledger=tags("y")), BERT: seen(), CARA: contact_state(ledger=tags("x"))}
    store.record_answer(lease, number, dict.fromkeys((ANNA, BERT, CARA), gone), after, LATER)

    (found,) = answers(home.reader(), run)
    assert {contact: each.released for contact, each in found.items()} == {
        ANNA: tags("x"),
        BERT: tags(""),
        # a doubt may keep it in the ledger a while longer: it was taken away all the same
        CARA: tags("x"),
    }


def test_an_answer_tells_what_was_ours_when_it_came_whatever_the_intent_saw(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, dict.fromkeys((ANNA, BERT, CARA), contact_state(ledger=tags("x"))))
    run = store.begin_run(lease, header())
    numbers = {
        each: store.record_intent(lease, run, batch(each, action=Action.REMOVE), {}, START)
        for each in (ANNA, BERT, CARA)
    }
    gone = ContactOutcome(Outcome.APPLIED, "", old=tags("x y"), removed=tags("x y"))
    more = contact_state(ledger=tags("x y"))
    # of another batch with the contact, of an answer to another one, of no batch
    shared = store.record_intent(lease, run, batch(BERT, names=["y"]), {BERT: more}, START)
    store.record_answer(lease, numbers[BERT], {BERT: gone}, {BERT: more}, LATER)
    store.record_answer(lease, shared, {BERT: applied("y")}, {BERT: more, CARA: more}, LATER)
    store.record_answer(lease, numbers[CARA], {CARA: gone}, {CARA: seen()}, LATER)
    store.save_states(lease, {ANNA: more})
    store.record_answer(lease, numbers[ANNA], {ANNA: gone}, {ANNA: seen()}, LATER)

    found = answers(home.reader(), run)
    released = {contact: answer.released for each in found[:3] for contact, answer in each.items()}
    assert released == dict.fromkeys((ANNA, BERT, CARA), tags("x y"))


def test_an_answer_tells_what_was_ours_once_the_next_request_to_its_contact_was_written_down(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: contact_state(ledger=tags("x"))})
    run = store.begin_run(lease, header())
    number = store.record_intent(lease, run, batch(ANNA, action=Action.REMOVE), {}, START)
    store.record_intent(lease, run, batch(ANNA, names=["y"]), {ANNA: contact_state(ledger=tags("x y"))}, START)
    gone = ContactOutcome(Outcome.APPLIED, "", old=tags("x y"), removed=tags("x y"))
    store.record_answer(lease, number, {ANNA: gone}, {ANNA: seen()}, LATER)
    assert answers(home.reader(), run)[0][ANNA].released == tags("x y")


def test_an_answer_tells_what_was_ours_once_a_reading_changed_it(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: contact_state(ledger=tags("x"))})
    number = store.record_intent(lease, store.begin_run(lease, header()), batch(ANNA, action=Action.REMOVE), {}, START)
    store.save_states(lease, {ANNA: contact_state(ledger=tags("x y"))})
    gone = ContactOutcome(Outcome.APPLIED, old=tags("x y"), removed=tags("x y"))
    store.record_answer(lease, number, {ANNA: gone}, {ANNA: seen()}, LATER)

    ((found,),) = [answers(home.reader(), each.id) for each in store.read_runs()]
    assert found == {ANNA: Answer(gone, released=tags("x y"))}


def test_contacts_that_became_known_in_another_order_are_each_written_as_their_own(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    for contact in (CARA, ANNA, BERT):
        store.save_states(lease, {contact: contact_state(ledger=tags(contact[:4]))})
    run = store.begin_run(lease, header())
    for tag in ("x", "y"):
        states = {each: contact_state(ledger=tags((each[:4], tag))) for each in (ANNA, BERT, CARA)}
        number = store.record_intent(lease, run, batch(*states, names=[tag]), states, START)
        told = {each: applied(tag, old=[each[:4]]) for each in states}
        store.record_answer(lease, number, told, states, LATER)

    assert answers(home.reader(), run) == [
        {
            each: Answer(replace(applied(tag, old=[each[:4]]), message=""), released, tags(tag))
            for each in (ANNA, BERT, CARA)
        }
        for tag, released in (("x", tags("")), ("y", tags("")))
    ]
    assert dict(home.reader().load_state().observed.items()) == states


@pytest.mark.parametrize("known", [True, False])
def test_a_contact_that_was_observed_and_is_not_in_the_state_enters_it_by_its_intent(home: Home, known: bool) -> None:
    store = home.store()
    lease = taken(store)
    if known:
        store.save_states(lease, {BERT: seen("b")})
    run = store.begin_run(lease, header())
    ours = contact_state(tags("a"), START, ObservationOrigin.GET, ledger=tags("x"))
    number = store.record_intent(lease, run, batch(ANNA, BERT), {ANNA: ours, BERT: ours}, START)
    store.record_answer(lease, number, dict.fromkeys((ANNA, BERT), applied("x", old=["a"])), {}, LATER)

    answer = Answer(replace(applied("x", old=["a"]), message=""), entered=tags("x"))
    assert answers(home.reader(), run) == [{ANNA: answer, BERT: answer}]
    assert dict(home.reader().load_state().observed.items()) == {ANNA: ours, BERT: ours}


def test_a_run_remembers_which_guards_were_lifted(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    told = replace(header(), allowed=('empties_tag:tag=vip: the "trial" is over', "max_adds: grün"))
    store.begin_run(lease, told)

    assert home.reader().read_runs()[0].header == told


def test_a_run_remembers_what_its_intents_put_under_management(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: contact_state(ledger=tags("x"))})
    run = store.begin_run(lease, header())
    ours = {ANNA: contact_state(ledger=tags("x y")), BERT: contact_state(ledger=tags("x y"))}
    number = store.record_intent(lease, run, batch(ANNA, BERT, CARA, names=["x", "y"]), ours, START)
    for state in (store, home.reader()):
        assert [answer.entered for answer in answers(state, run)[0].values()] == [tags("y"), tags("x y"), tags("")]
    store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, ours, LATER)
    number = store.record_intent(lease, run, replace(batch(ANNA, names=["x"]), action=Action.REMOVE), {}, LATER)
    store.record_answer(lease, number, {ANNA: applied("x")}, {ANNA: contact_state(ledger=tags("y"))}, LATER)
    for state in (store, home.reader(), home.store()):
        found = [{who: answer.entered for who, answer in each.items()} for each in answers(state, run)]
        assert found == [{ANNA: tags("y"), BERT: tags("x y"), CARA: tags("")}, {ANNA: tags("")}]
        assert [each.traced for each in state.read_runs()] == [True]


def test_an_intent_tells_what_entered_whatever_earlier_ones_saw_of_its_contacts(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    ours, given_up = contact_state(ledger=tags("x")), seen()

    def send(contact: ContactId, after: ContactState) -> None:
        number = store.record_intent(lease, run, batch(contact, names=["x"]), {contact: ours}, START)
        store.record_answer(lease, number, {contact: applied("x")}, {contact: after}, LATER)

    # new, then known, given up by its answer, by another answer, by a reading, and forgotten
    for contact in (ANNA, BERT):
        send(contact, ours)
        send(contact, given_up)
        send(contact, ours)
    number = store.record_intent(lease, run, batch(CARA, names=["x"]), {CARA: ours}, START)
    store.record_answer(lease, number, {CARA: applied("x")}, {CARA: ours, ANNA: given_up}, LATER)
    send(ANNA, ours)
    store.save_states(lease, {ANNA: given_up})
    send(ANNA, ours)
    store.forget_contacts(lease, [BERT])
    send(BERT, ours)
    send(CARA, ours)

    found = [(contact, answer.entered) for each in answers(home.reader(), run) for contact, answer in each.items()]
    entered = [
        (contact, tags("x") if enters else tags(""))
        for contact, enters in [
            *((ANNA, nth != 1) for nth in range(3)),
            (CARA, True),
            (ANNA, True),
            (ANNA, True),
            (BERT, True),
            (CARA, False),
        ]
    ]
    assert found == entered


def test_a_run_remembers_what_it_adopted(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: contact_state(ledger=tags("x"))})
    run = store.begin_run(lease, header())
    serial = store.load_state().serial
    store.save_adoptions(lease, run, {ANNA: contact_state(ledger=tags("x grün")), BERT: seen("a")})
    store.save_adoptions(
        lease, run, {ANNA: contact_state(ledger=tags("grün z")), CARA: contact_state(ledger=tags("z"))}
    )
    for state in (store, home.reader(), home.store()):
        assert state.read_adopted(run) == {ANNA: tags("grün z"), CARA: tags("z")}
        assert state.load_state().observed[BERT] == seen("a")
        assert state.load_state().serial > serial
    assert store.read_adopted("no such run") == {}


def test_nothing_is_adopted_or_released_by_its_spelling_alone(home: Home) -> None:
    """The location keeps `New  Lead` as `new lead`; who wrote the ledger first did not know that yet."""
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: contact_state(ledger=tags(("New  Lead", "x")))})
    store.save_facts(lease, LocationFacts(aliases=((Tag("New  Lead"), Tag("new lead")),)))
    run = store.begin_run(lease, header())
    ours = {ANNA: contact_state(ledger=tags(("new lead", "x", "y")))}
    store.save_adoptions(lease, run, ours)
    number = store.record_intent(lease, run, batch(ANNA, names=["new lead"]), ours, START)
    store.record_answer(
        lease, number, {ANNA: applied("new lead")}, {ANNA: contact_state(ledger=tags(("New  Lead", "x")))}, LATER
    )
    number = store.record_intent(lease, run, replace(batch(ANNA, names=["new lead"]), action=Action.REMOVE), {}, LATER)
    gone = replace(applied(), old=tags(("new lead",)), removed=tags(("new lead",)))
    store.record_answer(lease, number, {ANNA: gone}, {ANNA: contact_state(ledger=tags("x"))}, LATER)
    for state in (store, home.reader(), home.store()):
        assert state.read_adopted(run) == {ANNA: tags("y")}
        added, removed = answers(state, run)
        assert (added[ANNA].entered, added[ANNA].released) == (tags(""), tags("y"))
        assert removed[ANNA].released == tags(("New  Lead",))


def test_a_forgotten_contact_was_adopted_by_nobody(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    store.save_adoptions(lease, run, dict.fromkeys((ANNA, BERT), contact_state(ledger=tags("x"))))
    store.forget_contacts(lease, [ANNA])
    assert home.reader().read_adopted(run) == {BERT: tags("x")}


def test_older_runs_give_up_what_they_adopted_and_say_so(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    runs = []
    for index in range(3):
        runs.append(store.begin_run(lease, header()))
        store.save_adoptions(lease, runs[-1], {ANNA: contact_state(ledger=tags(map(str, range(index + 1))))})
        store.end_run(lease, runs[-1], RunStatus.COMPLETE, LATER, set_sizes=None)
    store.prune_journal(lease, 2)
    assert [store.read_adopted(run) for run in runs] == [{}, {ANNA: tags("1")}, {ANNA: tags("2")}]
    assert [each.traced for each in home.reader().read_runs()] == [False, True, True]


SHORT = Shortfall(Outcome.NOT_SENT, Action.ADD, (Tag("grün"), Tag("x")), "the run stopped", (ANNA, BERT))
ENDING = RunEnding(
    pairs=((Outcome.APPLIED, 1), (Outcome.NOT_SENT, 4)),
    rounds=1,
    reads=2,
    adopted=3,
    released=4,
    outside=5,
    error="the \x00 token was refused",
    reads_for=(("dates", 1), ("doubts", 2)),
    shortfalls=(SHORT, replace(SHORT, outcome=Outcome.DEFERRED, action=Action.REMOVE, contacts=(CARA,))),
)


def test_how_a_run_ended_is_kept_as_its_report_told_it(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run, other = store.begin_run(lease, header()), store.begin_run(lease, header())
    store.end_run(lease, run, RunStatus.STOPPED, LATER, set_sizes=None, ending=ENDING)
    store.end_run(lease, other, RunStatus.STOPPED, LATER, set_sizes=None)
    for state in (store, home.reader(), home.store()):
        assert state.read_ending(run) == ENDING
        assert (state.read_ending(other), state.read_ending("no such run")) == (None, None)
        # nobody becomes known by not being sent to
        assert list(state.load_state().observed.contacts) == []


def test_a_forgotten_contact_was_not_left_out_by_any_run(home: Home) -> None:
    state = home.state()
    store, other = state.at(HERE), state.at(THERE)
    lease, there = taken(store), taken(other)
    run, elsewhere = store.begin_run(lease, header()), other.begin_run(there, header(THERE))
    store.end_run(lease, run, RunStatus.STOPPED, LATER, set_sizes=None, ending=ENDING)
    other.end_run(there, elsewhere, RunStatus.STOPPED, LATER, set_sizes=None, ending=ENDING)
    store.forget_contacts(lease, [ANNA, CARA])
    assert home.reader().read_ending(run) == replace(ENDING, shortfalls=(replace(SHORT, contacts=(BERT,)),))
    assert home.reader(THERE).read_ending(elsewhere) == ENDING


def test_older_runs_give_up_whom_they_left_out_though_they_sent_nothing(home: Home) -> None:
    """A run that is refused every night sends nothing, and has a row for each of its contacts."""
    store = home.store()
    lease = taken(store)
    runs = []
    for _ in range(3):
        runs.append(store.begin_run(lease, header()))
        store.end_run(lease, runs[-1], RunStatus.STOPPED, LATER, set_sizes=None, ending=ENDING)
    store.prune_journal(lease, 2)
    assert [home.reader().read_ending(run) for run in runs] == [replace(ENDING, shortfalls=()), ENDING, ENDING]


def test_older_runs_give_up_their_rows_and_stay_listed(home: Home) -> None:
    state = home.state()
    store, other = state.at(HERE), state.at(THERE)
    lease, there = taken(store), taken(other)
    elsewhere = other.begin_run(there, header(THERE))
    other.record_intent(there, elsewhere, batch(ANNA), {}, START)
    runs = []
    for _ in range(4):
        runs.append(store.begin_run(lease, header()))
        number = store.record_intent(lease, runs[-1], batch(ANNA, BERT), {}, START)
        store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {}, LATER)
        # a run that sends nothing does not count
        store.end_run(lease, store.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes=None)
    before = contents(store.load_state())
    store.prune_journal(lease, 2)

    listed = {each.id: each for each in home.reader().read_runs()}
    assert [listed[run].is_pruned for run in runs] == [True, True, False, False]
    assert [listed[run].requests for run in runs] == [1, 1, 1, 1]
    assert [len(each) for run in runs for each in answers(store, run)] == [0, 0, 2, 2]
    assert [len(each) for each in answers(other, elsewhere)] == [1]
    assert contents(store.load_state()) == before


@pytest.mark.one_in(3)
@pytest.mark.parametrize("ending", ["withdrawn", "rejected"])
def test_runs_without_an_effect_take_no_place_of_one_that_had_one(home: Home, ending: str) -> None:
    """A job whose token was revoked ends with a 401 every hour: in the morning the run of the day can be reverted."""
    store = home.store()
    lease = taken(store)
    real = store.begin_run(lease, header())
    number = store.record_intent(lease, real, batch(ANNA, BERT), {}, START)
    store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {}, LATER)
    store.end_run(lease, real, RunStatus.STOPPED, LATER, set_sizes=None, ending=ENDING)
    refused = []
    for _ in range(4):
        refused.append(store.begin_run(lease, header()))
        number = store.record_intent(lease, refused[-1], batch(CARA, DORA), {}, START)
        if ending == "withdrawn":
            store.withdraw_batch(lease, number, {}, LATER)
        else:
            gone = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
            store.record_answer(lease, number, {CARA: gone, DORA: gone}, {}, LATER)
        store.end_run(lease, refused[-1], RunStatus.STOPPED, LATER, set_sizes=None, ending=ENDING)
        store.prune_journal(lease, 2)

    listed = {each.id: each for each in home.reader().read_runs()}
    assert [listed[run].is_pruned for run in (real, *refused)] == [False, True, True, False, False]
    assert listed[real].traced
    assert [store.read_ending(run) for run in (real, *refused[2:])] == [ENDING] * 3


def test_a_lease_is_refused_while_another_holds_it(home: Home) -> None:
    taken(home.store())
    with pytest.raises(LockHeld) as caught:
        taken(home.store(), name="two", now=START + TTL_MS - 1)

    for part in (HERE, "one@elsewhere", "4242", "apply", "lease-one", "https://ci.example/7"):
        assert part in caught.value.message
    assert caught.value.exit_code == 6


def test_a_refusal_changes_nothing(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: seen("a")})
    before = contents(store.load_state())
    with pytest.raises(LockHeld):
        taken(home.store(), name="two")
    store.save_states(lease, {ANNA: seen("a")})

    assert contents(store.load_state()) == before


def test_a_refusal_tells_the_command_that_ends_a_lease_left_behind(home: Home) -> None:
    taken(home.store())
    with pytest.raises(LockHeld) as caught:
        taken(home.store(), name="two")

    assert f"reconciler state unlock lease-one --location {HERE}" in caught.value.hint


def test_whoever_only_looks_is_told_who_holds_the_lease(home: Home) -> None:
    looking = home.store()
    assert looking.read_lease(START) is None
    lease = taken(home.store())

    assert home.store().read_lease(START) == lease
    assert home.store(THERE).read_lease(START) is None
    assert home.store().read_lease(Instant(lease.expires + 1)) is None
    home.store().release_lease(lease)
    assert home.store().read_lease(START) is None


def test_unlock_ends_the_lease_of_a_holder_that_is_gone(home: Home) -> None:
    lease = taken(home.store())
    ended = home.store().unlock_lease("lease-one")
    second = taken(home.store(), name="two")

    assert (ended.holder, ended.fence) == (lease.holder, lease.fence)
    assert second.fence > lease.fence


@pytest.mark.parametrize("given", ["lease-two", "lease", "", "LEASE-ONE", "lease-one "])
def test_unlock_with_another_id_changes_nothing(home: Home, given: str) -> None:
    store = home.store()
    lease = taken(store)
    with pytest.raises(UsageError) as caught:
        home.store().unlock_lease(given)
    store.save_states(lease, {ANNA: seen("a")})

    assert "lease-one" in caught.value.hint


def test_a_lease_names_the_process_that_holds_it(home: Home) -> None:
    holder = replace(a_holder(), boot_id="5c3a", pid_namespace="pid:[4026531836]", process_start="1234567")
    lease = home.store().acquire_lease(holder, START)
    assert home.store().unlock_lease(holder.id) == lease


def test_why_a_contact_was_refused_is_stored_with_the_answer(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    run = store.begin_run(lease, header())
    number = store.record_intent(lease, run, batch(ANNA), {}, START)
    refused = ContactOutcome(Outcome.REJECTED, "contact was merged", Rejection.DELETED)
    store.record_answer(lease, number, {ANNA: refused}, {}, LATER)
    for state in (store, home.reader()):
        (found,) = state.read_batches(run)
        assert found.answers[ANNA].verdict == refused


def test_there_is_nothing_to_unlock_where_nobody_works(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.release_lease(lease)
    for location, given in ((HERE, "lease-one"), (HERE, ""), (THERE, "lease-one")):
        with pytest.raises(UsageError) as caught:
            home.store(location).unlock_lease(given)
        assert "is not locked" in caught.value.message


def test_whoever_was_unlocked_is_refused(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    home.store().unlock_lease("lease-one")
    with pytest.raises(LeaseLost):
        store.save_states(lease, {ANNA: seen("a")})

    assert contents(home.reader().load_state())[3] == {}


def test_a_lease_of_another_location_is_no_hindrance(home: Home) -> None:
    store = home.store()
    taken(store)

    assert taken(home.store(THERE), name="two").location == THERE


def test_a_released_lease_is_free(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.release_lease(lease)

    assert taken(home.store(), name="two").fence > lease.fence


def test_an_expired_lease_is_taken_over_with_a_higher_fence(home: Home) -> None:
    lease = taken(home.store())
    second = taken(home.store(), name="two", now=lease.expires)

    assert second.fence > lease.fence
    assert second.expires == lease.expires + TTL_MS


def test_a_renewed_lease_lives_longer(home: Home) -> None:
    store = home.store()
    lease = store.renew_lease(taken(store), Instant(START + 60_000))
    with pytest.raises(LockHeld):
        taken(home.store(), name="two", now=START + TTL_MS)

    assert lease.expires == START + 60_000 + TTL_MS


def test_an_expired_lease_that_nobody_took_is_still_good(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    renewed = store.renew_lease(lease, Instant(lease.expires + 1))

    assert (renewed.fence, renewed.holder) == (lease.fence, lease.holder)


def of_this_host(pid: int, **unlike: str) -> Holder:
    """A holder of this host, boot and PID namespace, but for what is given."""
    holder = a_holder("one", host=socket.gethostname(), pid=pid)
    return replace(holder, **{**asdict(origin_of_this_process()), **unlike})


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_dead_holder_on_this_host_loses_its_lease_at_once(home: Home, dead: int) -> None:
    store = home.store()
    first = store.acquire_lease(of_this_host(dead), START)

    assert taken(home.store(), name="two").fence > first.fence


def test_a_living_holder_on_this_host_keeps_its_lease(home: Home) -> None:
    home.store().acquire_lease(of_this_host(os.getpid()), START)
    with pytest.raises(LockHeld):
        taken(home.store(), name="two")


def test_a_holder_whose_number_another_process_has_by_now_is_dead(home: Home) -> None:
    home.store().acquire_lease(of_this_host(os.getpid(), process_start="1"), START)

    assert taken(home.store(), name="two").fence == 2


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "unlike",
    [
        {"host": "elsewhere"},
        {"boot_id": "00000000-0000-4000-8000-000000000000"},
        {"pid_namespace": "pid:[1]"},
        {"boot_id": ""},
        {"pid_namespace": ""},
        {"process_start": ""},
        {"boot_id": "", "pid_namespace": "", "process_start": ""},
    ],
    ids=lambda unlike: " ".join(f"{key}={value or 'unknown'}" for key, value in unlike.items()),
)
def test_a_dead_process_of_the_same_number_tells_nothing_of_another_host_boot_or_namespace(
    home: Home, dead: int, unlike: dict[str, str]
) -> None:
    home.store().acquire_lease(of_this_host(dead, **unlike), START)
    with pytest.raises(LockHeld):
        taken(home.store(), name="two")
    # it is over with its time
    assert taken(home.store(), name="two", now=START + TTL_MS).fence == 2


WRITES: dict[str, Callable[[LocationStore, Lease, str, int], object]] = {
    "renew": lambda store, lease, run, number: store.renew_lease(lease, LATER),
    "release": lambda store, lease, run, number: store.release_lease(lease),
    "begin_run": lambda store, lease, run, number: store.begin_run(lease, header()),
    "end_run": lambda store, lease, run, number: store.end_run(
        lease, run, RunStatus.COMPLETE, LATER, set_sizes={SetName("s"): 9}
    ),
    "manage": lambda store, lease, run, number: store.save_adoptions(
        lease, run, {ANNA: contact_state(ledger=tags("stolen"))}
    ),
    "note": lambda store, lease, run, number: store.save_facts(lease, LocationFacts(moves_updated=True)),
    "learn": lambda store, lease, run, number: store.save_states(lease, {ANNA: seen("stolen")}),
    "intend": lambda store, lease, run, number: store.record_intent(
        lease, run, batch(ANNA), {ANNA: seen("stolen")}, LATER
    ),
    "record": lambda store, lease, run, number: store.record_answer(
        lease, number, {ANNA: applied("x")}, {ANNA: seen("stolen")}, LATER
    ),
    "withdraw": lambda store, lease, run, number: store.withdraw_batch(lease, number, {ANNA: seen("stolen")}, LATER),
    "forget": lambda store, lease, run, number: store.forget_contacts(lease, [ANNA]),
    "replace": lambda store, lease, run, number: store.replace_state(lease, LocationState(HERE, "x", 9), (), {}),
    "prune": lambda store, lease, run, number: store.prune_journal(lease, 0),
    "save_snapshots": lambda store, lease, run, number: store.save_snapshots(lease, {SetName("s"): snapshot(ANNA)}),
    "drop_snapshots": lambda store, lease, run, number: store.drop_snapshots(lease, [SetName("s")]),
    "save_people": lambda store, lease, run, number: store.save_people(lease, PeopleLot(IndexStatus("other"))),
}


@pytest.mark.one_in(7)
@pytest.mark.parametrize("write", sorted(WRITES))
@pytest.mark.parametrize("taken_over", [True, False])
def test_every_write_under_a_lease_that_ended_is_refused(home: Home, write: str, taken_over: bool) -> None:
    old, new = home.store(), home.store()
    lease = taken(old)
    run = old.begin_run(lease, header())
    number = old.record_intent(lease, run, batch(ANNA), {ANNA: NEVER_OBSERVED}, START)
    if taken_over:
        taken(new, name="two", now=lease.expires)
    else:
        old.release_lease(lease)
    before = contents(new.load_state()), list(new.read_runs()), new.read_snapshots(), new.read_people()
    with pytest.raises(LeaseLost):
        WRITES[write](old, lease, run, number)

    assert (contents(new.load_state()), list(new.read_runs()), new.read_snapshots(), new.read_people()) == before


@pytest.mark.parametrize(
    "facts",
    [
        NO_FACTS,
        LocationFacts(moves_updated=True),
        LocationFacts(moves_updated=False, max_contacts=250, max_tags=1),
        LocationFacts(max_contacts=250, limits_at=LATER),
        LocationFacts(tried=(TriedRow("case", TrialVerdict.OPEN, "not asked", LATER),)),
        LocationFacts(aliases=((Tag("caf\u00e9"), Tag("cafe\u0301")), (Tag("x  y"), Tag("x y")))),
    ],
)
def test_what_a_location_taught_us_comes_back_whole(home: Home, facts: LocationFacts) -> None:
    store = home.store()
    lease = taken(store)
    store.save_facts(lease, LocationFacts(moves_updated=False, max_contacts=7))
    store.save_facts(lease, facts)

    for state in (store, home.reader(), home.store()):
        assert state.load_state().facts == facts


def test_what_was_known_of_a_location_already_leaves_the_serial_alone(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    serials = [store.load_state().serial]
    for facts in (NO_FACTS, LocationFacts(max_tags=3), LocationFacts(max_tags=3), LocationFacts(max_tags=2)):
        store.save_facts(lease, facts)
        serials.append(store.load_state().serial)

    assert serials == [0, 0, 1, 1, 2]
    assert home.store(THERE).load_state().facts == NO_FACTS


def test_the_same_holder_under_a_newer_fence_makes_the_older_lease_void(home: Home) -> None:
    store = home.store()
    first = taken(store)
    second = taken(store, now=first.expires)
    with pytest.raises(LeaseLost):
        store.save_states(first, {ANNA: seen("a")})
    store.save_states(second, {ANNA: seen("b")})

    assert store.load_state().observed[ANNA] == seen("b")


def test_patterns_that_nobody_has_any_more_are_swept(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    for nth in range(50):
        store.save_states(lease, {ANNA: seen(str(nth)), BERT: seen("b")})
    store.end_run(lease, store.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes={})

    loaded = home.reader().load_state().observed
    assert set(loaded.patterns) == {NEVER_OBSERVED, seen("49"), seen("b")}
    assert (loaded[ANNA], loaded[BERT]) == (seen("49"), seen("b"))


def test_after_a_sweep_everything_can_be_learnt_again(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    for known in (seen("a"), seen("b"), seen("a")):
        store.save_states(lease, {ANNA: known})
        store.end_run(lease, store.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes={})

    assert home.reader().load_state().observed[ANNA] == seen("a")


def test_contacts_that_share_everything_share_a_pattern(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    for nth in range(20):
        store.save_states(lease, {ContactId(f"c{nth}"): seen("a")})
    taken(home.store(THERE))
    home.store().save_states(lease, {ContactId("another"): seen("a")})

    loaded = home.reader().load_state().observed
    assert (len(loaded), len(loaded.patterns)) == (21, 2)


def test_a_refused_write_leaves_no_trace_in_the_next_one(home: Home) -> None:
    store, other = home.store(), home.store(THERE)
    lease = taken(store)
    other_lease = taken(other, name="two")
    with pytest.raises(LeaseLost):
        store.save_states(replace(lease, fence=99), {ANNA: seen("a", "b")})
    other.save_states(other_lease, {ANNA: seen("something else")})
    store.save_states(lease, {ANNA: seen("a", "b")})

    assert home.reader().load_state().observed[ANNA] == seen("a", "b")


@pytest.mark.slow
def test_whoever_opens_it_after_a_step_sees_the_same(home: Home) -> None:
    state = home.state()
    store = state.at(HERE)
    lease = taken(store)

    def everybody_sees_the_same() -> None:
        states: list[StateReader] = [state, home.look(), home.state()]
        first, *rest = [
            (contents(each.at(HERE).load_state()), list(each.at(HERE).read_runs()), list(each.list_locations()))
            for each in states
        ]
        assert rest == [first, first]

    everybody_sees_the_same()
    store.save_states(lease, {ANNA: seen("a")})
    everybody_sees_the_same()
    run = store.begin_run(lease, header())
    everybody_sees_the_same()
    number = store.record_intent(
        lease, run, batch(ANNA, CARA), {ANNA: seen("a"), CARA: contact_state(ledger=tags("x"))}, START
    )
    everybody_sees_the_same()
    store.record_answer(lease, number, {ANNA: applied("x"), CARA: applied("x")}, {ANNA: seen("a", "x")}, LATER)
    everybody_sees_the_same()
    number = store.record_intent(lease, run, batch(BERT), {BERT: contact_state(ledger=tags("x"))}, START)
    store.withdraw_batch(lease, number, {BERT: NEVER_OBSERVED}, LATER)
    everybody_sees_the_same()
    store.end_run(lease, run, RunStatus.COMPLETE, LATER, set_sizes={SetName("s"): 1}, ending=ENDING)
    everybody_sees_the_same()
    store.release_lease(lease)
    everybody_sees_the_same()


def test_a_reader_sees_what_was_written_after_it_opened(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    reader = home.reader()
    store.save_states(lease, {ANNA: seen("a")})
    first = reader.load_state()
    store.save_states(lease, {ANNA: seen("b")})

    assert first.observed[ANNA] == seen("a")
    assert reader.load_state().observed[ANNA] == seen("b")


def test_a_store_that_comes_back_after_another_one_knows_what_that_one_swept(home: Home) -> None:
    first, second = home.store(), home.store()
    lease = taken(first)
    first.save_states(lease, {ANNA: seen("a")})
    first.release_lease(lease)
    lease = taken(second, name="two")
    second.save_states(lease, {ANNA: seen("b")})
    second.end_run(lease, second.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes={})
    second.release_lease(lease)
    first.save_states(taken(first), {ANNA: seen("a")})

    assert home.reader().load_state().observed[ANNA] == seen("a")


def learnt(reader: LocationReader) -> dict[ContactId, ContactState]:
    return dict(reader.load_state().observed.items())


def sweep(store: LocationStore, lease: Lease) -> None:
    store.end_run(lease, store.begin_run(lease, header()), RunStatus.COMPLETE, LATER, set_sizes={})


def replace_by_nothing(store: LocationStore, lease: Lease) -> None:
    state = store.load_state()
    store.replace_state(lease, replace(state, observed=ContactStates({}, [NEVER_OBSERVED])), (), {})


@pytest.mark.slow
@pytest.mark.parametrize("delete", [sweep, replace_by_nothing])
@pytest.mark.parametrize("leases", ["one lease", "a lease each", "a lease between"])
def test_a_connection_writes_no_number_that_another_one_deleted(
    home: Home, delete: Callable[[LocationStore, Lease], None], leases: str
) -> None:
    state = home.state()
    with state.connect(HERE) as first, state.connect(HERE) as second, state.connect(HERE) as third:
        lease = taken(first)
        first.save_states(lease, {ANNA: seen("a"), BERT: seen("b"), CARA: seen("c")})
        if leases != "one lease":
            first.release_lease(lease)
            lease = taken(second, name="two")
        # the numbers of the first three are void, and given again
        second.save_states(lease, {ANNA: seen("x"), BERT: seen("x"), CARA: seen("x")})
        delete(second, lease)
        second.save_states(lease, {ANNA: seen("y"), BERT: seen("z"), CARA: seen("w")})
        if leases == "a lease each":
            second.release_lease(lease)
            lease = taken(first)
        if leases == "a lease between":
            second.release_lease(lease)
            lease = taken(third, name="three")
        first.save_states(lease, {ANNA: seen("a"), BERT: seen("b")})
        second.save_states(lease, {CARA: seen("x")})
        expected = {ANNA: seen("a"), BERT: seen("b"), CARA: seen("x")}
        for each in (first, second, third, state.at(HERE), home.reader()):
            assert learnt(each) == expected
        assert not state.find_faults()


def test_a_connection_sees_at_once_what_another_one_committed(home: Home) -> None:
    state = home.state()
    with state.connect(HERE) as first, state.connect(HERE) as second:
        lease = taken(first)
        run = first.begin_run(lease, header())
        number = second.record_intent(lease, run, batch(ANNA), {ANNA: contact_state(ledger=tags("x"))}, START)
        assert first.load_state().observed[ANNA].doubt
        first.record_answer(lease, number, {ANNA: applied("x")}, {ANNA: seen("x")}, LATER)
        assert second.load_state().observed[ANNA] == seen("x")
        assert second.forget_contacts(lease, [ANNA]) == frozenset()
        first.save_states(lease, {ANNA: seen("a")})
        first.prune_journal(lease, 0)
        number = second.record_intent(lease, run, batch(ANNA, BERT), {}, START)
        first.withdraw_batch(lease, number, {BERT: seen("b")}, LATER)
        assert learnt(second) == {ANNA: seen("a"), BERT: seen("b")}
        first.release_lease(lease)
        with pytest.raises(LeaseLost):
            second.save_states(lease, {ANNA: seen("late")})


@pytest.mark.slow
def test_connections_of_many_threads_are_each_heard_in_full(home: Home) -> None:
    state = home.state()

    def work(nth: int) -> dict[ContactId, ContactState]:
        location = LocationId(f"place-{nth}")
        contacts = [ContactId(f"{nth}-{each}") for each in range(10)]
        known: dict[ContactId, ContactState] = {}
        with state.connect(location) as store:
            lease = taken(store, name=str(nth))
            for turn in range(10):
                known = {each: seen(f"{(nth + turn) % 4}-{turn}-{at}") for at, each in enumerate(contacts)}
                store.save_states(lease, known)
                sweep(store, lease)
            store.release_lease(lease)
        return known

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(work, range(4)))
    for nth, known in enumerate(found):
        assert learnt(home.reader(LocationId(f"place-{nth}"))) == known


def everything(store: StateReader, location: LocationId = HERE) -> Portable:
    return Portable(
        store.at(location).load_state(),
        tuple(read_log(store, run) for run in store.at(location).read_runs()),
        store.at(location).read_snapshots(),
    )


def documents(store: StateReader) -> list[object]:
    return [state_document([everything(store, location)]) for location in store.list_locations()]


def test_everything_can_be_replaced_by_what_another_state_holds(home: Home) -> None:
    state = home.state()
    store = state.at(HERE)
    fill(state)
    before = documents(state)
    saved = everything(state)
    lease = taken(store, now=START + TTL_MS)
    store.save_states(lease, {ANNA: seen("other"), ContactId("more"): seen("z")})
    store.begin_run(lease, header())
    store.replace_state(lease, saved.state, saved.runs, saved.snapshots)

    assert documents(home.look()) == before
    store.save_states(lease, {ANNA: seen("other")})
    assert store.load_state().observed[ANNA] == seen("other")
    assert list(store.find_faults()) == []


def test_a_forgotten_contact_is_nowhere_any_more(home: Home) -> None:
    store = home.store()
    lease = taken(store)
    store.save_states(lease, {ANNA: seen("a"), BERT: seen("b")})
    run = store.begin_run(lease, header())
    number = store.record_intent(lease, run, batch(ANNA, BERT), {}, START)
    store.record_answer(lease, number, {ANNA: applied("x"), BERT: applied("x")}, {}, LATER)
    serial = store.load_state().serial
    store.forget_contacts(lease, [ANNA, CARA])

    state = home.reader()
    assert dict(state.load_state().observed.items()) == {BERT: seen("b")}
    assert state.load_state().serial > serial
    assert [list(each) for each in answers(state, run)] == [[BERT]]
    store.forget_contacts(lease, [ANNA, CARA])
    assert state.load_state().serial == serial + 1
    store.save_states(lease, {ANNA: seen("new")})
    assert state.load_state().observed[ANNA] == seen("new")


def test_the_trail_of_a_contact_is_what_was_done_to_it(home: Home) -> None:
    store = home.store()
    fill(home.state())
    first, _, third = store.read_runs()
    state = home.reader()

    assert [(run, tuple(each.answers)) for run, each in state.read_trail(sample.ANNA)] == [(first.id, (sample.ANNA,))]
    assert [run for run, _ in state.read_trail(sample.DORA)] == [third.id]
    assert list(state.read_trail(ContactId("nobody"))) == list(home.reader(THERE).read_trail(sample.DORA)) == []


def test_a_state_that_we_wrote_is_sound(home: Home) -> None:
    state = home.state()
    assert list(home.look().find_faults()) == []
    fill(state)

    assert list(state.find_faults()) == list(home.look().find_faults()) == []
    for location in state.list_locations():
        assert verify(everything(state, location), now=Instant(START + 60_000)) == ()
