"""The plan without caps: reduce, kernel, greedy, search; and what it proves.

Rules
1. The kernel's rectangles hold for covers only; where some column is not repeatable it gives the bound alone.
2. The search goes in rounds of a fixed number of steps, each with its own seed, and the cheapest plan of all rounds
   is kept: more rounds only add candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reconciler.core.cover.bits import sizes
from reconciler.core.cover.bounds import Cell, fooling, rank
from reconciler.core.cover.draft import Draft, draft
from reconciler.core.cover.grid import Box, Classes, Grid, expand, reduce
from reconciler.core.cover.kernel import Kernel, kernel, lift
from reconciler.core.cover.problem import CoverProblem
from reconciler.core.cover.search import fill, improve, transposed

STEPS = 150
"""Steps of the search a round, at most; fewer where each is long."""

_STEP_WORK = 60_000_000
_EASY = 20_000
"""Patterns × tags up to which every round's plan is looked at."""

_CAPPED = 1.5
"""Where the caps cut the boxes into this many times as many requests, fewer boxes are not worth a search."""

_MOST_PATTERNS = 6_000
_MOST_CELLS = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A problem without caps, what its kernel leaves, and what is proven. `certificate`: (contact, tag) numbers."""

    problem: CoverProblem
    grid: Grid
    classes: Classes
    kernel: Kernel
    bound: int
    certificate: tuple[Cell, ...]


def small(problem: CoverProblem) -> bool:
    """Whether the work below stays within a second or so."""
    return len(problem.must) <= _MOST_PATTERNS and int(sizes(problem.may).sum()) <= _MOST_CELLS


def reduced(problem: CoverProblem) -> Reduced:
    """The problem made small, with the bounds that hold whatever the caps are."""
    grid, classes = reduce(problem)
    core = kernel(grid)
    cells = core.seeds + fooling(grid, core.need_rows)
    bound = max(len(cells), rank([row & grid.once for row in grid.need_rows]))
    pairs = tuple(sorted(_pair(problem, classes, cell) for cell in cells))
    whole = Kernel((), grid.need_rows)
    return Reduced(problem, grid, classes, whole if grid.once else core, bound, pairs)


def _steps(grid: Grid) -> int:
    """As many as a round has time for: a step is the longer the more rows allow what is needed."""
    columns = zip(grid.need_columns, grid.allow_columns, strict=True)
    work = sum(need.bit_count() * allow.bit_count() for need, allow in columns)
    return max(1, min(STEPS, _STEP_WORK // max(1, work)))


def _pair(problem: CoverProblem, classes: Classes, cell: Cell) -> Cell:
    """A contact and a tag that make the cell needed."""
    for row in np.flatnonzero(classes.row == cell[0]).tolist():
        for tag in np.flatnonzero(classes.column == cell[1]).tolist():
            if int(problem.must[row, tag >> 6]) >> (tag & 63) & 1:
                return int(problem.start[row]), tag
    raise AssertionError(f"nobody needs {cell}")


def plans(one: Reduced, *, effort: int) -> Iterator[Draft]:
    """A plan for each round of search that finds fewer boxes; for every round, where plans are quickly made.

    Under caps, as many boxes may take fewer requests.
    """
    boxes = _start(one)
    enough = one.bound - len(one.kernel.seeds)
    first = _draft(one, boxes)
    yield first
    if first.cost > _CAPPED * len(first.blocks):
        return
    fewest, steps = len(boxes), _steps(one.grid)
    easy = len(one.problem.must) * len(one.problem.tags) <= _EASY
    for turn in range(effort):
        if fewest <= enough:
            return
        boxes = improve(one.grid, one.kernel.need_rows, boxes, steps=steps, enough=enough, seed=turn)
        if len(boxes) < fewest or easy:
            fewest = len(boxes)
            yield _draft(one, boxes)


def _draft(one: Reduced, boxes: list[Box]) -> Draft:
    lifted = lift(one.grid, one.kernel, boxes)
    return draft(one.problem, "roles", expand(one.problem, one.classes, lifted))


def _start(one: Reduced) -> list[Box]:
    """The fewest boxes of the greedy, one a row, and one a column."""
    need = {row: mask for row, mask in enumerate(one.kernel.need_rows) if mask}
    by_row = [(1 << row, mask) for row, mask in need.items()]
    by_column = [(mask, 1 << column) for column, mask in transposed(need).items()]
    return min(fill(one.grid, one.kernel.need_rows), by_row, by_column, key=len)
