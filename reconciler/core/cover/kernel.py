"""What every cover has to contain, and what follows from the rest.

For a needed cell (u, p), were every column repeatable:
  C = the columns u allows that some row allowing p needs,  R = the rows allowing p that need something in C,
  ext = the rows that allow all of C,                       int = the columns that all of R allow.
Whatever rectangle covers (u, p) can be cut to R × C without loss, and then grown by any row of ext and any column of
int.

Rules
1. If R lies in ext, ext × int holds every useful rectangle through (u, p): it is taken, and (u, p) is its seed.
2. Otherwise the other needed cells in ext × int come for free with (u, p): they are struck off, and noted. Once the
   rest is covered, the notes are read backwards, and a rectangle through (u, p) is cut and grown to take them in.
3. No rectangle holds two seeds, nor a seed and a cell that is needed at the end.

This is row and column dominance of two-level logic minimisation; nothing here relates cells to cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.cover.grid import Box, Grid, intersection, mask_of, ones, union

Cell = tuple[int, int]

_ALLOWANCE = 4_000_000
"""Masks that may be looked at: about a second or two."""


@dataclass(frozen=True, slots=True)
class Note:
    """`struck`: by row, the columns that come for free with `cell`, or that `forced`, if any, covers."""

    cell: Cell
    struck: tuple[Box, ...]
    forced: Box | None


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """What was noted, in turn, and what is left to cover, by row."""

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
        for column in ones(mask):
            self.columns[column] &= ~(1 << row)

    def restore(self, row: int, mask: int) -> None:
        self.rows[row] |= mask
        for column in ones(mask):
            self.columns[column] |= 1 << row

    def useful(self, cell: Cell) -> Box:
        """R and C of the cell."""
        row, column = cell
        allowing = self.grid.allow_columns[column]
        columns = self.grid.allow_rows[row] & union(self.rows[other] for other in ones(allowing))
        return allowing & union(self.columns[other] for other in ones(columns)), columns


def kernel(grid: Grid) -> Kernel:
    """The notes of a grid, to a fixpoint or until the allowance is used up: what was noted holds at any time."""
    work = _Work(grid)
    notes: list[Note] = []
    seen, left = -1, _ALLOWANCE
    while seen != len(notes) and left > 0:
        seen = len(notes)
        for row, column in [(row, column) for row, mask in enumerate(work.rows) for column in ones(mask)]:
            if left > 0 and work.rows[row] >> column & 1:
                left -= grid.allow_rows[row].bit_count() + grid.allow_columns[column].bit_count()
                notes += _visit(work, (row, column))
    return Kernel(tuple(notes), tuple(work.rows))


def _visit(work: _Work, cell: Cell) -> list[Note]:
    """Strikes off what the rectangle that the cell forces covers, or what comes for free with it."""
    rows, columns = work.useful(cell)
    wide = intersection(work.grid.allow_columns[column] for column in ones(columns))
    forced = not rows & ~wide
    tall = intersection(work.grid.allow_rows[row] for row in ones(rows))
    if not forced:
        work.strike(cell[0], 1 << cell[1])
    struck = tuple((row, work.rows[row] & tall) for row in ones(wide) if work.rows[row] & tall)
    for row, mask in struck:
        work.strike(row, mask)
    if forced:
        return [Note(cell, struck, (rows, columns))]
    work.restore(cell[0], 1 << cell[1])
    return [Note(cell, struck, None)] if struck else []


def lift(grid: Grid, found: Kernel, boxes: Sequence[Box]) -> tuple[Box, ...]:
    """A cover of the grid from a cover of what the kernel left: the same number of boxes, and the forced ones."""
    work = _Work(grid)
    work.rows, work.columns = [0] * len(work.rows), [0] * len(work.columns)
    for row, mask in enumerate(found.need_rows):
        work.restore(row, mask)
    grown = list(boxes)
    for note in reversed(found.notes):
        for row, mask in note.struck:
            work.restore(row, mask)
        if note.forced:
            grown.append(note.forced)
        else:
            _grow(work, note, grown)
    return tuple(grown)


def _grow(work: _Work, note: Note, boxes: list[Box]) -> None:
    """Cuts a box through the note's cell to what is useful with it, and grows it by what was struck off."""
    row, column = note.cell
    through = [place for place, box in enumerate(boxes) if box[0] >> row & 1 and box[1] >> column & 1]
    rows, columns = work.useful(note.cell)
    tall, wide = mask_of(row for row, _ in note.struck), union(mask for _, mask in note.struck)
    boxes[through[0]] = (boxes[through[0]][0] & rows | tall, boxes[through[0]][1] & columns | wide)
