"""What becomes known: an answer is the next observation, an older one changes nothing, a doubt outlives haste."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.contact_changes import (
    ObservedContacts,
    adopt_pairs,
    record_answer,
    record_intent,
    record_observation,
    release_pairs,
    withdraw_intent,
)
from reconciler.core.model.contact_state import (
    NEVER_OBSERVED,
    ContactState,
    ContactStates,
    Doubt,
    Ledger,
    Observation,
    ObservationOrigin,
    Quarantine,
)
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.observing.refresh_rules import record_observations
from tests.build import DAY, NOW, SETTLE, carries, changed_state, fields_of, ids, state, tags, unseen

ADD, REMOVE = Action.ADD, Action.REMOVE
IN_DOUBT = ContactOutcome(Outcome.IN_DOUBT)
DELETED = ContactOutcome(Outcome.REJECTED, rejection=Rejection.DELETED)


def applied(old: str, added: str = "", removed: str = "") -> ContactOutcome:
    return ContactOutcome(Outcome.APPLIED, old=tags(old), added=tags(added), removed=tags(removed))


def answer(known: ContactState, verdict: ContactOutcome, action: Action, text: str, *, at: int = NOW) -> ContactState:
    return record_answer(
        known, verdict, action, tags(text), sent=Instant(at - 1_000), answered=Instant(at), settle_ms=SETTLE
    )


def look(known: ContactState, text: str, *, at: int) -> ContactState:
    return record_observation(known, tags(text), at=Instant(at), origin=ObservationOrigin.GET, settle_ms=SETTLE)


def test_an_answer_is_the_next_observation() -> None:
    known = answer(NEVER_OBSERVED, applied("y", added="x"), ADD, "x")
    assert (known.observed, known.observed_at, known.origin) == (tags("x y"), NOW, ObservationOrigin.WRITE)


def test_an_intended_add_is_under_management_from_here_on() -> None:
    known = record_intent(carries("y"), ADD, tags("x y"), keep=tags("x z"), at=Instant(NOW))
    assert (known.ledger.tags, known.ledger.kept) == (tags("x y"), tags("x"))


def test_an_intended_removal_changes_nothing_that_is_known() -> None:
    known = carries("x", ledger="x")
    assert record_intent(known, REMOVE, tags("x"), keep=tags(""), at=Instant(NOW)) == known


def test_what_had_no_effect_is_withdrawn_whole() -> None:
    before = carries("y", ledger="x y", kept="y")
    assert withdraw_intent(record_intent(before, ADD, tags("x y z"), keep=tags("z"), at=Instant(NOW)), before) == before


def test_a_removed_tag_leaves_the_ledger_and_one_that_stayed_does_not() -> None:
    known = answer(carries("x y", ledger="x y", kept="x"), applied("x y", removed="x"), REMOVE, "x y")
    assert (known.ledger.tags, known.ledger.kept) == (tags("y"), tags(""))


def test_a_rejected_add_leaves_the_ledger_and_quarantines_the_contact() -> None:
    known = answer(record_intent(carries(""), ADD, tags("x"), keep=tags("x"), at=Instant(NOW)), DELETED, ADD, "x")
    assert (
        known.ledger.tags,
        known.ledger.kept,
        fields_of(known)["quarantine"],
        fields_of(known)["quarantined_at"],
    ) == (
        tags(""),
        tags(""),
        "deleted",
        NOW,
    )


def test_a_rejected_add_in_doubt_from_before_stays_in_the_ledger() -> None:
    assert answer(unseen(ledger="x", doubt="x"), DELETED, ADD, "x").ledger.tags == tags("x")


def test_a_rejected_removal_stays_in_the_ledger() -> None:
    assert answer(carries("x", ledger="x"), DELETED, REMOVE, "x").ledger.tags == tags("x")


def test_an_unclear_answer_leaves_a_doubt_as_old_as_its_sending() -> None:
    known = answer(carries("y", ledger="x"), IN_DOUBT, ADD, "x")
    assert (known.observed, known.doubtful, fields_of(known)["doubt_at"]) == (tags("y"), tags("x"), NOW - 1_000)


def test_a_later_doubt_makes_an_earlier_one_no_older() -> None:
    known = NEVER_OBSERVED.with_doubt(tags("x"), Instant(NOW)).with_doubt(tags("y"), Instant(NOW - DAY))
    assert (known.doubtful, fields_of(known)["doubt_at"]) == (tags("x y"), NOW)


def test_a_request_about_nothing_leaves_no_doubt() -> None:
    assert NEVER_OBSERVED.with_doubt(tags(""), NOW) == NEVER_OBSERVED


def test_a_doubt_ends_with_an_observation_after_its_request_could_land() -> None:
    doubtful = NEVER_OBSERVED.with_doubt(tags("x"), Instant(NOW))
    assert look(doubtful, "", at=NOW + SETTLE - 1).doubtful == tags("x")
    settled = look(doubtful, "", at=NOW + SETTLE)
    assert (settled.doubtful, fields_of(settled)["doubt_at"]) == (tags(""), None)


def test_the_answer_to_a_hasty_write_does_not_end_a_doubt() -> None:
    doubtful = record_intent(carries(""), ADD, tags("x"), keep=tags(""), at=Instant(NOW)).with_doubt(
        tags("x"), Instant(NOW)
    )
    hasty = answer(doubtful, applied("", added="y"), ADD, "y", at=NOW + 2_000)
    assert (hasty.observed, hasty.doubtful) == (tags("y"), tags("x"))
    # nor does a later one end that of an add that it does not show: a workflow may have consumed it
    assert answer(doubtful, applied("", added="y"), ADD, "y", at=NOW + SETTLE).doubtful == tags("x")
    assert answer(doubtful, applied("x", added="y"), ADD, "y", at=NOW + SETTLE).doubtful == tags("")


def test_a_hasty_removal_does_not_free_what_may_still_land() -> None:
    doubtful = record_intent(carries(""), ADD, tags("x"), keep=tags(""), at=Instant(NOW)).with_doubt(
        tags("x"), Instant(NOW)
    )
    assert answer(doubtful, applied(""), REMOVE, "x", at=NOW + 2_000).ledger.tags == tags("x")
    assert answer(doubtful, applied(""), REMOVE, "x", at=NOW + SETTLE).ledger.tags == tags("")


def test_an_older_observation_changes_nothing() -> None:
    known = carries("x", at=NOW)
    assert look(known, "y", at=NOW - 1) is known
    assert look(known, "y", at=NOW).observed == tags("y")


def test_being_seen_ends_a_quarantine() -> None:
    known = carries("x", quarantine=Rejection.DELETED, at=NOW)
    assert fields_of(look(known, "x", at=NOW))["quarantine"] is None


def test_having_been_seen_before_it_began_does_not_end_a_quarantine() -> None:
    known = changed_state(carries("x", at=NOW - DAY), quarantine=Rejection.DELETED, quarantined_at=Instant(NOW))
    seen = look(known, "x y", at=NOW - 1)
    assert (seen.observed, fields_of(seen)["quarantine"], fields_of(seen)["quarantined_at"]) == (
        tags("x y"),
        "deleted",
        NOW,
    )


def test_adopting_and_releasing() -> None:
    adopted = adopt_pairs(carries("x y"), tags("x y"), keep=tags("x"))
    assert (adopted.ledger.tags, adopted.ledger.kept) == (tags("x y"), tags("x"))
    assert release_pairs(adopted, tags("x")) == carries("x y", ledger="y")


def test_contacts_that_share_everything_share_one_value() -> None:
    observed = state(anna=carries("x"), bert=carries("x"), cara=NEVER_OBSERVED)
    assert (len(observed), len(observed.patterns)) == (3, 2)
    assert observed[ids("nobody")[0]] is NEVER_OBSERVED


def test_what_was_read_together_becomes_known_of_each() -> None:
    observed = state(anna=carries("x", at=NOW), bert=carries("x", at=NOW - DAY))
    seen = ObservedContacts(tags("y"), Instant(NOW - 1), ObservationOrigin.SEARCH, ids("anna bert cara"))
    observed.update(dict(seen.apply_to(observed)))
    assert [observed[contact].observed for contact in seen.contacts] == [tags("x"), tags("y"), tags("y")]


words = st.frozensets(st.sampled_from(tuple(tags("x y z"))))
instants = st.integers(NOW - 10, NOW + 10).map(Instant)
knowns = st.builds(
    ContactState,
    observation=st.none() | st.builds(Observation, words, instants, st.just(ObservationOrigin.GET)),
    ledger=st.builds(Ledger, words),
    doubt=st.none() | st.builds(Doubt, words.filter(bool), instants),
    quarantine=st.none() | st.builds(Quarantine, st.sampled_from(Rejection), instants),
)


@given(knowns, st.lists(st.tuples(words, instants), max_size=4))
def test_an_observation_moves_time_forward_and_never_the_ledger(
    known: ContactState, seen: list[tuple[frozenset[str], Instant]]
) -> None:
    for found, at in seen:
        before = known
        known = record_observation(known, found, at=at, origin=ObservationOrigin.GET, settle_ms=0)  # type: ignore[arg-type]
        assert known.ledger.tags == before.ledger.tags
        assert known.doubtful in (before.doubtful, frozenset())
        assert (known.observed_at or 0) >= (before.observed_at or 0)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_whatever_the_order_the_newest_observation_wins(order: tuple[int, ...]) -> None:
    contact = ContactId("anna")
    seen = [ObservedContacts(tags(str(at)), Instant(at), ObservationOrigin.SEARCH, (contact,)) for at in (1, 2, 3)]
    observed = ContactStates()
    changed = record_observations(observed, [seen[place] for place in order])

    assert changed == {contact: observed[contact]}
    assert (observed[contact].observed, observed[contact].observed_at) == ({"3"}, 3)
    assert record_observations(observed, seen) == {}


def test_only_contacts_that_have_a_state_are_among_the_states() -> None:
    observed = ContactStates()
    observed.update({ContactId("c1"): ContactState()})
    assert ContactId("c1") in observed
    assert ContactId("c2") not in observed
