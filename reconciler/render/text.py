"""A view as text for a terminal or a log: aligned, coloured where asked, the same words without colour.

Rules
1. Outside text cannot change the structure: whatever is not printable, and what turns the direction of writing, is
   shown as an escape; nothing in a line, folded or not, is a command to a CI runner.
2. Colour never carries meaning alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reconciler.core.printable import visible
from reconciler.core.view.blocks import Block, Cell, Lines, Section, Style, Table, View

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


_TRAILING = re.compile(r"(?: |\x1b\[[0-9;]*m)+$", re.MULTILINE)
"""Blanks before the end of a line, among the escapes that switch colours."""


def render_text(view: View, *, colour: bool = False, width: int = 120) -> str:
    """The whole view, ending with a new line; `width` in columns."""
    sink = io.StringIO()
    console = Console(
        file=sink,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for section in view.sections:
        _section(console, section)
    for cell in view.closing:
        console.print(_text(cell))
    return _TRAILING.sub(lambda found: found[0].replace(" ", ""), sink.getvalue())


def _text(cell: Cell) -> Text:
    return Text(visible(cell.text), style=_COLOURS[cell.style], overflow="fold")


def _section(console: Console, section: Section) -> None:
    console.print(Text(visible(section.title), style="bold underline", overflow="fold"))
    console.print(_text(section.verdict))
    for block in section.blocks:
        console.print()
        _block(console, block)
    console.print()


def _block(console: Console, block: Block) -> None:
    if block.title:
        console.print(Text(block.title, style="bold"))
    if isinstance(block, Lines):
        for cell in block.items:
            console.print(Text("  ") + _text(cell))
    else:
        console.print(_grid(block))
    if block.hidden:
        what = "lines" if isinstance(block, Lines) else "rows"
        console.print(Text(f"  … and {block.hidden:,} more {what} (--all shows them)", style="dim"))


def _grid(block: Table) -> RichTable:
    grid = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for column in block.columns:
        grid.add_column(column.name, justify="right" if column.right else "left", overflow="fold")
    for row in block.rows:
        grid.add_row(*_texts(row))
    return grid


def _texts(row: Iterable[Cell]) -> list[Text]:
    return [_text(cell) for cell in row]
