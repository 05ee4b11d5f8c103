"""The batch planner against brute force, on every problem of up to four contacts and four tags.

A cell is needed, forbidden, or may be sent; problems that differ in the order of rows or columns only are
tried once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement, islice, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.batch import Demand
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.cover.planner import EFFORT, find_cover
from tests.sizes import how_many

FORBIDDEN, ALLOWED, NEEDED = range(3)
TAGS = [Tag(letter) for letter in "abcd"]
Matrix = tuple[tuple[int, ...], ...]


def brute_force(matrix: Matrix, repeatable: frozenset[int], caps: tuple[int, int] = (99, 99)) -> int:
    """The fewest rectangles within the caps, by trying every one that holds the first needed cell that is left; cells
    are bits."""
    width = len(matrix[0])
    cells = [value for row in matrix for value in row]
    needed, allowed = (sum(1 << place for place, value in enumerate(cells) if value >= least) for least in (2, 1))
    once = sum(1 << place for place in range(len(cells)) if place % width not in repeatable)
    boxes = [box for box in rectangles(len(matrix), width, caps) if not box & ~allowed]

    @cache
    def fewest(left: int) -> int:
        if not left:
            return 0
        first = left & -left
        usable = {box & left for box in boxes if box & first and not box & once & ~left}
        return 1 + min(fewest(left & ~taken) for taken in usable)

    return fewest(needed)


@cache
def rectangles(rows: int, columns: int, caps: tuple[int, int]) -> tuple[int, ...]:
    """Every rectangle of a matrix within the caps, as a mask of its cells, row by row."""
    return tuple(
        sum(mask << columns * row for row in range(rows) if chosen >> row & 1)
        for chosen in range(1, 1 << rows)
        if chosen.bit_count() <= caps[0]
        for mask in range(1, 1 << columns)
        if mask.bit_count() <= caps[1]
    )


QUICK = EFFORT // 4
"""Rounds of search for small problems. More are never worse: what is minimal by these is so by the usual ones, which
go on for long where a plan is minimal and its bound is lower."""


def planned(matrix: Matrix, repeatable: frozenset[int], caps: tuple[int, int] = (99, 99), effort: int = QUICK) -> int:
    demands = []
    for number, row in enumerate(matrix):
        must = frozenset(TAGS[place] for place, value in enumerate(row) if value == NEEDED)
        may = frozenset(TAGS[place] for place, value in enumerate(row) if value != FORBIDDEN)
        demands.append(Demand(must, may, (ContactId(f"c{number}"),)))
    tags: TagSet = frozenset(TAGS[place] for place in repeatable)
    found = find_cover(Action.ADD, demands, repeatable=tags, max_contacts=caps[0], max_tags=caps[1], effort=effort)
    assert found.proof.lower_bound <= len(found.batches)
    return len(found.batches)


def distinct(
    rows: int, values: Sequence[tuple[int, ...]], kinds: Sequence[object] = (), share: int = 0, shares: int = 1
) -> Iterator[Matrix]:
    """Every matrix of columns that have these values, once for all orders of its rows and of its columns of one kind;
    or one of so many shares of them."""
    columns = range(len(values))
    kinds = kinds or [0] * len(values)
    lines = list(product(*values))
    number = {line: place for place, line in enumerate(lines)}
    orders = [
        [number[tuple(line[column] for column in order)] for line in lines]
        for order in permutations(columns)
        if all(kinds[column] == kinds[place] for place, column in enumerate(order))
    ]
    for matrix in islice(combinations_with_replacement(range(len(lines)), rows), share, None, shares):
        chosen = list(matrix)
        if all(chosen <= sorted([order[line] for line in matrix]) for order in orders):
            yield tuple(lines[line] for line in matrix)


def agree(matrix: Matrix, repeatable: frozenset[int], caps: tuple[int, int] = (99, 99)) -> None:
    once = tuple(
        tuple(FORBIDDEN if value == ALLOWED and place not in repeatable else value for place, value in enumerate(row))
        for row in matrix
    )
    assert planned(matrix, repeatable, caps) == brute_force(once, repeatable, caps), (matrix, repeatable, caps)


EVERY = frozenset(range(4))
BOTH, ALL = (FORBIDDEN, NEEDED), (FORBIDDEN, ALLOWED, NEEDED)
MATRICES = st.lists(
    st.tuples(*[st.sampled_from([FORBIDDEN, ALLOWED, NEEDED, NEEDED])] * 4), min_size=1, max_size=4
).map(tuple)


def test_where_every_plan_can_be_tried_no_search_goes_on_to_the_end_of_its_effort() -> None:
    """With effort without an end it would never come back; the usual one took 14 seconds for these four contacts."""
    matrix = ((0, 0, 0, 2), (0, 0, 2, 2), (0, 0, 2, 2), (2, 2, 2, 0))
    assert planned(matrix, frozenset(), (2, 2), effort=10**9) == 4


def test_needs_that_must_not_be_closed_but_grown_are_met() -> None:
    agree(((0, 1, 1, 2), (1, 0, 2, 1), (1, 2, 0, 1), (2, 1, 1, 0)), EVERY)
    agree(((0, 1, 1, 2), (2, 0, 1, 2), (2, 2, 0, 2), (2, 2, 2, 0)), EVERY)


@given(MATRICES)
def test_covers_of_some_small_problems_are_minimal(matrix: Matrix) -> None:
    agree(matrix, EVERY)


@given(MATRICES, st.frozensets(st.integers(0, 3)))
def test_some_small_problems_with_columns_of_both_kinds_are_minimal(matrix: Matrix, repeatable: frozenset[int]) -> None:
    agree(matrix, repeatable)


@pytest.mark.slow
def test_partitions_of_all_small_problems_are_minimal() -> None:
    for matrix in distinct(4, [BOTH] * 4):
        agree(matrix, frozenset())


@pytest.mark.slow
@given(MATRICES, st.frozensets(st.integers(0, 3)), st.integers(1, 4), st.integers(1, 4))
def test_some_small_problems_under_caps_are_minimal(
    matrix: Matrix, repeatable: frozenset[int], max_contacts: int, max_tags: int
) -> None:
    agree(matrix, repeatable, (max_contacts, max_tags))


CAPS = list(product((2, 3), repeat=2))


@pytest.mark.slow
@pytest.mark.parametrize("caps", CAPS, ids=str)
@pytest.mark.parametrize("repeatable", [frozenset(), EVERY], ids=["partition", "cover"])
def test_all_small_problems_under_caps_are_minimal(repeatable: frozenset[int], caps: tuple[int, int]) -> None:
    for matrix in distinct(4, [BOTH] * 4):
        agree(matrix, repeatable, caps)


SHARES = 24


@pytest.mark.slow
@pytest.mark.parametrize("share", range(how_many(2, SHARES)))
def test_covers_of_all_small_problems_are_minimal(share: int) -> None:
    for matrix in distinct(4, [ALL] * 4, share=share, shares=SHARES):
        agree(matrix, EVERY)


@pytest.mark.slow
def test_all_smaller_problems_with_two_columns_of_each_kind_are_minimal() -> None:
    for matrix in distinct(3, [ALL, ALL, BOTH, BOTH], "rroo"):
        agree(matrix, frozenset([0, 1]))


def test_what_is_allowed_where_a_pair_is_sent_once_is_as_good_as_forbidden() -> None:
    for matrix in distinct(3, [ALL, ALL], "ro"):
        agree(matrix, frozenset([0]))
