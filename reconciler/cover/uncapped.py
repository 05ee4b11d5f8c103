"""The plan without caps: reduce, kernel, greedy, search.

Rules
1. A column that is not repeatable is allowed only where it is still open, so boxes never overlap there; with none
   repeatable the boxes are a partition, with all of them a cover, and both are one search.
2. The greedy takes the row or column with the fewest open cells and closes it: every row that allows them all, every
   column that those rows allow.
3. Where some cells may be sent and need not be, closing can shut out rows that would fit with less. Growing takes one
   row more at a time: the one with the most open cells that all rows so far allow.
4. A step of the search opens the cells that only a few neighbouring boxes cover, and fills them again, closing or
   growing, with ties broken at random; it is kept if that takes no more boxes. Random numbers are drawn from a fixed
   seed.
5. The search goes in rounds of a fixed number of steps, each with its own seed, and the cheapest plan of all rounds
   is kept: more rounds only add candidates.
6. On small grids some steps fill the largest boxes first: where rows are unions of few overlapping roles, one box a
   row is a plateau that closing a row's open cells does not leave.
7. The kernel's rectangles hold for covers only; where some column is not repeatable it gives the bound alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reconciler.cover.bounds import Cell, Kernel, find_fooling_set, find_kernel, lift_boxes, rank_over_gf2
from reconciler.cover.grid import (
    Box,
    Classes,
    Draft,
    Grid,
    expand_boxes,
    intersection_of,
    make_draft,
    ones_of,
    reduce_problem,
    union_of,
)
from reconciler.cover.problem import CoverProblem, count_ones

_MOST_OPENED = 8
_THIN = 0.3
_GROWN = 0.3
_LARGEST = 0.1
_LARGEST_WORK = 200_000
"""Up to this work (`_work_of`) boxes are tried by size: each takes a look at every column for every column it gets."""

_BIASES = (0.0, 0.0, 1e9, -1e9)

Open = dict[int, int]
"""The open cells: for each row or column that has any, their mask."""


def fill_boxes(grid: Grid, need: Sequence[int]) -> list[Box]:
    """Boxes that cover the needed cells, given by row: the greedy alone."""
    return _fill_open(grid, {row: mask for row, mask in enumerate(need) if mask}, _Taste())


def improve_boxes(
    grid: Grid, need: Sequence[int], boxes: Sequence[Box], *, steps: int, enough: int, seed: int
) -> list[Box]:
    """Boxes that cover the same, no more of them, after so many steps or once there are no more than `enough`."""
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose, and no secret
    kept = list(boxes)
    spare = any(allowed & ~needed for needed, allowed in zip(grid.need_rows, grid.allow_rows, strict=True))
    small = not grid.once and _work_of(grid) <= _LARGEST_WORK
    for _ in range(steps):
        if len(kept) <= max(1, enough):
            break
        chosen = _draw_neighbours(kept, draw)
        untouched = [box for number, box in enumerate(kept) if number not in chosen]
        rows = _find_uncovered(need, [kept[number] for number in sorted(chosen)], untouched)
        thin = bool(grid.once) and draw.random() < _THIN
        grown = spare and draw.random() < _GROWN
        if small and draw.random() < _LARGEST:
            fresh = _fill_largest(grid, rows, draw)
        else:
            fresh = _fill_open(grid, rows, _Taste(draw, draw.choice(_BIASES), thin, grown))
        # as many boxes as before are a step, too: it leaves a plateau that only fewer ones would hold on to
        if len(fresh) <= len(chosen):
            kept = untouched + fresh
    return kept


def _draw_neighbours(boxes: Sequence[Box], draw: random.Random) -> set[int]:
    """A few boxes that share rows or columns with one drawn at random, and it."""
    first = draw.randrange(len(boxes))
    tall, wide = boxes[first]
    near = [number for number, box in enumerate(boxes) if box[0] & tall or box[1] & wide]
    return {first, *draw.sample(near, min(len(near), draw.randint(1, _MOST_OPENED)))}


def _find_uncovered(need: Sequence[int], chosen: Sequence[Box], kept: Sequence[Box]) -> Open:
    """The needed cells of the chosen boxes that no kept box covers."""
    tall = union_of(box[0] for box in chosen)
    rows = dict.fromkeys(ones_of(tall), 0)
    for box in chosen:
        for row in ones_of(box[0]):
            rows[row] |= box[1]
    for box in kept:
        for row in ones_of(box[0] & tall):
            rows[row] &= ~box[1]
    return {row: mask & need[row] for row, mask in rows.items() if mask & need[row]}


@dataclass(frozen=True, slots=True)
class _Taste:
    """The choices of a fill."""

    draw: random.Random | None = None
    """Breaks ties; without it the first wins."""
    bias: float = 0.0
    """How much the fill prefers boxes that grow by rows."""
    thin: bool = False
    """Whether boxes leave out some of the cells that they may hold: a pair sent once may fit another box better."""
    grown: bool = False
    """Whether rows are grown, not closed (rule 3)."""

    def noise(self) -> float:
        return self.draw.random() if self.draw else 0.0

    def some(self, mask: int) -> int:
        return mask & self.draw.getrandbits(mask.bit_length() + 1) if self.draw and self.thin else mask


def _fill_open(grid: Grid, rows: Open, taste: _Taste) -> list[Box]:
    columns = transpose_cells(rows)
    noise = taste.noise
    boxes = []
    while rows:
        row_size, row = min((mask.bit_count() + noise(), row) for row, mask in rows.items())
        column_size, column = min((mask.bit_count() + noise(), column) for column, mask in columns.items())
        if taste.grown:
            box = _grow_row(grid, rows, columns, row, taste)
        elif row_size <= column_size + taste.bias:
            box = _close_row(grid, rows, columns, row, taste)
        else:
            box = _close_column(grid, rows, columns, column, taste)
        boxes.append(box)
        _take_cells(rows, box[0], box[1])
        _take_cells(columns, box[1], box[0])
    return boxes


def _fill_largest(grid: Grid, rows: Open, draw: random.Random) -> list[Box]:
    columns = transpose_cells(rows)
    boxes = []
    while rows:
        boxes.append(_largest_box(grid, rows, columns, draw))
        _take_cells(rows, *boxes[-1])
        _take_cells(columns, *reversed(boxes[-1]))
    return boxes


def _largest_box(grid: Grid, rows: Open, columns: Open, draw: random.Random) -> Box:
    """The box that a column at a time makes, each the one that leaves most open cells in the closed box."""
    best: Box = (1 << len(grid.need_rows)) - 1, 0
    most = 0.0
    while True:
        wider = [
            (tall, intersection_of(grid.allow_rows[row] for row in ones_of(tall)))
            for column, open_rows in columns.items()
            if not best[1] >> column & 1 and open_rows & (tall := best[0] & grid.allow_columns[column])
        ]
        held = [sum((rows.get(row, 0) & wide).bit_count() for row in ones_of(tall)) for tall, wide in wider]
        size, place = max(((size + draw.random(), place) for place, size in enumerate(held)), default=(0.0, 0))
        if size <= most:
            return best
        best, most = wider[place], size


def _take_cells(lines: Open, places: int, mask: int) -> None:
    for place in ones_of(places):
        remaining = lines.get(place, 0) & ~mask
        if remaining:
            lines[place] = remaining
        else:
            lines.pop(place, None)


def transpose_cells(rows: Open) -> Open:
    """The same cells by column."""
    columns: Open = {}
    for row, mask in rows.items():
        for column in ones_of(mask):
            columns[column] = columns.get(column, 0) | 1 << row
    return columns


def _close_row(grid: Grid, rows: Open, columns: Open, row: int, taste: _Taste) -> Box:
    wanted = rows[row]
    tall = intersection_of(_allowed_column(grid, columns, column) for column in ones_of(wanted))
    tall &= union_of(columns[column] for column in ones_of(wanted))
    tall = 1 << row | taste.some(tall)
    wide = wanted | taste.some(intersection_of(_allowed_row(grid, rows, near) for near in ones_of(tall)))
    more = intersection_of(_allowed_column(grid, columns, column) for column in ones_of(wide))
    return tall | taste.some(more), wide


def _grow_row(grid: Grid, rows: Open, columns: Open, row: int, taste: _Taste) -> Box:
    """The row's open cells, and those of the rows that fit with them, the best first."""
    tall, wide, free = 1 << row, rows[row], _allowed_row(grid, rows, row)
    near = {near_row: _allowed_row(grid, rows, near_row) for near_row in rows if near_row != row}
    while True:
        near = {
            near_row: allowed for near_row, allowed in near.items() if not wide & ~allowed and rows[near_row] & free
        }
        if not near:
            break
        _, best = max(((rows[near_row] & free).bit_count() + taste.noise(), near_row) for near_row in near)
        tall |= 1 << best
        wide |= rows[best] & free
        free &= near.pop(best)
    more = intersection_of(_allowed_column(grid, columns, column) for column in ones_of(wide))
    return tall | more, wide


def _close_column(grid: Grid, rows: Open, columns: Open, column: int, taste: _Taste) -> Box:
    wanted = columns[column]
    wide = intersection_of(_allowed_row(grid, rows, row) for row in ones_of(wanted))
    wide &= union_of(rows[row] for row in ones_of(wanted))
    wide = 1 << column | taste.some(wide)
    tall = wanted | taste.some(intersection_of(_allowed_column(grid, columns, near) for near in ones_of(wide)))
    more = intersection_of(_allowed_row(grid, rows, row) for row in ones_of(tall))
    return tall, wide | taste.some(more)


def _allowed_row(grid: Grid, rows: Open, row: int) -> int:
    return grid.allow_rows[row] & ~grid.once | rows.get(row, 0)


def _allowed_column(grid: Grid, columns: Open, column: int) -> int:
    return columns.get(column, 0) if grid.once >> column & 1 else grid.allow_columns[column]


STEPS = 400
"""Steps of the search a round, at most; fewer where each is long."""

_STEP_WORK = 180_000_000
_EASY = 20_000
"""Patterns × tags up to which every round's plan is looked at."""

_CAPPED = 1.5
"""Where the caps cut the boxes into this many times as many requests, fewer boxes are not worth a search."""

_MOST_PATTERNS = 6_000
_MOST_CELLS = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A problem without caps, the cells that its kernel leaves, and the proven bound."""

    problem: CoverProblem
    grid: Grid
    classes: Classes
    kernel: Kernel
    bound: int
    certificate: tuple[Cell, ...]
    """(contact, tag) numbers of needed pairs no two of which fit in one rectangle."""


def is_small(problem: CoverProblem) -> bool:
    """Whether the work below stays within a second or so."""
    return len(problem.must) <= _MOST_PATTERNS and int(count_ones(problem.may).sum()) <= _MOST_CELLS


def reduce_grid(problem: CoverProblem) -> Reduced:
    """The problem made small, with the bounds that hold under any caps."""
    grid, classes = reduce_problem(problem)
    core = find_kernel(grid)
    cells = core.seeds + find_fooling_set(grid, core.need_rows)
    bound = max(len(cells), rank_over_gf2([row & grid.once for row in grid.need_rows]))
    pairs = tuple(sorted(_pair_of(problem, classes, cell) for cell in cells))
    unreduced = Kernel((), grid.need_rows)
    return Reduced(problem, grid, classes, unreduced if grid.once else core, bound, pairs)


def _steps_a_round(grid: Grid) -> int:
    """As many as a round has time for: a step is the longer the more rows allow the needed cells."""
    return max(1, min(STEPS, _STEP_WORK // max(1, _work_of(grid))))


def _work_of(grid: Grid) -> int:
    columns = zip(grid.need_columns, grid.allow_columns, strict=True)
    return sum(need.bit_count() * allow.bit_count() for need, allow in columns)


def _pair_of(problem: CoverProblem, classes: Classes, cell: Cell) -> Cell:
    """A contact and a tag that make the cell needed."""
    for row in np.flatnonzero(classes.row == cell[0]).tolist():
        for tag in np.flatnonzero(classes.column == cell[1]).tolist():
            if int(problem.must[row, tag >> 6]) >> (tag & 63) & 1:
                return int(problem.start[row]), tag
    raise AssertionError(f"nobody needs {cell}")


def make_drafts(core: Reduced, *, effort: int) -> Iterator[Draft]:
    """A plan for each round of search that finds fewer boxes; for every round, where plans are quickly made.

    Under caps, as many boxes may take fewer requests.
    """
    boxes = _start_boxes(core)
    enough = core.bound - len(core.kernel.seeds)
    first = _make_draft(core, boxes)
    yield first
    # the caps decide the requests here: the plan under caps is the better place to search
    if first.cost > _CAPPED * len(first.blocks):
        return
    fewest, steps = len(boxes), _steps_a_round(core.grid)
    easy = len(core.problem.must) * len(core.problem.tags) <= _EASY
    for turn in range(effort):
        if fewest <= enough:
            return
        boxes = improve_boxes(core.grid, core.kernel.need_rows, boxes, steps=steps, enough=enough, seed=turn)
        if len(boxes) < fewest or easy:
            fewest = len(boxes)
            yield _make_draft(core, boxes)


def _make_draft(core: Reduced, boxes: list[Box]) -> Draft:
    lifted = lift_boxes(core.grid, core.kernel, boxes)
    return make_draft(core.problem, "roles", expand_boxes(core.problem, core.classes, lifted))


def _start_boxes(core: Reduced) -> list[Box]:
    """The fewest boxes of the greedy, one a row, and one a column."""
    need = {row: mask for row, mask in enumerate(core.kernel.need_rows) if mask}
    by_row = [(1 << row, mask) for row, mask in need.items()]
    by_column = [(mask, 1 << column) for column, mask in transpose_cells(need).items()]
    return min(fill_boxes(core.grid, core.kernel.need_rows), by_row, by_column, key=len)
