"""Changes as values: sorted, counted, listed by tag, as demands; and how two lists of them differ."""

from __future__ import annotations

from collections import Counter

import pytest

from reconciler.core.model.batch import Demand, Reason
from reconciler.core.model.names import Source, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import (
    EVERYTHING,
    Change,
    Delta,
    Demands,
    HeldContacts,
    Selection,
    contacts_by_tag,
    contacts_that_differ,
    count_changes,
    count_held,
    demands_from_deltas,
    keep_changes,
    list_additions,
    list_unapproved,
    sort_reasons,
    sorted_deltas,
)
from tests.build import ids, only, tags

ADD, REMOVE = Action.ADD, Action.REMOVE
X, Y = Tag("x"), Tag("y")


def change(text: str, reason: Reason = Reason.DECLARED, line: int = 1) -> Change:
    """Of `+x` or `-x`, as a line of a manifest asks for it."""
    return Change(ADD if text[0] == "+" else REMOVE, Tag(text[1:]), reason, (Source("acme.yaml", line, 1),))


def delta(text: str, contacts: str, reason: Reason = Reason.DECLARED, line: int = 1) -> Delta:
    return Delta(tuple(change(word, reason, line) for word in text.split()), ids(contacts))


def test_the_most_contacts_come_first_and_the_rest_by_their_changes() -> None:
    grouped = {
        (change("+b"),): ids("b a"),
        (change("+c"),): ids("h g"),
        (change("+a"),): ids("i"),
        (change("+a"), change("-z")): ids("d c"),
        (change("-a"),): ids("l k j"),
        (change("+a", line=2),): ids("n m"),
    }
    assert sorted_deltas(grouped) == (
        delta("-a", "j k l"),
        delta("+a -z", "c d"),
        delta("+a", "m n", line=2),
        delta("+b", "a b"),
        delta("+c", "g h"),
        delta("+a", "i"),
    )


def test_the_tags_of_a_delta_are_those_of_one_action() -> None:
    found = delta("+x +y -z", "a")
    assert (found.tags(ADD), found.tags(REMOVE)) == (tags("x y"), tags("z"))


def test_a_change_is_made_to_the_contacts_of_all_its_groups() -> None:
    found = count_changes([delta("+x -y", "a b"), delta("+x", "c"), delta("+x", "d", line=2)])
    assert found == Counter({change("+x"): 3, change("-y"): 2, change("+x", line=2): 1})


def test_a_change_is_needed_and_may_not_be_sent_again() -> None:
    both, one = tags("x y"), tags("z")
    assert demands_from_deltas([delta("+x +y -z", "a b"), delta("-z", "c")]) == Demands(
        adds=(Demand(both, both, ids("a b")),),
        removes=(Demand(one, one, ids("a b")), Demand(one, one, ids("c"))),
    )


def test_the_contacts_of_each_tag_are_sorted_and_so_are_the_tags() -> None:
    found = contacts_by_tag([delta("-y +x", "b"), delta("+x", "c a"), delta("+a", "b")])
    assert list(found.items()) == [
        ((ADD, Tag("a")), ["b"]),
        ((ADD, X), ["a", "b", "c"]),
        ((REMOVE, Y), ["b"]),
    ]


def test_what_is_not_approved_is_listed_a_change_for_another_reason_too() -> None:
    needed = delta("+x -y", "a b d"), delta("+z", "c")
    approved = delta("+x", "a"), delta("+x -y", "b"), delta("+x -y", "d", Reason.AGAIN)
    assert list_unapproved(needed, approved) == (
        delta("+x -y", "d"),
        delta("+z", "c"),
        delta("-y", "a"),
    )


def test_two_lists_differ_in_the_contacts_to_which_they_do_not_do_the_same() -> None:
    first = delta("+x", "a"), delta("+x -y", "b"), delta("+z", "c"), delta("+x", "e"), delta("-y", "e")
    second = delta("+x", "a", Reason.AGAIN, 9), delta("+x", "b d"), delta("+x -y", "e")
    assert contacts_that_differ(first, second) == set(ids("b c d"))
    # a file may list a contact without any change
    idle = Delta((), ids("f"))
    assert contacts_that_differ([idle], []) == contacts_that_differ([], [idle]) == set()


def test_what_a_file_proposes_beyond_a_plan_whatever_the_reasons() -> None:
    proposed = delta("+x -y", "a b c", Reason.AGAIN, 9), delta("+z", "d", Reason.AGAIN, 9)
    planned = delta("+x", "a c"), delta("-y", "b c")
    assert list_additions(proposed, planned) == (
        delta("+x", "b", Reason.AGAIN, 9),
        delta("+z", "d", Reason.AGAIN, 9),
        delta("-y", "a", Reason.AGAIN, 9),
    )
    assert list_additions(proposed, proposed) == ()


def test_contacts_that_keep_the_same_changes_are_one_group() -> None:
    found = keep_changes(
        [delta("+x -y", "a b"), delta("+x", "c"), delta("-y", "d")],
        lambda contact, change: change.tag == X or contact == "a",
    )
    assert found == (delta("+x", "b c"), delta("+x -y", "a"))


def test_held_pairs_are_those_of_each_tag_and_contact() -> None:
    assert count_held([HeldContacts("why", (X, Y), ids("a b c")), HeldContacts("why", (X,), ids("d"))]) == 7


@pytest.mark.parametrize(
    ("selection", "taken", "is_part"),
    [
        (EVERYTHING, "x y", False),
        (only(tag="x"), "x", True),
        (only(sets="s"), "x y", True),
        (only(retry_held=True, retry_rejected=True), "x y", False),
    ],
)
def test_a_selection_takes_its_tags_and_all_where_it_names_none(
    selection: Selection, taken: str, is_part: bool
) -> None:
    assert (frozenset(filter(selection.takes, (X, Y))), selection.is_part) == (tags(taken), is_part)


def test_reasons_without_tags_are_not_told() -> None:
    found = sort_reasons([("safe", tags("y x")), ("kept", tags("")), ("doubt", tags("z"))])
    assert found == (("safe", (X, Y)), ("doubt", (Tag("z"),)))
