"""Lower bounds that count contacts: a request holds `max_contacts` of them.

Rules
1. *Places*: a request has a place for each of its contacts, and a contact takes one for every `max_tags` tags it needs.
   Some contacts may be sent nothing but their needs, which fit in one request: such a contact takes one place if a
   request sends just its needs, two if two requests send them together, and else three. z requests have z sets of
   tags, and z (z + 1) / 2 sets and pairs of sets: for so many needs, the commonest at best, two places or one are
   enough. One place is enough for the contacts of z requests at most, each of one need.
2. *Turns*: tags take turns. Each takes the contacts that may be sent it and that no tag took before; those that need it
   are its group. No request serves two groups through their tags: it would send the tag of the earlier group to a
   contact that may not be sent it. Nor does it serve a contact that no tag took through any of them. So the requests of
   all groups add up, with the places of the contacts that are left.
3. *Growth*: cells no two of which fit in one request become groups, too: a contact joins one while still no cell of a
   group fits with a cell of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reconciler.cover.bounds import Cell
from reconciler.cover.grid import mask_of, ones_of
from reconciler.cover.problem import (
    Bits,
    Bools,
    CoverProblem,
    Ints,
    count_ones,
    find_ones,
    row_mask,
    rows_with,
    unpack_cells,
)

_LOOKS = 50
"""Between so many turns, about, the places of the contacts that are left are counted."""

_BLOCK_CELLS = 1 << 18


class _Places:
    """The places that patterns take in requests by rule 1."""

    def __init__(self, problem: CoverProblem) -> None:
        self._cap = problem.max_contacts
        self._least = -(-count_ones(problem.must) // problem.max_tags)
        is_exact = (problem.must == problem.may).all(axis=1) & (self._least == 1)
        # of contacts that may be sent nothing but their needs: three, before sets and pairs of sets save some
        self._counted = problem.counts * (self._least + 2 * is_exact)
        # patterns differ, and so do their needs where no more may be sent; the commonest first
        exact = np.flatnonzero(is_exact)
        self._exact = exact[np.argsort(-problem.counts[exact], kind="stable")]
        self._sizes = problem.counts[self._exact]

    def bound(self, rows: Bools) -> int:
        """The requests that these patterns take: the fewest z with places for them all."""
        sizes, places = self._sizes[rows[self._exact]], int(self._counted[rows].sum())
        whole = np.full(int((sizes // self._cap).sum()), self._cap)
        chunks = np.concatenate([whole, np.sort(sizes % self._cap)[::-1]])
        requests = np.arange(places // self._cap + 2)
        # a pair of sets saves each contact of a need one place, and a set of its own another
        saved = _sum_of_first(chunks, requests) + _sum_of_first(sizes, requests * (requests + 1) // 2)
        # a contact alone takes a request for every `max_tags` tags it needs
        alone = int(self._least[rows].max(initial=0))
        return max(alone, int(np.argmax(requests * self._cap + saved >= places)))


def _sum_of_first(sizes: Ints, numbers: Ints) -> Ints:
    sums: Ints = np.concatenate([[0], np.cumsum(sizes)])[np.minimum(numbers, len(sizes))]
    return sums


def bound_in_turn(problem: CoverProblem) -> tuple[int, tuple[Cell, ...]]:
    """The best bound of rules 1 and 2 over some numbers of turns, and (contact, tag) numbers, one of each group."""
    cap, width = problem.max_contacts, len(problem.tags)
    places, left = _Places(problem), np.ones(len(problem.must), np.bool_)
    needing, allowing = (_contacts_by_tag(cells, problem.counts, width) for cells in (problem.must, problem.may))
    requests, cells = 0, list[Cell]()
    found = places.bound(left), _with_one_left(problem, cells, left)
    while needing.any():
        # the group that takes most requests for the contacts that are lost to others
        tag = int(np.argmax(-(-needing // cap) / np.maximum(allowing, 1)))
        requests += -(-int(needing[tag]) // cap)
        rows = np.flatnonzero(left & rows_with(problem.may, tag))
        left[rows] = False
        cells.append((int(problem.start[rows[rows_with(problem.must[rows], tag)][0]]), tag))
        needing -= _contacts_by_tag(problem.must[rows], problem.counts[rows], width)
        allowing -= _contacts_by_tag(problem.may[rows], problem.counts[rows], width)
        if len(cells) % -(-width // _LOOKS) == 0 or not needing.any():
            bound = requests + places.bound(left)
            found = max(found, (bound, _with_one_left(problem, cells, left)), key=lambda each: each[0])
    return found[0], tuple(sorted(found[1]))


def _contacts_by_tag(cells: Bits, counts: Ints, width: int) -> Ints:
    """How many contacts have a one, by tag."""
    found: Ints = np.zeros(width, np.int64)
    # unpacked a block of patterns at a time: a matrix of integers takes 64 times the memory
    step = max(1, _BLOCK_CELLS // max(1, width))
    for top in range(0, len(cells), step):
        found += counts[top : top + step] @ unpack_cells(cells[top : top + step], width)
    return found


def _with_one_left(problem: CoverProblem, cells: Sequence[Cell], left: Bools) -> list[Cell]:
    """The cells, one of each group, with one of a contact that no tag took."""
    if not left.any():
        return list(cells)
    row = int(np.argmax(left))
    return [*cells, (int(problem.start[row]), int(find_ones(problem.must[row])[0]))]


def bound_by_growth(problem: CoverProblem, cells: Sequence[Cell]) -> int:
    """The requests that rule 3 makes of these cells, no two of which fit in one request."""
    contacts, tags = zip(*cells, strict=True) if cells else ((), ())
    begun = dict(zip((np.searchsorted(problem.start, contacts, side="right") - 1).tolist(), tags, strict=True))
    groups = _Groups(problem, tags)
    for row, tag in begun.items():
        groups.join(row, tag)
    for row in np.argsort(-problem.counts, kind="stable").tolist():
        if row not in begun:
            groups.join_largest(row)
    return sum(-(-size // problem.max_contacts) for size in groups.sizes.values())


class _Groups:
    """Contacts by the tag through which they are sent to, no two groups of which share a request."""

    def __init__(self, problem: CoverProblem, tags: Sequence[int]) -> None:
        self._counts = problem.counts.tolist()
        self._must, self._may = list(map(row_mask, problem.must)), list(map(row_mask, problem.may))
        self._marked = mask_of(tags)
        self.sizes = dict.fromkeys(tags, 0)
        # by tag, the groups with a contact that may be sent it
        self._near = dict.fromkeys(tags, 0)

    def join(self, row: int, group: int) -> None:
        self.sizes[group] += self._counts[row]
        for tag in ones_of(self._may[row] & self._marked):
            self._near[tag] |= 1 << group

    def join_largest(self, row: int) -> None:
        """Puts the pattern into the largest group that it fits into, if there is one."""
        needed = ones_of(self._must[row] & self._marked)
        fitting = [tag for tag in needed if not self._near[tag] & self._may[row] & ~(1 << tag)]
        if fitting:
            self.join(row, max(fitting, key=lambda each: (self.sizes[each], -each)))
