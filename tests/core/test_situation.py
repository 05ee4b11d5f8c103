"""What planning may see of a contact, and of the tags around it: situations, what may be sent again, what is owned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.model.contact_state import ContactState, Ledger
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.model.release_rules import TagPace
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.situation import (
    NO_REASSERTION,
    NOT_SEARCHED,
    Context,
    OlderRows,
    Reassertion,
    Searched,
    Situation,
    exclusive_tags,
    leaving_pairs,
    owned_tags,
)
from tests.build import DAY, NOW, a_rule, a_set, carries, changed_state, declare, ids, rules, state, tags, unseen

ADD, REMOVE = Action.ADD, Action.REMOVE
NEVER, INERT, ALWAYS = Reassert.NEVER, Reassert.INERT, Reassert.ALWAYS
SINCE = Instant(NOW - DAY)


# situations


def seen_as(known: ContactState, *, relevant: str = "", exact: bool = False) -> Situation:
    return Context(tags(relevant), exact, NO_REASSERTION, NOT_SEARCHED, NOW).situation_of(known)


def test_a_situation_tells_all_that_is_known_but_for_its_dates() -> None:
    known = changed_state(
        carries("a b", ledger="a c", kept="c", doubt="d", quarantine=Rejection.FOREIGN, at=SINCE),
        unconfirmed=tags("a"),
        spent=((Tag("c"), SINCE), (Tag("e"), SINCE)),
        restored=((Tag("c"), SINCE),),
    )
    context = Context(
        tags("a b"), False, Reassertion(fresh_since=SINCE), Searched(tags("b"), tags("b"), since=SINCE), NOW
    )
    situation = context.situation_of(known)
    assert situation == Situation(
        observed=tags("a b"),
        ledger=Ledger(tags("a c"), tags("c"), tags("a")),
        doubtful=tags("d"),
        # `c` is in the ledger still
        given_before=((Tag("e"), SINCE),),
        flapping=tags("c"),
        refusal="other location",
        is_fresh=True,
        is_searched=True,
    )
    later = Context(
        tags("a b"),
        False,
        Reassertion(fresh_since=Instant(SINCE + 1)),
        Searched(tags("b"), since=Instant(SINCE + 1)),
        Instant(NOW + 7 * DAY),
    )
    assert later.situation_of(known) == replace(situation, flapping=tags(""), is_fresh=False, is_searched=False)
    assert later.situation_of(ContactState()) == Situation()


@pytest.mark.parametrize(
    ("known", "exact", "expected"),
    [
        (carries("x foreign"), False, "x"),
        (carries("x foreign"), True, "x foreign"),
        (carries("x y"), False, "x y"),
        (carries("x ours foreign", ledger="ours gone"), False, "x ours"),
        # as far as anybody knows it may be ours, in another spelling
        (carries("x OURS foreign", ledger="ours"), False, "x OURS"),
        (carries("x OURS ours", ledger="ours"), False, "x ours"),
    ],
)
def test_foreign_tags_are_seen_under_exact_authority_or_where_they_may_be_ours(
    known: ContactState, exact: bool, expected: str
) -> None:
    assert seen_as(known, relevant="x y", exact=exact).observed == tags(expected)


@pytest.mark.parametrize("exact", [False, True])
def test_what_no_answer_told_is_not_seen(exact: bool) -> None:
    assert seen_as(unseen(ledger="x"), relevant="x", exact=exact).observed is None


# searches


def test_a_search_that_was_behind_says_what_was_done_about_it() -> None:
    assert str(OlderRows(1_200, 1_030, 0)) == (
        "1,030 of 1,200 rows of the search were older than what earlier runs were told, and said otherwise: set aside; "
        "the index lags: read by id (get), or search again some minutes later"
    )
    assert str(OlderRows(1_200, 1_030, 1_001)) == (
        "1,030 of 1,200 rows of the search were older than what earlier runs were told, and said otherwise: set aside; "
        "1,001 of these contacts were read by id"
    )


@pytest.mark.parametrize(
    ("searched", "known", "is_newer"),
    [
        (NOT_SEARCHED, carries("x", at=NOW), False),
        (Searched(since=SINCE), unseen(ledger="x"), False),
        (Searched(since=SINCE), carries("x", at=SINCE - 1), False),
        (Searched(since=SINCE), carries("x", at=SINCE), True),
        (Searched(since=SINCE), carries("", at=SINCE + 1), True),
    ],
)
def test_an_observation_since_the_search_is_as_good_as_it(
    searched: Searched, known: ContactState, is_newer: bool
) -> None:
    assert searched.is_newer_on(known) is is_newer


def test_a_search_shows_who_holds_what_was_searched_for() -> None:
    searched = Searched(tags("a b"), since=SINCE)
    assert [searched.held_by(observed) for observed in (tags("b c"), tags(""), None)] == [tags("b"), tags(""), tags("")]


def test_a_tag_is_exclusive_where_a_manifest_of_the_location_names_it() -> None:
    shared = [a_rule("elsewhere", exclusive=True), a_rule("b", exclusive=True), a_rule("plain")]
    desired = declare(a_set("s", "anna", "a b plain"), rule=[a_rule("a", exclusive=True)], shared=shared)
    assert exclusive_tags(desired) == tags("a b")


# re-assertions


PROPERTIES = {
    "plain": {},
    "inert": {"inert": True},
    "triggers": {"inert": True, "triggers": True},
    "once": {"inert": True, "once": True},
    "protected": {"inert": True, "protected": True},
    "paced": {"inert": True, "pace": TagPace(1, 60_000)},
}
RULES = rules(*(a_rule(tag, **properties) for tag, properties in PROPERTIES.items()))
EVERY = "no-rule plain inert triggers once protected paced"


@pytest.mark.parametrize(
    ("mode", "action", "expected"),
    [
        (NEVER, ADD, ""),
        (NEVER, REMOVE, ""),
        (INERT, ADD, "inert"),
        (ALWAYS, ADD, "no-rule plain inert"),
        # a removal counts against no pace
        (INERT, REMOVE, "no-rule plain inert paced"),
        (ALWAYS, REMOVE, "no-rule plain inert paced"),
    ],
)
def test_which_tags_may_be_sent_again(mode: Reassert, action: Action, expected: str) -> None:
    assert Reassertion(mode).repeatable_tags(action, tags(EVERY), RULES) == tags(expected)


def test_a_pair_that_is_left_out_is_not_sent_again_by_that_action() -> None:
    reassertion = (
        Reassertion(ALWAYS, SINCE).without(frozenset({(ADD, Tag("a"))})).without(frozenset({(REMOVE, Tag("b"))}))
    )
    assert reassertion == Reassertion(ALWAYS, SINCE, frozenset({(ADD, Tag("a")), (REMOVE, Tag("b"))}))
    assert reassertion.repeatable_tags(ADD, tags("a b"), {}) == tags("b")
    assert reassertion.repeatable_tags(REMOVE, tags("a b"), {}) == tags("a")


@pytest.mark.parametrize(
    ("reassertion", "known", "is_fresh"),
    [
        (Reassertion(), carries("a", at=0), True),
        (Reassertion(INERT, SINCE), carries("a", at=SINCE), True),
        (Reassertion(ALWAYS, SINCE), carries("a", at=SINCE - 1), False),
        (Reassertion(ALWAYS, SINCE), unseen(), False),
        (Reassertion(NEVER, SINCE), carries("a", at=NOW), False),
    ],
)
def test_an_add_is_sent_again_by_a_fresh_observation_alone(
    reassertion: Reassertion, known: ContactState, is_fresh: bool
) -> None:
    assert reassertion.is_fresh(known) is is_fresh


def test_what_is_there_may_be_added_again_and_what_is_not_removed_again() -> None:
    again, known = Reassertion(ALWAYS), carries("a b c", doubt="b y", ledger="a")
    assert again.repeatable_adds(tags("a b x"), known, {}) == tags("a")
    assert again.repeatable_removes(tags("a b x y"), known, {}) == tags("x")
    # nothing is known to be there, and nothing to be gone
    assert again.repeatable_adds(tags("a"), unseen(ledger="a"), {}) == tags("")
    assert again.repeatable_removes(tags("a"), unseen(ledger="a"), {}) == tags("")


# what leaves the ledger, and what is owned


@pytest.mark.parametrize(
    ("known", "present", "expected"),
    [
        (carries("a", ledger="a b c"), "b", "c"),
        (carries("a", ledger="a b c", kept="a b"), "b", "a c"),
        (carries("a", ledger="a b c", kept="a", doubt="a c"), "b", ""),
        (carries("B", ledger="b c"), "", "c"),
        (unseen(ledger="a b c", kept="a"), "b", "a"),
        (unseen(ledger="a"), "", ""),
    ],
)
def test_what_is_desired_no_more_leaves_the_ledger_where_it_is_gone_or_kept(
    known: ContactState, present: str, expected: str
) -> None:
    assert leaving_pairs(known, tags(present)) == tags(expected)


@pytest.mark.parametrize(
    ("known", "desired", "expected"),
    [
        (carries("old", ledger="old"), "", "old"),
        (carries("", ledger="old"), "", ""),
        (carries("", ledger="old"), "old", "old"),
        (carries("", ledger="old", doubt="old"), "", "old"),
        (carries("old", ledger="old more", kept="old"), "", ""),
        (carries("old", ledger="old", kept="old"), "old", "old"),
        (unseen(ledger="old"), "", "old"),
        (unseen(ledger="old more", kept="old"), "", "more"),
        (carries("foreign"), "", ""),
    ],
)
def test_owned_is_what_the_ledger_holds_after_the_plan(known: ContactState, desired: str, expected: str) -> None:
    """Whether `old` is desired for bert; the manifest names `x` of anna's set beside it."""
    wanted = replace(declare(a_set("s", "anna", "x"), a_set("t", "bert", desired)), owned=tags("x"))
    observed = state(anna=carries("x", ledger="x"), bert=known)
    assert owned_tags(wanted, observed) == tags("x") | tags(expected)


def test_owned_is_what_a_narrowed_plan_does_not_let_go() -> None:
    desired = declare(a_set("s", "anna", "x"))
    observed = state(anna=carries("x", ledger="x a b"), cara=carries("", ledger="a c"), dora=carries("d", ledger="d"))
    for narrowed, expected in (
        ({}, "x d"),
        ({"tags": tags("a")}, "x d b c"),
        ({"contacts": ids("anna")}, "x d a c"),
        ({"contacts": ids("cara zoe")}, "x d a b"),
        ({"contacts": ids("anna"), "tags": tags("a c")}, "x d a b c"),
        ({"contacts": ids("anna cara"), "tags": tags("a")}, "x d b c"),
        ({"contacts": ()}, "x d a b c"),
    ):
        assert owned_tags(desired, observed, **narrowed) == tags(expected), narrowed  # type: ignore[arg-type]


def test_what_only_a_state_without_contacts_held_is_not_owned() -> None:
    """A contact that moved on leaves its old state behind, among those that contacts share."""
    observed = state(anna=carries("old", ledger="old"))
    observed.update({ContactId("anna"): carries("x", ledger="x")})
    assert owned_tags(declare(), observed) == tags("x")
    assert owned_tags(declare(a_set("s", "anna", "x", authority=Authority.OWNED)), observed) == tags("x")
