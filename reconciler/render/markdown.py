"""A view as Markdown, for a pull request comment or a step summary.

Rule: outside text stands in `<code>` with entities for everything that Markdown or HTML could act on; a backtick or a
pipe in a tag changes nothing.
"""

from __future__ import annotations

from reconciler.core.printable import visible
from reconciler.core.view.blocks import Block, Cell, Lines, Section, Style, Table, View

_ACTIVE = "&<>\"'`*_{}[]()#+-.!|~\\$:@/="
_ENTITIES = {ord(char): f"&#{ord(char)};" for char in _ACTIVE}


def render_markdown(view: View) -> str:
    """The whole view, ending with a new line."""
    parts = [f"## {_plain(view.title)}"]
    for section in view.sections:
        parts += _section(section)
    parts += [_words(cell) for cell in view.closing]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    return visible(text).translate(_ENTITIES)


def _words(cell: Cell) -> str:
    """A sentence; what is bad or to be watched is strong."""
    text = _plain(cell.text)
    return f"**{text}**" if cell.style in (Style.BAD, Style.STRONG, Style.WARN) and text.strip() else text


def _code(cell: Cell) -> str:
    text = _plain(cell.text)
    return f"<code>{text}</code>" if text else ""


def _section(section: Section) -> list[str]:
    blocks = [part for block in section.blocks for part in _block(block)]
    return [f"### {_plain(section.title)}", _words(section.verdict), *blocks]


def _block(block: Block) -> list[str]:
    title = [f"#### {_plain(block.title)}"] if block.title else []
    if isinstance(block, Lines):
        return [*title, "\n".join(f"- {_words(cell)}" for cell in block.items)]
    head = "| " + " | ".join(column.name for column in block.columns) + " |"
    rule = "|" + "|".join("---:" if column.right else "---" for column in block.columns) + "|"
    rows = ["| " + " | ".join(_cells(block, row)) + " |" for row in block.rows]
    folded = [f"{len(block.rows):,} of {len(block.rows) + block.hidden:,} rows shown"] if block.hidden else []
    return [*title, "\n".join([head, rule, *rows]), *folded]


def _cells(block: Table, row: tuple[Cell, ...]) -> list[str]:
    """Numbers as they are, whatever else as code."""
    pairs = zip(block.columns, row, strict=True)
    return [_plain(cell.text) if column.right else _code(cell) for column, cell in pairs]
