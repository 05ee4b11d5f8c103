"""The outcomes of a run partition the plan: every pair has one fate, from the beginning to the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.batch import Batch, Reason
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.journal import FailedChange, Surprises
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.changes import Change, Deferral, DeferralReason, Delta
from reconciler.core.running.pair_outcomes import PairOutcomes
from reconciler.core.running.stop_conditions import Surprise
from tests.build import carries, contact_state, ids, state, tags, unseen
from tests.fakes import START

PEOPLE, NONE = ids("anna bert cara"), tags("")
ADDS, REMOVES = ("a", "b", "c"), ("x", "y")

some_people = st.sets(st.sampled_from(PEOPLE), min_size=1).map(lambda who: tuple(sorted(who)))
some_adds = st.sets(st.sampled_from(ADDS), min_size=1).map(lambda found: tuple(Tag(tag) for tag in sorted(found)))


def verdict(asked: TagSet, kind: str) -> ContactOutcome:
    match kind:
        case "applied":
            return ContactOutcome(Outcome.APPLIED, old=frozenset(), added=asked)
        case "half":
            return ContactOutcome(Outcome.APPLIED, old=asked, added=frozenset(sorted(asked)[:1]))
        case "noop":
            return ContactOutcome(Outcome.NOOP, old=asked)
        case "rejected":
            return ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
    return ContactOutcome(Outcome.IN_DOUBT, "no answer")


@given(
    st.lists(st.tuples(some_people, some_adds), max_size=4),
    st.lists(st.tuples(some_people, some_adds, st.sampled_from(("applied", "half", "noop", "rejected", "doubt")))),
)
def test_every_pair_has_one_fate(
    planned: list[tuple[tuple[ContactId, ...], tuple[Tag, ...]]],
    sent: list[tuple[tuple[ContactId, ...], tuple[Tag, ...], str]],
) -> None:
    outcomes = PairOutcomes()
    deltas = [Delta(tuple(Change(Action.ADD, tag, Reason.DECLARED) for tag in found), who) for who, found in planned]
    outcomes.add_planned(deltas)
    pairs = {(contact, tag) for who, found in planned for contact in who for tag in found}
    assert outcomes.pairs(ContactStates()) == ({Outcome.NOT_SENT: len(pairs)} if pairs else {})
    for who, found, kind in sent:
        outcomes.record_batch(Batch(Action.ADD, who, found), dict.fromkeys(who, verdict(frozenset(found), kind)))
        pairs |= {(contact, tag) for contact in who for tag in found}
        assert sum(outcomes.pairs(ContactStates()).values()) == len(pairs)
    listed = [(each.contact, tag) for each in outcomes.findings() for tag in each.tags]
    assert len(listed) == len(set(listed))
    for each in outcomes.findings():
        assert outcomes.tags_with(each.contact, each.outcome) >= set(each.tags)


def test_what_was_applied_stays_applied_when_it_is_sent_again() -> None:
    anna, outcomes = PEOPLE[0], PairOutcomes()
    for kind in ("applied", "noop", "doubt", "rejected"):
        outcomes.record_batch(Batch(Action.ADD, (anna,), (Tag("a"),)), {anna: verdict(tags("a"), kind)})
    assert outcomes.pairs(ContactStates()) == {Outcome.APPLIED: 1}


def test_what_an_answer_told_to_be_as_it_should_is_not_seen_by_a_later_reading() -> None:
    """An older doubt about the pair is settled by a reading that a newer one, about another tag, needs."""
    outcomes = PairOutcomes()
    outcomes.record_batch(Batch(Action.REMOVE, PEOPLE[:1], tags("x")), {PEOPLE[0]: verdict(frozenset(), "noop")})
    outcomes.set_outcome(PEOPLE[0], frozenset(tags("x y")), Outcome.SEEN)

    assert outcomes.pairs(ContactStates()) == {Outcome.NOOP: 1, Outcome.SEEN: 1}


def test_what_was_as_it_should_be_is_in_doubt_once_a_later_request_about_it_is() -> None:
    outcomes, anna = PairOutcomes(), PEOPLE[0]
    for kind in ("noop", "doubt"):
        outcomes.record_batch(Batch(Action.ADD, (anna,), (Tag("a"),)), {anna: verdict(frozenset(), kind)})
    assert outcomes.pairs(ContactStates()) == {Outcome.IN_DOUBT: 1}


def test_a_deferral_is_open_until_an_answer_tells() -> None:
    anna, bert, _ = PEOPLE
    outcomes, observed = PairOutcomes(), ContactStates()
    outcomes.add_deferred([Deferral(DeferralReason.UNTIL_OBSERVED, (Tag("x"), Tag("y")), (anna, bert))])
    assert outcomes.pairs(observed) == {Outcome.DEFERRED: 4}
    observed.update({anna: contact_state(tags("x"), START, ObservationOrigin.WRITE)})
    outcomes.add_planned([Delta((Change(Action.REMOVE, Tag("x"), Reason.ABSENT),), (anna,))])
    assert outcomes.pairs(observed) == {Outcome.DEFERRED: 2, Outcome.NOT_SENT: 1}


def test_a_doubt_that_is_settled_lets_go_of_what_waited_for_it() -> None:
    anna, outcomes = PEOPLE[0], PairOutcomes()
    outcomes.record_batch(Batch(Action.ADD, (anna,), (Tag("a"), Tag("b"))), {anna: verdict(tags("a b"), "doubt")})
    assert outcomes.failed == {anna: tags("a b")}
    outcomes.set_outcome(anna, tags("a"), Outcome.SEEN)
    assert (outcomes.failed, outcomes.spent) == ({anna: tags("b")}, {anna: tags("a b")})
    assert [each.tags for each in outcomes.findings()] == [("b",)]
    outcomes.set_outcome(anna, tags("b"), Outcome.NOT_SENT)
    assert outcomes.spent == {anna: tags("a")}
    outcomes.record_batch(Batch(Action.ADD, (anna,), (Tag("b"),)), {anna: verdict(tags("b"), "applied")})
    assert (outcomes.failed, outcomes.findings()) == ({}, ())


def test_what_is_said_of_a_pair_last_is_listed() -> None:
    anna, outcomes = PEOPLE[0], PairOutcomes()
    outcomes.record_failure(anna, Action.ADD, tags("a b c"), Outcome.HELD, "first")
    outcomes.record_failure(anna, Action.ADD, tags("c"), Outcome.HELD, "second")
    outcomes.record_failure(anna, Action.ADD, tags("a"), Outcome.HELD, "then")
    assert [(each.tags, each.message) for each in outcomes.findings()] == [
        (("b",), "first"),
        (("c",), "second"),
        (("a",), "then"),
    ]


def test_what_was_not_sent_and_is_so_already_is_no_work_left() -> None:
    anna, outcomes, observed = PEOPLE[0], PairOutcomes(), ContactStates()
    there = (Change(Action.ADD, Tag("a"), Reason.DECLARED), Change(Action.ADD, Tag("b"), Reason.DECLARED))
    gone = (Change(Action.REMOVE, Tag("x"), Reason.ABSENT), Change(Action.REMOVE, Tag("y"), Reason.ABSENT))
    outcomes.add_planned([Delta(there + gone, (anna,))])
    observed.update({anna: contact_state(tags("a x"), START, ObservationOrigin.GET)})
    outcomes.close_unsent(lambda _: tags("a b"), observed)
    assert outcomes.pairs(observed) == {Outcome.NOOP: 2, Outcome.NOT_SENT: 2}
    assert outcomes.tags_with(anna, Outcome.NOT_SENT) == tags("b x")


def planned(*pairs: tuple[str, str]) -> PairOutcomes:
    """Additions, such as `("a b", "anna bert")`."""
    outcomes = PairOutcomes()
    outcomes.add_planned(
        Delta(tuple(Change(Action.ADD, tag, Reason.DECLARED) for tag in sorted(tags(text))), ids(who))
        for text, who in pairs
    )
    return outcomes


def test_what_a_batch_met_is_told_of_each_contact() -> None:
    anna, bert, cara = PEOPLE
    outcomes, batch = planned(("a b", "anna bert cara")), Batch(Action.ADD, PEOPLE, (Tag("b"), Tag("a")))
    outcomes.record_batch(
        batch, {anna: verdict(tags("a b"), "half"), bert: verdict(NONE, "rejected"), cara: verdict(NONE, "doubt")}
    )
    assert outcomes.fates == {
        anna: {("a", Outcome.APPLIED), ("b", Outcome.NOOP)},
        bert: {("a", Outcome.REJECTED), ("b", Outcome.REJECTED)},
        cara: {("a", Outcome.IN_DOUBT), ("b", Outcome.IN_DOUBT)},
    }
    assert outcomes.findings() == (
        FailedChange(bert, Outcome.REJECTED, Action.ADD, (Tag("a"), Tag("b")), "contact is deleted"),
        FailedChange(cara, Outcome.IN_DOUBT, Action.ADD, (Tag("a"), Tag("b")), "no answer"),
    )
    assert (outcomes.rejected, outcomes.failed) == ({bert}, {bert: tags("a b"), cara: tags("a b")})
    assert outcomes.given_up == {}


def test_a_removal_that_took_the_tag_is_applied_and_one_in_doubt_holds_no_removal_back() -> None:
    anna, bert, _ = PEOPLE
    outcomes = PairOutcomes()
    taken = ContactOutcome(Outcome.APPLIED, old=tags("x z"), removed=tags("x"))
    outcomes.record_batch(
        Batch(Action.REMOVE, (anna, bert), (Tag("x"), Tag("y"))), {anna: taken, bert: verdict(NONE, "doubt")}
    )
    assert outcomes.fates[anna] == {("x", Outcome.APPLIED), ("y", Outcome.NOOP)}
    assert outcomes.fates[bert] == {("x", Outcome.IN_DOUBT), ("y", Outcome.IN_DOUBT)}
    assert outcomes.failed == {}


@pytest.mark.parametrize(
    ("action", "awaited", "waits"),
    [
        (Action.ADD, None, True),
        (Action.REMOVE, None, False),
        (Action.ADD, False, False),
        (Action.REMOVE, True, True),
    ],
)
def test_removals_wait_for_additions_unless_it_is_said_otherwise(
    action: Action, awaited: bool | None, waits: bool
) -> None:
    outcomes = PairOutcomes()
    outcomes.record_failure(PEOPLE[0], action, tags("a"), Outcome.HELD, "m", awaited=awaited)
    outcomes.record_failure(PEOPLE[0], action, tags("b"), Outcome.HELD, "m", awaited=awaited)
    assert outcomes.failed == ({PEOPLE[0]: tags("a b")} if waits else {})


def test_a_pair_that_no_request_may_hold_is_given_up_and_not_sent_again() -> None:
    anna, bert, _ = PEOPLE
    outcomes = planned(("a b c", "anna"), ("a", "bert"))
    outcomes.record_failure(anna, Action.ADD, tags("a"), Outcome.NOT_SENT, "too long")
    outcomes.record_failure(anna, Action.ADD, tags("b"), Outcome.NOT_SENT, "too long")
    assert dict(outcomes.not_sent()) == {anna: tags("c"), bert: tags("a")}
    assert (outcomes.given_up, outcomes.spent) == ({anna: tags("a b")}, {anna: tags("a b")})
    outcomes.set_outcome(anna, tags("c"), Outcome.NOOP)
    assert (dict(outcomes.not_sent()), outcomes.spent) == ({bert: tags("a")}, {anna: tags("a b c")})


def test_what_is_sent_again_is_to_be_sent() -> None:
    outcomes = PairOutcomes()
    outcomes.add_planned([Reasserted(Action.ADD, (Tag("a"), Tag("b")), PEOPLE[:2])])
    assert outcomes.pairs(ContactStates()) == {Outcome.NOT_SENT: 4}


def test_what_ended_stays_so_when_it_is_planned_again() -> None:
    anna = PEOPLE[0]
    outcomes = planned(("a", "anna"))
    outcomes.set_outcome(anna, tags("a"), Outcome.HELD)
    outcomes.add_deferred([Deferral(DeferralReason.UNTIL_OBSERVED, (Tag("a"), Tag("x"), Tag("y")), (anna,))])
    outcomes.add_planned([Delta((Change(Action.REMOVE, Tag("x"), Reason.ABSENT),), (anna,))])
    assert outcomes.fates == {anna: {("a", Outcome.HELD), ("x", Outcome.NOT_SENT), ("y", Outcome.DEFERRED)}}
    outcomes.set_outcome(anna, NONE, Outcome.APPLIED)
    assert outcomes.tags_with(anna, Outcome.HELD, Outcome.DEFERRED) == tags("a y")


WORST_FIRST = ("rejected", "in_doubt", "held", "not_sent", "applied", "noop", "seen")


@pytest.mark.parametrize("place", range(len(WORST_FIRST)))
def test_the_worst_outcome_of_some_tags_is_counted_by_contact(place: int) -> None:
    anna, bert, cara = PEOPLE
    outcomes = PairOutcomes()
    for nth, outcome in enumerate(WORST_FIRST[place:]):
        for contact in (anna, bert):
            outcomes.set_outcome(contact, frozenset({Tag(f"t{nth}")}), Outcome(outcome))
    # of tags that are not asked for nothing counts
    outcomes.set_outcome(bert, tags("other"), Outcome.REJECTED)
    asked = frozenset(Tag(f"t{nth}") for nth in range(len(WORST_FIRST)))
    worst = Outcome(WORST_FIRST[place])
    assert outcomes.count_worst([anna, bert], asked) == {worst: 2}
    outcomes.set_outcome(anna, tags("more"), Outcome.HELD)
    assert outcomes.count_worst([anna, bert], asked) == {worst: 2}
    # a contact of which nothing is known was not sent
    assert outcomes.count_worst([cara], asked) == {Outcome.NOT_SENT: 1}


def test_who_is_unclear_is_told_of_the_tags_asked_for() -> None:
    anna, bert, cara = PEOPLE
    outcomes = planned(("a b", "anna bert cara"))
    outcomes.set_outcome(anna, tags("a"), Outcome.HELD)
    outcomes.set_outcome(bert, tags("b"), Outcome.IN_DOUBT)
    assert outcomes.list_unclear(PEOPLE, tags("a b")) == {anna, bert}
    assert outcomes.list_unclear(PEOPLE, tags("a")) == {anna}
    assert outcomes.list_unclear([bert, cara], tags("a")) == set()


def test_surprises_are_told_once_sorted_by_their_tags() -> None:
    anna, bert, cara = PEOPLE
    outcomes = PairOutcomes()
    for contact, appeared, vanished in (
        (cara, "b", ""), (bert, "b", ""), (bert, "b", ""), (anna, "", "y x"), (anna, "b a", "x"), (bert, "", "x")
    ):  # fmt: skip
        outcomes.add_surprise(contact, Surprise(tags(appeared), tags(vanished)))
    assert outcomes.surprises() == (
        Surprises((), (Tag("x"),), (bert,)),
        Surprises((), (Tag("x"), Tag("y")), (anna,)),
        Surprises((Tag("a"), Tag("b")), (Tag("x"),), (anna,)),
        Surprises((Tag("b"),), (), (bert, cara)),
    )


@pytest.mark.parametrize(
    ("known", "failed", "left"),
    [
        (unseen(), "", "x y"),
        (carries("x z", doubt="z"), "", "x y"),
        # an answer told its tags: what is to be removed was planned by it
        (carries("x z"), "", ""),
        # but for what waits for an addition that did not end well, as far as it is there
        (carries("x z"), "a", "x"),
        (carries("z"), "a", ""),
        (unseen(), "a", "x y"),
    ],
)
def test_a_deferred_pair_is_undecided_until_its_contact_is_known(known: ContactState, failed: str, left: str) -> None:
    anna, outcomes = PEOPLE[0], PairOutcomes()
    outcomes.add_deferred([Deferral(DeferralReason.UNTIL_OBSERVED, (Tag("x"), Tag("y")), (anna,))])
    if failed:
        outcomes.record_failure(anna, Action.ADD, tags(failed), Outcome.HELD, "m")
    assert dict(outcomes.undecided(state(anna=known))) == ({anna: tags(left)} if left else {})


def test_of_a_tag_in_doubt_an_observation_does_not_tell_that_it_is_as_asked() -> None:
    outcomes = planned(("a b", "anna bert"))
    outcomes.close_unsent(lambda _: tags("a b"), state(anna=carries("a b", doubt="b"), bert=unseen()))
    assert [sorted(outcomes.tags_with(each, Outcome.NOOP)) for each in PEOPLE[:2]] == [["a"], []]


def test_what_holds_removals_back_is_let_go_tag_by_tag() -> None:
    (anna, bert, _), outcomes = PEOPLE, PairOutcomes()
    outcomes.record_failure(bert, Action.ADD, tags("a"), Outcome.HELD, "m")
    outcomes.record_failure(anna, Action.ADD, tags("a b c"), Outcome.HELD, "m")
    outcomes.record_batch(Batch(Action.ADD, (anna,), (Tag("a"),)), {anna: verdict(tags("a"), "noop")})
    assert outcomes.failed == {anna: tags("b c"), bert: tags("a")}
    # what is still not well lets go of nothing
    outcomes.set_outcome(anna, tags("b"), Outcome.IN_DOUBT)
    assert outcomes.failed == {anna: tags("b c"), bert: tags("a")}
    outcomes.set_outcome(anna, tags("b c"), Outcome.APPLIED)
    assert outcomes.failed == {bert: tags("a")}
