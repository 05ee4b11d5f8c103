"""The batch planner against brute force, on every problem of up to four contacts and four tags.

A cell is needed, forbidden, or may be sent; problems that differ in the order of rows or columns only are
tried once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.cover import Demand, cover
from reconciler.core.names import ContactId, Tag, TagSet

FORBIDDEN, ALLOWED, NEEDED = range(3)
TAGS = [Tag(letter) for letter in "abcd"]
Matrix = tuple[tuple[int, ...], ...]


def brute_force(matrix: Matrix, repeatable: frozenset[int]) -> int:
    """The fewest rectangles, by trying every one that holds the first needed cell that is left."""
    cells = {(r, c): value for r, row in enumerate(matrix) for c, value in enumerate(row)}
    needed = frozenset(cell for cell, value in cells.items() if value == NEEDED)
    boxes = []
    for rows, columns in product(subsets(len(matrix)), subsets(len(matrix[0]))):
        box = frozenset(product(rows, columns))
        if all(cells[cell] != FORBIDDEN for cell in box):
            boxes.append((box, frozenset(cell for cell in box if cell[1] not in repeatable)))

    @cache
    def fewest(left: frozenset[tuple[int, int]]) -> int:
        if not left:
            return 0
        first = min(left)
        usable = {box & left for box, once in boxes if first in box and once <= left}
        return 1 + min(fewest(left - taken) for taken in usable)

    return fewest(needed)


def subsets(size: int) -> list[tuple[int, ...]]:
    return [tuple(place for place in range(size) if mask >> place & 1) for mask in range(1, 1 << size)]


def planned(matrix: Matrix, repeatable: frozenset[int]) -> int:
    demands = []
    for number, row in enumerate(matrix):
        must = frozenset(TAGS[place] for place, value in enumerate(row) if value == NEEDED)
        may = frozenset(TAGS[place] for place, value in enumerate(row) if value != FORBIDDEN)
        demands.append(Demand(must, may, (ContactId(f"c{number}"),)))
    tags: TagSet = frozenset(TAGS[place] for place in repeatable)
    found = cover(demands, repeatable=tags, max_contacts=99, max_tags=99)
    assert found.lower_bound <= len(found.rectangles)
    return len(found.rectangles)


def distinct(rows: int, columns: int, values: tuple[int, ...]) -> Iterator[Matrix]:
    """Every matrix, once for all orders of its rows and columns."""
    orders = list(permutations(range(columns)))
    for matrix in combinations_with_replacement(product(values, repeat=columns), rows):
        if all(matrix <= tuple(sorted(tuple(row[c] for c in order) for row in matrix)) for order in orders):
            yield matrix


def agree(matrix: Matrix, repeatable: frozenset[int]) -> None:
    once = tuple(
        tuple(FORBIDDEN if value == ALLOWED and place not in repeatable else value for place, value in enumerate(row))
        for row in matrix
    )
    assert planned(matrix, repeatable) == brute_force(once, repeatable), (matrix, repeatable)


EVERY = frozenset(range(4))
MATRICES = st.lists(
    st.tuples(*[st.sampled_from([FORBIDDEN, ALLOWED, NEEDED, NEEDED])] * 4), min_size=1, max_size=4
).map(tuple)


@given(MATRICES)
def test_covers_of_some_small_problems_are_minimal(matrix: Matrix) -> None:
    agree(matrix, EVERY)


@given(MATRICES, st.frozensets(st.integers(0, 3)))
def test_some_small_problems_with_columns_of_both_kinds_are_minimal(matrix: Matrix, repeatable: frozenset[int]) -> None:
    agree(matrix, repeatable)


def test_partitions_of_all_small_problems_are_minimal() -> None:
    for matrix in distinct(4, 4, (FORBIDDEN, NEEDED)):
        agree(matrix, frozenset())


@pytest.mark.slow
def test_covers_of_all_small_problems_are_minimal() -> None:
    for matrix in distinct(4, 4, (FORBIDDEN, ALLOWED, NEEDED)):
        agree(matrix, EVERY)


@pytest.mark.slow
def test_all_smaller_problems_with_two_columns_of_each_kind_are_minimal() -> None:
    for matrix in distinct(3, 4, (FORBIDDEN, ALLOWED, NEEDED)):
        agree(matrix, frozenset([0, 1]))
