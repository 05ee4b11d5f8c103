"""Lower bounds that count contacts: never more than the requests that are enough, and as many as can be shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations, count
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.model.batch import Demand
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.cover.bounds import Cell
from reconciler.cover.capped_bounds import bound_by_growth, bound_in_turn
from reconciler.cover.problem import Bits, CoverProblem, make_problem
from reconciler.cover.uncapped import reduce_grid


def of_requests(chance: Random, requests: int, cap: int, tags: int, spare: float) -> CoverProblem:
    """A problem that so many requests solve: they are drawn first, and what they send is what is needed.

    `spare`: the share of other pairs that may be sent.
    """
    names = [Tag(f"t{number}") for number in range(tags)]
    contacts = [f"c{number}" for number in range(chance.randint(1, requests * cap))]
    sent = defaultdict[str, set[Tag]](set)
    for _ in range(requests):
        chosen = chance.sample(names, chance.randint(1, tags))
        for contact in chance.sample(contacts, chance.randint(1, min(cap, len(contacts)))):
            sent[contact] |= set(chosen)
    demands = [
        Demand(frozenset(must), frozenset(must) | {tag for tag in names if chance.random() < spare}, (ContactId(who),))
        for who, must in sent.items()
    ]
    return make_problem(demands, repeatable=frozenset(names), max_contacts=cap, max_tags=tags)


def exact_needs(needs: dict[TagSet, int], cap: int, max_tags: int = 50) -> CoverProblem:
    """So many contacts with each of these needs, and no other tag may be sent to them."""
    return numbered([(need, need, contacts) for need, contacts in needs.items()], cap, max_tags)


def numbered(demands: Iterable[tuple[Iterable[str], Iterable[str], int]], cap: int, max_tags: int = 50) -> CoverProblem:
    """Needs, tags that may be sent, and how many contacts have them; the contacts are numbered from c000 on."""
    number, asked = count(), list[Demand]()
    for must, may, contacts in demands:
        who = tuple(ContactId(f"c{next(number):03}") for _ in range(contacts))
        asked.append(Demand(needing(must), needing(may), who))
    every = frozenset[Tag]().union(*(demand.may for demand in asked))
    return make_problem(asked, repeatable=every, max_contacts=cap, max_tags=max_tags)


def cell(problem: CoverProblem, contact: str, tag: str) -> Cell:
    return problem.contacts.index(ContactId(contact)), problem.tags.index(Tag(tag))


def fit_in_one(problem: CoverProblem, one: Cell, other: Cell) -> bool:
    """Whether a request may send the tag of each cell to the contact of the other."""
    allowed = {contact: tags_of(problem, problem.may, contact) for contact, _ in (one, other)}
    return one[1] in allowed[other[0]] and other[1] in allowed[one[0]]


def tags_of(problem: CoverProblem, cells: Bits, contact: int) -> set[int]:
    pattern = max(row for row, start in enumerate(problem.start.tolist()[:-1]) if start <= contact)
    words = cells[pattern].tolist()
    return {tag for tag in range(len(problem.tags)) if words[tag >> 6] >> (tag & 63) & 1}


@given(
    st.integers(0, 1 << 30), st.integers(1, 12), st.integers(1, 6), st.integers(1, 8), st.sampled_from([0, 0.1, 0.5])
)
@example(0, 12, 6, 8, 0)
@example(53, 2, 6, 6, 0)
@example(490, 3, 5, 7, 0.5)
def test_no_bound_is_more_than_the_requests_that_are_enough(
    seed: int, requests: int, cap: int, tags: int, spare: float
) -> None:
    problem = of_requests(Random(seed), requests, cap, tags, spare)
    bound, cells = bound_in_turn(problem)
    core = reduce_grid(problem)

    assert len(cells) <= bound <= requests
    assert not any(fit_in_one(problem, *pair) for pair in combinations(cells, 2))
    assert all(tag in tags_of(problem, problem.must, contact) for contact, tag in cells)
    for known in (cells, core.certificate):
        assert len(known) <= bound_by_growth(problem, known) <= requests


def needing(tags: Iterable[str]) -> TagSet:
    return frozenset(map(Tag, tags))


def subsets(tags: str, least: int) -> list[TagSet]:
    return [needing(each) for size in range(least, len(tags) + 1) for each in combinations(tags, size)]


def test_few_requests_have_few_pairs_of_sets() -> None:
    """120 needs, each of one contact: nine requests of 30 have 270 places, and 45 sets and pairs of sets.

    So 75 contacts would take three places, 36 two and nine one: 306.
    """
    needs = subsets("abcdefg", least=2)
    assert len(needs) == 120

    assert bound_in_turn(exact_needs(dict.fromkeys(needs, 1), cap=30))[0] == 10


@pytest.mark.parametrize(
    ("needs", "bound"),
    [
        # a takes eleven contacts, two requests; b the eleven that may not be sent a
        ({"ab": 11, "b": 11}, 4),
        # whatever needs them, one contact a tag that no contact of the others may be sent
        ({"abcd": 1, "bcd": 1, "cd": 1, "d": 1}, 4),
        # of 21 contacts no request holds more than ten
        ({"a": 21}, 3),
        ({}, 0),
    ],
)
def test_groups_of_tags_in_turn_add_up(needs: dict[str, int], bound: int) -> None:
    problem = exact_needs({needing(tags): contacts for tags, contacts in needs.items()}, cap=10)

    assert bound_in_turn(problem)[0] == bound


def test_a_cell_grows_to_a_group_of_all_contacts_that_may_join_it() -> None:
    """Two cells are two requests; all of the 15 and of the 25 contacts need one of theirs, and none fits the other."""
    problem = exact_needs({needing("ac"): 15, needing("bc"): 25}, cap=10)
    cells = reduce_grid(problem).certificate

    assert len(cells) == 2
    assert bound_by_growth(problem, cells) == 2 + 3


@pytest.mark.parametrize(
    ("demands", "enough"),
    [
        # c003 may be sent b, as the first contact of b's group may be sent a: one request serves both through a
        ([("a", "a", 2), ("b", "ab", 1), ("a", "ab", 1)], 2),
        # the last two may join either group, but not one each
        ([("a", "a", 2), ("b", "b", 2), ("a", "ab", 1), ("b", "ab", 1)], 3),
    ],
)
def test_who_shares_a_request_with_another_group_joins_none(demands: list[tuple[str, str, int]], enough: int) -> None:
    problem = numbered(demands, cap=2)

    assert bound_by_growth(problem, [cell(problem, "c000", "a"), cell(problem, "c002", "b")]) <= enough


@pytest.mark.parametrize(
    ("needs", "cap", "max_tags", "bound"),
    [
        # three requests, of a, of b and of c, serve all: the commonest needs take the fewest places
        ({**dict.fromkeys(("a", "b", "c", "ab", "ac", "bc"), 10), "abc": 1}, 31, 50, 3),
        # each tag of the 15 pairs goes alone: five contacts a tag
        ({f"{one}{other}": 1 for one, other in combinations("abcdef", 2)}, 5, 1, 6),
    ],
)
def test_no_place_is_counted_that_is_not_needed(needs: dict[str, int], cap: int, max_tags: int, bound: int) -> None:
    problem = exact_needs({needing(tags): contacts for tags, contacts in needs.items()}, cap, max_tags)

    assert bound_in_turn(problem)[0] == bound


@pytest.mark.parametrize("demands", [[("b", "abc", 1), ("ac", "abc", 1)], [("c", "abc", 1), ("ab", "abc", 2)]])
def test_the_pairs_that_are_shown_are_needed(demands: list[tuple[str, str, int]]) -> None:
    """Each may be sent all tags: a pair that nobody needs would prove nothing."""
    problem = numbered(demands, cap=9)
    ((contact, tag),) = bound_in_turn(problem)[1]

    assert tag in tags_of(problem, problem.must, contact)
