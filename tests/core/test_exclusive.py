"""Exclusive tags: taken from whoever a search showed, from nobody else, and never on old knowledge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.planning.changes import Deferral, DeferralReason, Selection
from reconciler.core.planning.diff import diff
from reconciler.core.planning.situation import NOT_SEARCHED, Searched, exclusive_tags
from tests.build import (
    DAY,
    NOW,
    a_rule,
    a_set,
    carries,
    changes,
    declare,
    only,
    postponed,
    state,
    state_of,
    tags,
    unseen,
)

SINCE = Instant(NOW - DAY)
FOUND = Searched(tags("board"), tags("board"), SINCE)


def board(**more: object) -> Desired:
    return declare(
        a_set("board", "anna", "board"),
        a_set("news", "bert", "news", **more),  # type: ignore[arg-type]
        rule=[a_rule("board", exclusive=True)],
    )


def planned(searched: Searched = NOT_SEARCHED, **contacts: ContactState) -> dict[str, set[str]]:
    settled = {"anna": carries("board", ledger="board"), "bert": carries("news", ledger="news")}
    return changes(diff(board(), state(**settled | contacts), searched=searched))


def test_a_holder_that_was_found_loses_it_declared_for_something_else_or_for_nothing() -> None:
    found = planned(FOUND, bert=carries("board news", ledger="news"), cara=carries("board x"))
    assert found == {"bert": {"-board exclusive"}, "cara": {"-board exclusive"}}


def test_without_a_search_nobody_does() -> None:
    contacts = {"bert": carries("board news", ledger="news"), "cara": carries("board")}
    assert planned(**contacts) == {}
    found = diff(board(), state(**contacts))
    assert [(each.reason, each.tags) for each in found.deferrals if not each.contacts] == [
        (DeferralReason.EXCLUSIVE, ("board",))
    ]


def test_what_was_observed_before_the_search_is_no_holder() -> None:
    assert planned(FOUND, cara=carries("board", at=SINCE - 1)) == {}
    assert planned(FOUND, cara=carries("board", at=SINCE)) == {"cara": {"-board exclusive"}}


def test_a_holder_that_was_found_is_a_fact_though_the_search_was_not_complete() -> None:
    searched = replace(FOUND, complete=frozenset())
    assert planned(searched, cara=carries("board")) == {"cara": {"-board exclusive"}}
    found = diff(board(), state(), searched=searched)
    assert [each.reason for each in found.deferrals if not each.contacts] == [DeferralReason.INCOMPLETE]


def test_a_complete_search_leaves_nothing_open() -> None:
    assert postponed(diff(board(), state(anna=carries("board", ledger="board")), searched=FOUND)) == {}
    assert diff(board(), state(), searched=FOUND).deferrals == ()


def test_in_doubt_it_is_held_and_in_quarantine_listed() -> None:
    assert planned(FOUND, cara=carries("board", doubt="board")) == {}
    assert planned(FOUND, cara=carries("board", quarantine=Rejection.DELETED)) == {}


def test_what_a_set_ignores_stays() -> None:
    observed = state(anna=carries("board", ledger="board"), bert=carries("board news", ledger="news"))
    assert changes(diff(board(ignore="bo*"), observed, searched=FOUND)) == {}


def test_a_selection_narrows_it() -> None:
    anna, bert = carries("board", ledger="board"), carries("news board", ledger="news")
    observed = state(anna=anna, bert=bert, cara=carries("board"))
    assert changes(diff(board(), observed, searched=FOUND, selection=only(sets="news"))) == {
        "bert": {"-board exclusive"}
    }
    assert changes(diff(board(), observed, searched=FOUND, selection=only(tag="news"))) == {}


@pytest.mark.parametrize(
    ("selection", "is_open"),
    [(only(), True), (only(tag="board"), True), (only(tag="news"), False), (only(sets="board"), False)],
)
def test_who_else_carries_it_is_open_where_the_plan_would_take_it(selection: Selection, is_open: bool) -> None:
    """A plan of one tag touches no other, and one of a set no other contacts."""
    found = diff(board(), state(anna=carries("board", ledger="board")), selection=selection)
    waits = Deferral(DeferralReason.EXCLUSIVE, (Tag("board"),), ())
    assert [each for each in found.deferrals if not each.contacts] == ([waits] if is_open else [])


def test_what_was_not_searched_and_what_was_not_searched_through_is_open_by_its_own_reason() -> None:
    named = a_set("s", "anna", "a b c d")
    desired = declare(named, rule=[a_rule(tag, exclusive=True) for tag in ("a", "b", "c", "d")])
    found = diff(desired, state(), searched=Searched(tags("c d"), tags("d"), SINCE))
    assert [each for each in found.deferrals if not each.contacts] == [
        Deferral(DeferralReason.EXCLUSIVE, (Tag("a"), Tag("b")), ()),
        Deferral(DeferralReason.INCOMPLETE, (Tag("c"),), ()),
    ]


def test_a_shared_rule_alone_makes_nothing_exclusive() -> None:
    desired = declare(a_set("news", "bert", "news"), shared=[a_rule("board", exclusive=True)])
    assert exclusive_tags(desired) == frozenset()
    assert exclusive_tags(board()) == {"board"}


KNOWN = st.one_of(
    st.builds(
        carries,
        st.sampled_from(["", "board", "news", "board news", "board x"]),
        ledger=st.sampled_from(["", "board", "news"]),
        doubt=st.sampled_from(["", "board"]),
        at=st.sampled_from([SINCE - 1, SINCE, NOW]),
    ),
    st.builds(unseen, ledger=st.sampled_from(["", "board"])),
)
SEARCHED = st.sampled_from([NOT_SEARCHED, FOUND, replace(FOUND, complete=frozenset())])


@given(st.lists(KNOWN, min_size=4, max_size=4), SEARCHED, st.sampled_from(list(Authority)))
def test_it_is_taken_from_holders_that_were_shown_and_from_nobody_else(
    known: list[ContactState], searched: Searched, authority: Authority
) -> None:
    contacts = dict(zip(map(ContactId, ("anna", "bert", "cara", "dora")), known, strict=True))
    found = diff(board(authority=authority), state_of(contacts), searched=searched)
    taken = {
        contact
        for delta in found.deltas
        for change in delta.changes
        if change.reason == "exclusive"
        for contact in delta.contacts
        if (change.action, change.tag) == (Action.REMOVE, Tag("board"))
    }
    shown = {
        contact
        for contact, each in contacts.items()
        if searched.tags
        and each.observed_at is not None
        and each.observed_at >= SINCE
        and "board" in (each.observed or ())
    }
    assert taken <= shown - {"anna"}
    left = {
        each for each in shown - {"anna"} if not contacts[each].doubtful and "board" not in contacts[each].ledger.tags
    }
    assert left <= taken
