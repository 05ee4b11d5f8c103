"""A view as text for a terminal or a log: aligned, coloured where asked, the same words without colour; rows as CSV.

Rules
1. Outside text cannot change the structure: a character that is not printable, or turns the direction of
   writing, is shown as an escape; nothing in a line, folded or not, is a command to a CI runner.
2. Colour never carries meaning alone.
3. No word is broken: where a table is too wide its last columns are left out, and named. A command to copy
   stays on one line, be it longer than the line.

Rules of CSV (RFC 4180, UTF-8), for a spreadsheet or a script
4. A record is a line: a character that is not printable is shown as an escape (as `visible` does).
5. A cell that a spreadsheet would take for a formula begins with an apostrophe, which says "text"; so does a cell that
   begins with an apostrophe, so that taking one away gives the text again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from reconciler.core.model.safe_text import visible
from reconciler.output.blocks import Block, Cell, Lines, Records, Section, Style, Table, View

_COLOURS = {
    Style.PLAIN: "",
    Style.STRONG: "bold",
    Style.ADD: "green",
    Style.REMOVE: "red",
    Style.WARN: "yellow",
    Style.BAD: "bold red",
    Style.GOOD: "green",
    Style.FAINT: "dim",
}


_COMMAND = re.compile(r"`[^`]+`|--allow .+$|reconciler [a-z]+ .*$")
"""A command to copy: between backticks, or to the end of the sentence."""
_TIED = "\ue000"
"""A blank at which no line may end; outside text has none, it is shown as an escape."""
LONGEST = 40
"""A longer word than this is no reason to leave out a column: it is folded."""
_GAP = 2
_HEIGHT = 25
"""Nothing depends on it; where it is not given, rich asks the terminal for each cell."""


_TRAILING = re.compile(r"(?: |\x1b\[[0-9;]*m)+$", re.MULTILINE)
"""Blanks before the end of a line, among the escapes that switch colours."""


def render_text(view: View, *, colour: bool = False, width: int = 120) -> str:
    """The whole view, ending with a new line; `width` in columns."""
    sink = io.StringIO()
    console = Console(
        file=sink,
        width=width,
        height=_HEIGHT,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for section in (*([view.overview] if view.overview else ()), *view.sections):
        _print_section(console, section)
    for cell in view.closing:
        _print_sentence(console, _cell_text(cell))
    # rich pads every line to the width: a log would keep the blanks
    return _TRAILING.sub(lambda blanks: blanks[0].replace(" ", ""), sink.getvalue().replace(_TIED, " "))


def _cell_text(cell: Cell) -> Text:
    text = _COMMAND.sub(lambda command: command[0].replace(" ", _TIED), visible(cell.text))
    return Text(text, style=_COLOURS[cell.style], overflow="fold")


def _print_sentence(console: Console, text: Text, *, indent: int = 0) -> None:
    """In lines of the screen's width, or in one line where a command in it is longer than that."""
    longest = max((cell_len(word) for word in text.plain.split() if _TIED in word), default=0)
    # a command in two lines cannot be copied from a terminal
    if longest > console.width - indent:
        console.print(Text(" " * indent) + text, soft_wrap=True)
    else:
        console.print(Padding(text, (0, 0, 0, indent)))


def _print_section(console: Console, section: Section) -> None:
    console.print(Text(visible(section.title), style="bold underline", overflow="fold"))
    _print_sentence(console, _cell_text(section.verdict))
    for block in section.blocks:
        console.print()
        _print_block(console, block)
    console.print()


def _print_block(console: Console, block: Block) -> None:
    if block.title:
        console.print(Text(block.title, style="bold"))
    if isinstance(block, Lines):
        for cell in block.items:
            _print_sentence(console, _cell_text(cell), indent=_GAP)
    else:
        _print_table(console, block)
    if block.hidden:
        what = "lines" if isinstance(block, Lines) else "rows"
        console.print(Text(f"  … and {block.hidden:,} more {what} (--all shows them)", style="dim"))


def _print_table(console: Console, block: Table) -> None:
    rows = [[_cell_text(cell) for cell in row] for row in block.rows]
    columns = [[Text(column.name), *(row[at] for row in rows)] for at, column in enumerate(block.columns)]
    widths = _share_room([_room_of(column) for column in columns], console.width)
    console.print(_make_grid(block, rows, widths))
    if left_out := ", ".join(column.name for column in block.columns[len(widths) :]):
        console.print(Text(f"  … and {left_out}: there is no room for more columns", style="dim"))


def _room_of(texts: Sequence[Text]) -> tuple[int, int]:
    """The width of a column's longest word, and of its longest text."""
    words = (cell_len(word) for text in texts for word in text.plain.split())
    return min(LONGEST, max(words, default=0)), max(text.cell_len for text in texts)


def _share_room(rooms: Sequence[tuple[int, int]], width: int) -> list[int]:
    """The widths of the first columns, as many as there is room for their longest words; one at least."""
    shown = 1
    while shown < len(rooms) and sum(word + _GAP for word, _ in rooms[: shown + 1]) - _GAP <= width:
        shown += 1
    widths = [min(word, width) for word, _ in rooms[:shown]]
    room = width - sum(widths) - _GAP * (shown - 1)
    # the column that lacks least is given room first: it is whole soonest, and leaves the remainder to the others
    lacking = sorted(range(shown), key=lambda at: rooms[at][1] - widths[at])
    for nth, at in enumerate(lacking):
        more = max(0, min(rooms[at][1] - widths[at], room // (shown - nth)))
        widths[at], room = widths[at] + more, room - more
    return widths


def _make_grid(block: Table, rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> RichTable:
    grid = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim", show_edge=False)
    for column, width in zip(block.columns, widths, strict=False):
        grid.add_column(column.name, justify="right" if column.right else "left", overflow="fold", width=width)
    for row in rows:
        grid.add_row(*row[: len(widths)])
    return grid


_FORMULA = tuple("=+-@'|%＝＋－＠")
_LINES = 5_000


def csv_chunks(records: Records) -> Iterator[str]:
    """The text in pieces, so that a million rows need no memory."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow([column.name.replace(" ", "_") for column in records.columns])
    for number, row in enumerate(records.rows()):
        writer.writerow(_safe_row(row))
        # the text leaves in pieces: a million rows never stand in memory at once
        if number % _LINES == _LINES - 1:
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def _safe_row(row: Iterable[str]) -> list[str]:
    return [_safe_cell(text) for text in row]


@lru_cache(maxsize=4_096)
def _safe_cell(text: str) -> str:
    """Most texts of a report come again and again: locations, tags, reasons."""
    # blanks before the mark do not keep a spreadsheet from taking the cell for a formula
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
