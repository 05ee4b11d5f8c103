"""Looks for few boxes that cover what a grid needs: a greedy, and rounds of taking some boxes apart and filling anew.

Rules
1. A column that is not repeatable is allowed only where it is still open, so boxes never overlap there; with none
   repeatable the boxes are a partition, with all of them a cover, and both are one search.
2. The greedy takes the row or column with the fewest open cells and closes it: every row that allows them all, every
   column that those rows allow.
3. Where some cells may be sent and need not be, closing can shut out rows that would fit with less. Growing takes one
   row more at a time: the one with the most open cells that all rows so far allow.
4. A step of the search opens what only a few neighbouring boxes cover, and fills it again, closing or growing, with
   ties broken at random; it is kept if that takes no more boxes. Random numbers are drawn from a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.cover.grid import Box, Grid, intersection, ones, union

_MOST_OPENED = 8
_THIN = 0.3
_GROWN = 0.3
_BIASES = (0.0, 0.0, 1e9, -1e9)

Open = dict[int, int]
"""The open cells: for each row or column that has any, their mask."""


def fill(grid: Grid, need: Sequence[int]) -> list[Box]:
    """Boxes that cover what is needed, by row: the greedy alone."""
    return _fill(grid, {row: mask for row, mask in enumerate(need) if mask}, _Taste())


def improve(grid: Grid, need: Sequence[int], boxes: Sequence[Box], *, steps: int, enough: int, seed: int) -> list[Box]:
    """Boxes that cover the same, no more of them, after so many steps or once there are no more than `enough`."""
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose, and no secret
    kept = list(boxes)
    spare = any(allowed & ~needed for needed, allowed in zip(grid.need_rows, grid.allow_rows, strict=True))
    for _ in range(steps):
        if len(kept) <= max(1, enough):
            break
        chosen = _neighbours(kept, draw)
        rest = [box for number, box in enumerate(kept) if number not in chosen]
        rows = _uncovered(need, [kept[number] for number in sorted(chosen)], rest)
        thin = bool(grid.once) and draw.random() < _THIN
        grown = spare and draw.random() < _GROWN
        fresh = _fill(grid, rows, _Taste(draw, draw.choice(_BIASES), thin, grown))
        if len(fresh) <= len(chosen):
            kept = rest + fresh
    return kept


def _neighbours(boxes: Sequence[Box], draw: random.Random) -> set[int]:
    """A few boxes that share rows or columns with one drawn at random, and it."""
    first = draw.randrange(len(boxes))
    tall, wide = boxes[first]
    near = [number for number, box in enumerate(boxes) if box[0] & tall or box[1] & wide]
    return {first, *draw.sample(near, min(len(near), draw.randint(1, _MOST_OPENED)))}


def _uncovered(need: Sequence[int], chosen: Sequence[Box], rest: Sequence[Box]) -> Open:
    """What is needed in the chosen boxes and not covered by the rest."""
    tall = union(box[0] for box in chosen)
    rows = dict.fromkeys(ones(tall), 0)
    for box in chosen:
        for row in ones(box[0]):
            rows[row] |= box[1]
    for box in rest:
        for row in ones(box[0] & tall):
            rows[row] &= ~box[1]
    return {row: mask & need[row] for row, mask in rows.items() if mask & need[row]}


@dataclass(frozen=True, slots=True)
class _Taste:
    """How a fill chooses. `draw`: breaks ties; `bias`: towards rows; `thin`: leaves out some of what a box may hold
    besides what it is for, since what is sent once may be better off in another box; `grown`: rows are grown, not
    closed."""

    draw: random.Random | None = None
    bias: float = 0.0
    thin: bool = False
    grown: bool = False

    def noise(self) -> float:
        return self.draw.random() if self.draw else 0.0

    def some(self, mask: int) -> int:
        return mask & self.draw.getrandbits(mask.bit_length() + 1) if self.draw and self.thin else mask


def _fill(grid: Grid, rows: Open, taste: _Taste) -> list[Box]:
    columns = transposed(rows)
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
        _take(rows, box[0], box[1])
        _take(columns, box[1], box[0])
    return boxes


def _take(lines: Open, places: int, mask: int) -> None:
    for place in ones(places):
        left = lines.get(place, 0) & ~mask
        if left:
            lines[place] = left
        else:
            lines.pop(place, None)


def transposed(rows: Open) -> Open:
    """The same cells by column."""
    columns: Open = {}
    for row, mask in rows.items():
        for column in ones(mask):
            columns[column] = columns.get(column, 0) | 1 << row
    return columns


def _close_row(grid: Grid, rows: Open, columns: Open, row: int, taste: _Taste) -> Box:
    wanted = rows[row]
    tall = intersection(_allowed_column(grid, columns, column) for column in ones(wanted))
    tall &= union(columns[column] for column in ones(wanted))
    tall = 1 << row | taste.some(tall)
    wide = wanted | taste.some(intersection(_allowed_row(grid, rows, other) for other in ones(tall)))
    more = intersection(_allowed_column(grid, columns, column) for column in ones(wide))
    return tall | taste.some(more), wide


def _grow_row(grid: Grid, rows: Open, columns: Open, row: int, taste: _Taste) -> Box:
    """The row's open cells, and those of the rows that fit with them, the best first."""
    tall, wide, free = 1 << row, rows[row], _allowed_row(grid, rows, row)
    near = {other: _allowed_row(grid, rows, other) for other in rows if other != row}
    while True:
        near = {other: allowed for other, allowed in near.items() if not wide & ~allowed and rows[other] & free}
        if not near:
            break
        _, best = max(((rows[other] & free).bit_count() + taste.noise(), other) for other in near)
        tall |= 1 << best
        wide |= rows[best] & free
        free &= near.pop(best)
    more = intersection(_allowed_column(grid, columns, column) for column in ones(wide))
    return tall | more, wide


def _close_column(grid: Grid, rows: Open, columns: Open, column: int, taste: _Taste) -> Box:
    wanted = columns[column]
    wide = intersection(_allowed_row(grid, rows, row) for row in ones(wanted))
    wide &= union(rows[row] for row in ones(wanted))
    wide = 1 << column | taste.some(wide)
    tall = wanted | taste.some(intersection(_allowed_column(grid, columns, other) for other in ones(wide)))
    more = intersection(_allowed_row(grid, rows, row) for row in ones(tall))
    return tall, wide | taste.some(more)


def _allowed_row(grid: Grid, rows: Open, row: int) -> int:
    return grid.allow_rows[row] & ~grid.once | rows.get(row, 0)


def _allowed_column(grid: Grid, columns: Open, column: int) -> int:
    return columns.get(column, 0) if grid.once >> column & 1 else grid.allow_columns[column]
