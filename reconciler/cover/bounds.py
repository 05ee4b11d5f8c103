"""Lower bounds that hold under any caps, each with its reason.

Rules
1. *Fooling set*: needed cells no two of which fit in one allowed rectangle; each takes a rectangle of its own. It is
   found row by row: a cell taken excludes, in every row that allows its column, the columns its row allows.
2. *Rank*: where nothing is sent twice, the needed matrix is the sum of its rectangles, each of rank 1, in every
   field; its rank over GF(2) is therefore a bound for partitions.
3. *Kernel*: every cover has to contain certain rectangles, and certain cells come for free. No rectangle holds two
   seeds (below), nor a seed and a cell that is needed at the end.

The kernel is row and column dominance of two-level logic minimisation; nothing in it relates cells to cells. For a
needed cell (u, p), were every column repeatable:
  C = the columns u allows that some row allowing p needs,  R = the rows allowing p that need a column of C,
  ext = the rows that allow all of C,                       int = the columns that all of R allow.
Any rectangle that covers (u, p) can be cut to R × C without loss, and then grown by any row of ext and any column of
int. If R lies in ext, ext × int holds every useful rectangle through (u, p): it is taken, and (u, p) is its seed.
Otherwise the other needed cells in ext × int come for free with (u, p): they are struck off, and noted. Once the rest
is covered, the notes are read backwards, and a rectangle through (u, p) is cut and grown to take them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from reconciler.cover.grid import Box, Grid, intersection_of, mask_of, ones_of, union_of

Cell = tuple[int, int]

_LOOK = 16
"""Rows that a cell of the fooling set is chosen from: those with the fewest cells left."""


def rank_over_gf2(rows: Sequence[int]) -> int:
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


def find_fooling_set(grid: Grid, need: Sequence[int]) -> tuple[Cell, ...]:
    """Cells among those needed, by row, no two of which fit in one rectangle."""
    open_cells = {row: mask for row, mask in enumerate(need) if mask}
    cells: list[Cell] = []
    while open_cells:
        likely = nsmallest(_LOOK, open_cells, key=lambda row: (open_cells[row].bit_count(), row))
        _, row, column = min(_count_excluded(grid, open_cells, row) for row in likely)
        cells.append((row, column))
        for near in ones_of(grid.allow_columns[column]):
            if near in open_cells:
                open_cells[near] &= ~grid.allow_rows[row]
                if not open_cells[near]:
                    del open_cells[near]
    return tuple(cells)


def _count_excluded(grid: Grid, open_cells: dict[int, int], row: int) -> tuple[int, int, int]:
    """The column of the row that excludes the fewest cells, with their number and the row."""
    allowed = grid.allow_rows[row]
    near = {near_row: (mask & allowed).bit_count() for near_row, mask in open_cells.items() if mask & allowed}
    return min(
        (sum(near.get(near_row, 0) for near_row in ones_of(grid.allow_columns[column])), row, column)
        for column in ones_of(open_cells[row])
    )


# the notes hold at any time, so that stopping early only leaves more to the search
_ALLOWANCE = 4_000_000
"""Masks that may be looked at: about a second or two."""


@dataclass(frozen=True, slots=True)
class Note:
    """A step of the kernel, to be undone in the reverse order."""

    cell: Cell
    struck: tuple[Box, ...]
    """By row, the columns that come for free with the cell, or that the forced box covers."""
    forced: Box | None
    """The rectangle that every cover contains; None where the cell forces none."""


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The notes, in turn, and the cells left to cover, by row."""

    notes: tuple[Note, ...]
    need_rows: tuple[int, ...]

    @property
    def seeds(self) -> tuple[Cell, ...]:
        """One cell of each forced rectangle."""
        return tuple(note.cell for note in self.notes if note.forced)


class _Work:
    """The needs while they shrink, by row and by column."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.rows = list(grid.need_rows)
        self.columns = list(grid.need_columns)

    def strike(self, row: int, mask: int) -> None:
        self.rows[row] &= ~mask
        for column in ones_of(mask):
            self.columns[column] &= ~(1 << row)

    def restore(self, row: int, mask: int) -> None:
        self.rows[row] |= mask
        for column in ones_of(mask):
            self.columns[column] |= 1 << row

    def useful(self, cell: Cell) -> Box:
        """R and C of the cell."""
        row, column = cell
        allowing = self.grid.allow_columns[column]
        columns = self.grid.allow_rows[row] & union_of(self.rows[near] for near in ones_of(allowing))
        return allowing & union_of(self.columns[near] for near in ones_of(columns)), columns


def find_kernel(grid: Grid) -> Kernel:
    """The notes of a grid, to a fixpoint or until the allowance is used up: the notes hold at any time."""
    work = _Work(grid)
    notes: list[Note] = []
    seen, allowance = -1, _ALLOWANCE
    while seen != len(notes) and allowance > 0:
        seen = len(notes)
        for row, column in [(row, column) for row, mask in enumerate(work.rows) for column in ones_of(mask)]:
            if allowance > 0 and work.rows[row] >> column & 1:
                allowance -= grid.allow_rows[row].bit_count() + grid.allow_columns[column].bit_count()
                notes += _visit_cell(work, (row, column))
    return Kernel(tuple(notes), tuple(work.rows))


def _visit_cell(work: _Work, cell: Cell) -> list[Note]:
    """Strikes off the cells of the rectangle that the cell forces, or those that come for free with it."""
    rows, columns = work.useful(cell)
    wide = intersection_of(work.grid.allow_columns[column] for column in ones_of(columns))
    forced = not rows & ~wide
    tall = intersection_of(work.grid.allow_rows[row] for row in ones_of(rows))
    if not forced:
        work.strike(cell[0], 1 << cell[1])
    struck = tuple((row, work.rows[row] & tall) for row in ones_of(wide) if work.rows[row] & tall)
    for row, mask in struck:
        work.strike(row, mask)
    if forced:
        return [Note(cell, struck, (rows, columns))]
    work.restore(cell[0], 1 << cell[1])
    return [Note(cell, struck, None)] if struck else []


def lift_boxes(grid: Grid, core: Kernel, boxes: Sequence[Box]) -> tuple[Box, ...]:
    """A cover of the grid from one of the cells that the kernel left: as many boxes, and the forced ones."""
    work = _Work(grid)
    work.rows, work.columns = [0] * len(work.rows), [0] * len(work.columns)
    for row, mask in enumerate(core.need_rows):
        work.restore(row, mask)
    grown = list(boxes)
    for note in reversed(core.notes):
        for row, mask in note.struck:
            work.restore(row, mask)
        if note.forced:
            grown.append(note.forced)
        else:
            _grow_box(work, note, grown)
    return tuple(grown)


def _grow_box(work: _Work, note: Note, boxes: list[Box]) -> None:
    """Cuts a box through the note's cell to the cells useful with it, and grows it by those struck off."""
    row, column = note.cell
    through = [place for place, box in enumerate(boxes) if box[0] >> row & 1 and box[1] >> column & 1]
    rows, columns = work.useful(note.cell)
    tall, wide = mask_of(row for row, _ in note.struck), union_of(mask for _, mask in note.struck)
    boxes[through[0]] = (boxes[through[0]][0] & rows | tall, boxes[through[0]][1] & columns | wide)
