"""The outcomes of a run partition the plan: every pair has one fate, from the beginning to the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.batch import Batch, Reason
from reconciler.core.model.contact_state import ContactStates, ObservationOrigin
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.planning.changes import Change, Deferral, DeferralReason, Delta
from reconciler.core.running.pair_outcomes import PairOutcomes
from tests.build import contact_state, ids, tags
from tests.fakes import START

PEOPLE = ids("anna bert cara")
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
    outcomes.record_failure(anna, Action.ADD, tags("a b"), Outcome.HELD, "first")
    outcomes.record_failure(anna, Action.ADD, tags("a"), Outcome.HELD, "then")
    assert [(each.tags, each.message) for each in outcomes.findings()] == [(("b",), "first"), (("a",), "then")]


def test_what_was_not_sent_and_is_so_already_is_no_work_left() -> None:
    anna, outcomes, observed = PEOPLE[0], PairOutcomes(), ContactStates()
    there = (Change(Action.ADD, Tag("a"), Reason.DECLARED), Change(Action.ADD, Tag("b"), Reason.DECLARED))
    gone = (Change(Action.REMOVE, Tag("x"), Reason.ABSENT), Change(Action.REMOVE, Tag("y"), Reason.ABSENT))
    outcomes.add_planned([Delta(there + gone, (anna,))])
    observed.update({anna: contact_state(tags("a x"), START, ObservationOrigin.GET)})
    outcomes.close_unsent(lambda _: tags("a b"), observed)
    assert outcomes.pairs(observed) == {Outcome.NOOP: 2, Outcome.NOT_SENT: 2}
    assert outcomes.tags_with(anna, Outcome.NOT_SENT) == tags("b x")
