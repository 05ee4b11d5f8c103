"""Lower bounds, each with its reason.

Rules
1. *Fooling set*: needed cells no two of which fit in one allowed rectangle; each takes a rectangle of its
   own.
   It is found row by row: a cell taken excludes, in every row that allows its column, the columns its row
   allows.
2. *Rank*: where nothing is sent twice, the needed matrix is the sum of its rectangles, each of rank 1, in
   every field;
   its rank over GF(2) is therefore a bound for partitions.
3. *Full requests*: a contact takes one request for every `max_tags` tags it needs, a request serves
   `max_contacts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

from reconciler.core.cover.bits import sizes
from reconciler.core.cover.grid import Grid, ones
from reconciler.core.cover.problem import Problem

Cell = tuple[int, int]

_LOOK = 16
"""Rows that a cell of the fooling set is chosen from: those with the fewest cells left."""


def full(problem: Problem) -> int:
    """A bound by size alone: what the contacts need, were every request full."""
    each = -(-sizes(problem.must) // problem.max_tags)
    return -(-int((each * problem.counts).sum()) // problem.max_contacts)


def rank(rows: Sequence[int]) -> int:
    """The rank over GF(2) of a matrix given by its rows."""
    basis: dict[int, int] = {}
    for row in rows:
        while row:
            lead = row.bit_length()
            if lead not in basis:
                basis[lead] = row
                break
            row ^= basis[lead]
    return len(basis)


def fooling(grid: Grid, need: Sequence[int]) -> tuple[Cell, ...]:
    """Cells among those needed, by row, no two of which fit in one rectangle."""
    left = {row: mask for row, mask in enumerate(need) if mask}
    found: list[Cell] = []
    while left:
        likely = nsmallest(_LOOK, left, key=lambda row: (left[row].bit_count(), row))
        _, row, column = min(_excludes(grid, left, row) for row in likely)
        found.append((row, column))
        for other in ones(grid.allow_columns[column]):
            if other in left:
                left[other] &= ~grid.allow_rows[row]
                if not left[other]:
                    del left[other]
    return tuple(found)


def _excludes(grid: Grid, left: dict[int, int], row: int) -> tuple[int, int, int]:
    """The column of the row that excludes the fewest cells, with their number and the row."""
    allowed = grid.allow_rows[row]
    near = {other: (mask & allowed).bit_count() for other, mask in left.items() if mask & allowed}
    return min(
        (sum(near.get(other, 0) for other in ones(grid.allow_columns[column])), row, column)
        for column in ones(left[row])
    )
