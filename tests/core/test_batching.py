"""Batches: every needed pair in exactly one, nothing else in any, within the caps, removes after adds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.model.batch import Reason
from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import Batches, Caps, make_batches
from reconciler.core.planning.changes import Change, Delta, Demands, demands_from_deltas
from reconciler.cover import solve

ADD, REMOVE = Action.ADD, Action.REMOVE
Need = dict[ContactId, dict[Tag, Action]]

words = st.sampled_from([Tag(f"t{number}") for number in range(6)])
people = st.sampled_from([ContactId(f"c{number}") for number in range(12)])
needs = st.dictionaries(people, st.dictionaries(words, st.sampled_from(Action), min_size=1, max_size=6), max_size=12)
caps = st.builds(Caps, contacts=st.integers(1, 5), tags=st.integers(1, 4))
FEW = 2
"""The laws hold after any search, and a long one of problems so small finds nothing more."""


def deltas(need: Need) -> list[Delta]:
    """As diff gives them: contacts with the same changes together, everything sorted."""
    groups: dict[tuple[Change, ...], list[ContactId]] = {}
    for contact in sorted(need):
        changes = tuple(sorted(Change(action, tag, Reason.DECLARED) for tag, action in need[contact].items()))
        groups.setdefault(changes, []).append(contact)
    return [Delta(changes, tuple(contacts)) for changes, contacts in sorted(groups.items())]


def pairs(found: Batches) -> Counter[tuple[Action, ContactId, Tag]]:
    return Counter(
        (each.action, contact, tag) for each in found.batches for contact in each.contacts for tag in each.tags
    )


@settings(max_examples=settings().max_examples // 3)
@given(needs, caps)
def test_every_needed_pair_is_sent_once_and_nothing_else(need: Need, caps: Caps) -> None:
    wanted = Counter((action, contact, tag) for contact, tags in need.items() for tag, action in tags.items())
    assert pairs(make_batches(demands_from_deltas(deltas(need)), caps, solve=solve, effort=FEW)) == wanted


@pytest.mark.slow
@given(needs, caps)
def test_batches_hold_no_more_than_a_request_may(need: Need, caps: Caps) -> None:
    for each in make_batches(demands_from_deltas(deltas(need)), caps, solve=solve, effort=FEW).batches:
        assert 1 <= len(each.contacts) <= caps.contacts
        assert 1 <= len(each.tags) <= caps.tags
        assert len(set(each.contacts)) == len(each.contacts)
        assert len(set(each.tags)) == len(each.tags)


@pytest.mark.slow
@given(needs, caps)
def test_batches_wait_for_those_that_share_a_contact_and_removes_for_adds(need: Need, caps: Caps) -> None:
    batches = make_batches(demands_from_deltas(deltas(need)), caps, solve=solve, effort=FEW).batches
    ended: list[set[int]] = []
    for index, each in enumerate(batches):
        sharing = {at for at in range(index) if not set(batches[at].contacts).isdisjoint(each.contacts)}
        assert set(each.after) <= sharing
        # directly, or through a batch that waited itself
        ended.append(set(each.after).union(*(ended[before] for before in each.after)))
        assert sharing <= ended[index]
        assert list(each.after) == sorted(each.after)
    assert [each.action for each in batches] == sorted(each.action for each in batches)


@pytest.mark.slow
@given(needs, caps)
def test_no_plan_is_below_the_lower_bound(need: Need, caps: Caps) -> None:
    found = make_batches(demands_from_deltas(deltas(need)), caps, solve=solve, effort=FEW)
    assert (1 if need else 0) <= found.lower_bound <= len(found.batches) or not need


@pytest.mark.slow
@given(needs, caps, st.data())
def test_the_order_of_deltas_means_nothing(need: Need, caps: Caps, data: st.DataObject) -> None:
    found = deltas(need)
    mixed = demands_from_deltas(data.draw(st.permutations(found)))
    plain = make_batches(demands_from_deltas(found), caps, solve=solve, effort=FEW)
    assert make_batches(mixed, caps, solve=solve, effort=FEW) == plain


def test_nothing_to_do_takes_no_request() -> None:
    assert make_batches(Demands(), Caps(), solve=solve) == Batches()


def test_contacts_alike_share_requests_up_to_the_cap() -> None:
    alike = deltas({ContactId(f"{number:04}"): {Tag("x"): ADD} for number in range(1_001)})
    found = make_batches(demands_from_deltas(alike), Caps(), solve=solve)
    assert sorted(len(each.contacts) for each in found.batches) == [1, 500, 500]
    assert found.lower_bound == 3
