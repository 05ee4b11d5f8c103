"""Lower bounds, each with its reason.

Rules
1. *Fooling set*: needed cells no two of which fit in one allowed rectangle; each takes a rectangle of its own. It is
   found row by row: a cell taken excludes, in every row that allows its column, the columns its row allows.
2. *Rank*: where nothing is sent twice, the needed matrix is the sum of its rectangles, each of rank 1, in every
   field; its rank over GF(2) is therefore a bound for partitions.
3. *Places*: a request has `max_contacts` places. A contact takes one for every `max_tags` tags it needs, and at least
   two unless one request holds just what it needs; where nothing else may be sent, z requests can do that for no more
   contacts than the z largest groups of equal needs, cut to the cap, hold.
4. *Groups*: for some rare tags, the contacts that need one of them and may be sent no other. No request serves two
   such groups through those tags, nor through them a contact that may be sent none of them. So the bounds of the
   groups and of those contacts add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

import numpy as np

from reconciler.core.cover.bits import Bools, Ints, column, distinct_rows, members, pack, sizes, some
from reconciler.core.cover.grid import Grid, ones
from reconciler.core.cover.problem import CoverProblem

Cell = tuple[int, int]

_PREFIXES = 24
"""How many numbers of rare tags are tried."""

_LOOK = 16
"""Rows that a cell of the fooling set is chosen from: those with the fewest cells left."""


def groups(problem: CoverProblem) -> tuple[int, tuple[Cell, ...]]:
    """The best bound of rules 3 and 4 over the rarest tags, and (contact, tag) numbers, one of each group."""
    weight = np.array([problem.counts[column(problem.may, tag)].sum() for tag in range(len(problem.tags))])
    rarest = np.argsort(weight, kind="stable")
    takes = np.unique(np.geomspace(1, len(rarest), _PREFIXES).astype(np.int64)).tolist()
    needs = _needs(problem)
    best, tags = max((_grouped(problem, needs, rarest[:take]), take) for take in [0, *takes])
    rows, kinds, rest = _split(problem, rarest[:tags])
    first = np.unique(kinds, return_index=True)[1]
    cells = list(zip(problem.start[rows[first]].tolist(), kinds[first].tolist(), strict=True))
    if rest.any():
        row = int(np.argmax(rest))
        cells.append((int(problem.start[row]), int(members(problem.must[row])[0])))
    return best, tuple(sorted(cells))


def _split(problem: CoverProblem, tags: Ints) -> tuple[Ints, Ints, Bools]:
    """The patterns that need one of the tags and allow no other; which; and the patterns that allow none of them."""
    chosen = pack(np.zeros(len(tags), np.int64), tags, shape=(1, len(problem.tags)))[0]
    allowed = sizes(problem.may & chosen)
    rows = np.flatnonzero(allowed == 1)
    needed = problem.must[rows] & chosen
    rows, needed = rows[some(needed)], needed[some(needed)]
    word = np.argmax(needed > 0, axis=1)
    bit = np.bitwise_count(needed[np.arange(len(rows)), word] - np.uint64(1))
    return rows, 64 * word + bit, np.equal(allowed, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Needs:
    """For each pattern: its contacts, the places each takes, whether one request can hold just what it needs, and
    which patterns need the same."""

    counts: Ints
    each: Ints
    exact: Bools
    kind: Ints


def _needs(problem: CoverProblem) -> _Needs:
    each = -(-sizes(problem.must) // problem.max_tags)
    exact = (problem.must == problem.may).all(axis=1) & (each == 1)
    return _Needs(problem.counts, each, exact, distinct_rows(problem.must)[1])


def _grouped(problem: CoverProblem, needs: _Needs, tags: Ints) -> int:
    rows, kinds, rest = _split(problem, tags)
    size = np.bincount(kinds, needs.counts[rows]).astype(np.int64)
    return int((-(-size // problem.max_contacts)).sum()) + _twice(needs, rest, problem.max_contacts)


def _twice(needs: _Needs, rows: Bools, cap: int) -> int:
    """The requests that these patterns take by rule 3: the fewest z with places for them all."""
    places = int((needs.counts * (needs.each + needs.exact))[rows].sum())
    both = rows & needs.exact
    size = np.bincount(needs.kind[both], needs.counts[both]).astype(np.int64)
    chunks = np.sort(np.concatenate([np.full(int((size // cap).sum()), cap), size % cap]))[::-1]
    requests = np.arange(places // cap + 2)
    whole = np.concatenate([[0], np.cumsum(chunks)])[np.minimum(requests, len(chunks))]
    return int(np.argmax(requests * cap + whole >= places))


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
