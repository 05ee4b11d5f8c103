"""What a reading makes of a doubt: the proof that an addition may be sent once more, and how it is learnt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.api_limits import NO_FACTS, LocationFacts
from reconciler.core.model.contact_changes import record_observation
from reconciler.core.model.contact_state import (
    NONE,
    QUARANTINE_MS,
    ContactReading,
    ContactState,
    Doubt,
    ObservationOrigin,
    Quarantine,
)
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.running.doubt import (
    SLACK_ELSEWHERE_MS,
    SLACK_MS,
    Settled,
    decidable_doubts,
    first_doubt,
    is_decidable,
    is_open,
    is_untouched,
    moved_by_journal,
    moves_updated,
    open_doubts,
    sent_to_add,
    settle_doubt,
)
from tests.build import a_set, contact_state, declare, fields_of, ids, state, tags
from tests.fakes import START

(ANNA,) = ids("anna")
AHEAD = 3_600_000
"""The server's clock is an hour ahead of ours."""


def at(milliseconds: int) -> Instant:
    return Instant(START + milliseconds)


def a_reading(updated: int | None, *, carried: str = "", served: bool = True) -> ContactReading:
    """Read after 100 s; the contact changed last at `updated`, by the server's clock."""
    then = None if updated is None else at(AHEAD + updated)
    return ContactReading(at(100_000), at(100_200), at(AHEAD + 100_200) if served else None, then, tags(carried))


@pytest.mark.parametrize(
    ("updated", "served", "untouched"),
    [
        (-60_000, True, True),
        (-SLACK_MS - 1, True, True),
        (-SLACK_MS, True, False),
        (0, True, False),
        (300, True, False),
        (None, True, False),
        (-60_000, False, False),
    ],
)
def test_untouched_is_what_changed_before_the_request_on_the_servers_clock(
    updated: int | None, served: bool, untouched: bool
) -> None:
    assert is_untouched(a_reading(updated, served=served), at(0)) is untouched


def test_nothing_proves_anything_about_a_request_that_nobody_knows() -> None:
    assert not is_untouched(a_reading(-60_000), None)


@pytest.mark.parametrize(
    ("updated", "moves"),
    [
        (100, True),
        (0, True),
        (300 + SLACK_MS, True),
        (301 + SLACK_MS, None),
        (-1, None),
        (-SLACK_MS, None),
        (-SLACK_MS - 1, False),
        (-60_000, False),
        (90_000, None),
        (None, None),
    ],
)
def test_a_known_write_tells_whether_the_date_moves(updated: int | None, moves: bool | None) -> None:
    assert moves_updated(a_reading(updated), at(0), at(300), tags("")) is moves


@pytest.mark.parametrize("updated", [100, -60_000])
def test_a_known_write_to_a_contact_that_reads_otherwise_tells_nothing(updated: int) -> None:
    """Others edited it since, or it was read from a copy that is behind."""
    assert moves_updated(a_reading(updated, carried="a"), at(0), at(300), tags("a welcome")) is None


def test_without_the_servers_time_nothing_is_learnt() -> None:
    assert moves_updated(a_reading(100, served=False), at(0), at(300), tags("")) is None


def record(intended: int, tag: str, outcome: Outcome | None, action: Action = Action.ADD) -> BatchRecord:
    answer = Answer(None if outcome is None else ContactOutcome(outcome))
    return BatchRecord(action, (Tag(tag),), at(intended), None, BatchStatus.IN_DOUBT, {ANNA: answer})


def test_a_doubt_begins_with_the_first_request_that_may_have_landed() -> None:
    trail = [
        record(1, "x", Outcome.NOT_SENT),
        record(2, "x", Outcome.IN_DOUBT, Action.REMOVE),
        record(3, "y", Outcome.IN_DOUBT),
        record(4, "x", None),
        record(5, "x", Outcome.IN_DOUBT),
    ]
    assert first_doubt(ANNA, Tag("x"), trail) == at(4)
    assert first_doubt(ANNA, Tag("z"), trail) is None


@pytest.mark.parametrize(
    ("known", "is_so"),
    [
        (ContactState(), False),
        (contact_state(doubt=tags("x"), doubt_at=at(0)), True),
        (contact_state(tags(""), at(5), ObservationOrigin.GET, doubt=tags("x"), doubt_at=at(0)), True),
        (contact_state(tags(""), at(10), ObservationOrigin.GET, doubt=tags("x"), doubt_at=at(0)), False),
    ],
)
def test_a_doubt_is_open_until_it_was_read_after_it_settled(known: ContactState, is_so: bool) -> None:
    assert is_open(known, 10) is is_so


some_tags = st.frozensets(st.sampled_from(tuple(sorted(tags("v w x y z")))))


@given(some_tags, some_tags, some_tags, some_tags, some_tags, some_tags)
def test_every_pair_in_doubt_is_seen_or_sent_once_more_or_held(
    doubt: TagSet, carried: TagSet, adds: TagSet, proven: TagSet, undecided: TagSet, tried: TagSet
) -> None:
    adds &= doubt
    undecided &= adds - proven
    since = at(0) if doubt else None
    before = contact_state(
        tags("v"), at(-9), ObservationOrigin.GET, ledger=doubt, doubt=doubt, doubt_at=since, unconfirmed=doubt
    )
    reading = ContactReading(at(100), at(101), tags=carried)
    how = {"proven": proven & adds, "undecided": undecided, "tried": tried}
    found = settle_doubt(before, reading, adds, **how, settle_ms=50)

    assert found.seen | found.again | found.held == doubt
    assert len(found.seen) + len(found.again) + len(found.held) == len(doubt)
    assert found.seen == {tag for tag in doubt if (tag in carried) == (tag in adds)}
    assert not found.again & tried
    assert (found.again & adds) <= proven
    assert (found.known.observed, found.known.doubtful) == (carried, found.held)
    assert found.known.ledger.tags == doubt - (found.again & adds)
    # that it is not there, as is desired now, tells nothing of the addition
    assert found.known.ledger.unconfirmed == found.known.ledger.tags - carried
    # what stays held is not read again
    assert not is_open(found.known, 50)
    # the reading is kept for what it may decide one day
    assert fields_of(found.known)["reading"] == (reading if undecided & found.held else None)
    assert is_decidable(found.known, LocationFacts(moves_updated=True)) is bool(undecided & found.held)
    assert not is_decidable(found.known, LocationFacts(moves_updated=False))
    assert not is_decidable(found.known, NO_FACTS)


def test_a_kept_reading_ends_with_the_next_doubt_and_the_next_observation() -> None:
    reading = ContactReading(at(100), at(101), at(AHEAD), at(-9), tags("a"))
    held = contact_state(tags("a"), at(100), ObservationOrigin.GET, doubt=tags("x"), doubt_at=at(0), reading=reading)

    assert fields_of(held.with_doubt(tags("y"), at(200)))["reading"] is None
    assert (
        fields_of(record_observation(held, tags("a"), at=at(300), origin=ObservationOrigin.WRITE, settle_ms=50))[
            "reading"
        ]
        is None
    )


def a_write(sent: int, left: str, *, took: int = 300, outcome: Outcome = Outcome.APPLIED) -> BatchRecord:
    """An answered request that left the contact with these tags."""
    verdict = ContactOutcome(outcome, old=tags(""), added=tags(left))
    return BatchRecord(
        Action.ADD, (Tag("a"),), at(sent), at(sent + took), BatchStatus.ANSWERED, {ANNA: Answer(verdict)}
    )


@pytest.mark.parametrize(
    ("updated", "moves"),
    [
        (100, True),
        (-SLACK_MS, True),
        (300 + SLACK_MS, True),
        (301 + SLACK_MS, None),
        (-SLACK_MS - 1, None),
        (-SLACK_ELSEWHERE_MS, None),
        (-SLACK_ELSEWHERE_MS - 1, False),
        (None, None),
    ],
)
def test_a_contact_that_reads_as_an_earlier_write_left_it_tells_whether_the_date_moves(
    updated: int | None, moves: bool | None
) -> None:
    # the rows of older requests may be kept no longer
    pruned = replace(record(70_000, "d", None), answers={})
    later = [record(50_000, "b", None), record(60_000, "c", Outcome.NOOP), pruned]
    reading = a_reading(updated, carried="a")

    assert moved_by_journal(ANNA, reading, [a_write(-900_000, "z"), a_write(0, "a"), *later]) is moves


@pytest.mark.parametrize(
    "trail",
    [
        [],
        [record(0, "a", None)],
        [a_write(0, "a", outcome=Outcome.NOOP)],
        [a_write(0, "a b")],
        [a_write(0, "a"), a_write(50_000, "b")],
        [replace(a_write(0, "a"), ended=None)],
    ],
)
def test_a_contact_that_reads_otherwise_or_was_never_surely_changed_tells_nothing(trail: list[BatchRecord]) -> None:
    for updated in (100, -900_000):
        assert moved_by_journal(ANNA, a_reading(updated, carried="a"), trail) is None


def test_without_the_servers_time_an_earlier_write_tells_nothing() -> None:
    assert moved_by_journal(ANNA, a_reading(100, carried="a", served=False), [a_write(0, "a")]) is None


def test_what_a_reading_settles_is_told_with_what_is_known_then() -> None:
    before = contact_state(
        tags("v"),
        at(-9),
        ObservationOrigin.WRITE,
        ledger=tags("kept lost new seen"),
        unconfirmed=tags("kept lost new seen"),
        doubt=tags("kept lost new seen gone there"),
        doubt_at=at(0),
    )
    reading = ContactReading(at(100), at(101), at(AHEAD), at(-5), tags("seen there v"))
    adds, may = tags("kept lost new seen"), {"proven": tags("new"), "undecided": tags("lost"), "tried": NONE}
    found = settle_doubt(before, reading, adds, **may, settle_ms=50)
    assert (found.seen, found.again, found.held) == (tags("seen gone"), tags("new there"), tags("kept lost"))
    assert found.known == contact_state(
        tags("seen there v"),
        at(100),
        ObservationOrigin.GET,
        ledger=tags("kept lost seen"),
        unconfirmed=tags("kept lost"),
        doubt=tags("kept lost"),
        doubt_at=at(0),
        reading=reading,
    )


def test_a_reading_settles_nothing_where_nothing_is_in_doubt() -> None:
    reading = ContactReading(at(100), at(101), tags=tags("a"))
    how = {"proven": NONE, "undecided": NONE, "tried": NONE}
    known = contact_state(tags("a"), at(100), ObservationOrigin.GET)
    assert settle_doubt(ContactState(), reading, NONE, **how, settle_ms=50) == Settled(NONE, NONE, NONE, known)


def test_the_doubts_that_reading_may_settle_are_those_of_contacts_that_are_not_refused() -> None:
    reading = ContactReading(at(20), at(20))
    doubt, read = Doubt(tags("vip"), at(0)), Doubt(tags("vip"), at(0), reading)
    refused = Quarantine(Rejection.DELETED, at(0), at(0), frozenset({next(iter(WANTED.set_names))}))
    observed = contact_state(NONE, at(20), ObservationOrigin.GET)
    known = {
        "anna": ContactState(doubt=doubt),
        "bert": replace(observed, doubt=read),
        "cara": ContactState(doubt=doubt, quarantine=refused),
        "dora": replace(observed, doubt=read, quarantine=refused),
        # it is of other sets than it was when it was refused, and is tried again
        "emil": ContactState(doubt=doubt, quarantine=refused),
        "fred": observed,
    }
    states, (anna, bert, cara, dora, emil, _) = state(**known), ids("anna bert cara dora emil fred")
    moves = LocationFacts(moves_updated=True)

    def still_open(now: int, settle_ms: int = 10) -> dict[ContactId, ContactState]:
        return open_doubts(states, WANTED, settle_ms=settle_ms, now=at(now))

    assert still_open(9) == {anna: known["anna"], emil: known["emil"]}
    assert still_open(9, settle_ms=21).keys() == {anna, bert, emil}
    # a quarantine ends after a month
    assert still_open(QUARANTINE_MS).keys() == {anna, cara, emil}
    assert decidable_doubts(states, WANTED, moves, at(9)) == {bert: known["bert"]}
    assert decidable_doubts(states, WANTED, moves, at(QUARANTINE_MS)).keys() == {bert, dora}
    assert decidable_doubts(states, WANTED, NO_FACTS, at(9)) == {}


WANTED = declare(a_set("s", "anna bert cara dora", "vip"))


def test_the_last_request_of_unknown_effect_tells_whether_it_was_to_add() -> None:
    bert = ids("bert")[0]
    trail = [
        record(1, "x", None, Action.REMOVE),
        record(2, "x", Outcome.HELD),
        record(3, "y", Outcome.IN_DOUBT),
        record(4, "y", None, Action.REMOVE),
        record(5, "y", Outcome.APPLIED),
        record(6, "z", Outcome.REJECTED),
        replace(record(7, "x", None, Action.REMOVE), answers={bert: Answer(None)}),
        record(8, "other", None),
    ]
    assert sent_to_add(ANNA, tags("x y z"), trail) == {"x": True, "y": False}
    assert sent_to_add(bert, tags("x y z"), trail) == {"x": False}
