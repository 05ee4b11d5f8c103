"""A view as Markdown, for a pull request comment or a step summary.

Rules
1. Outside text stands in `<code>`, with an entity for each mark that Markdown or HTML could act on where it stands; a
   backtick or a pipe in a tag changes nothing. A mark that does nothing there stays as it is: people read the source.
2. Never longer than a comment may be. Detail is cut first, and what was cut is told: "n of m shown". Verdicts, guards,
   totals and digests stay, of as many sections as there is room for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.model.safe_text import printable
from reconciler.output.blocks import Block, Cell, Lines, Section, Style, Table, Total, View, made_in_words

LIMIT = 60_000
"""Bytes. GitHub takes 65,536 characters in a comment."""

_ALWAYS = "&<>`*[]{}|~\\$@#"
_BY_PLACE = "_-+=.:/!)"
"""What acts at the beginning of a text, or beside certain others: see `_acts`."""
_MARK = re.compile(f"[{re.escape(_ALWAYS + _BY_PLACE)}]")
_SHORT_NAME = re.compile(r":(?!\d\d:)[\w+-]+:")
"""A forge makes a picture of it; a time of the day is none."""
_EDGE = re.compile(r"^\s|\s\Z")
_MENTION = re.compile("&#(?:35|64);")


@dataclass(frozen=True, slots=True)
class _Cut:
    """How much is shown: rows or lines of what a reader must see, of other blocks, and characters of a cell."""

    key: int
    detail: int
    text: int


_CUTS = (
    _Cut(2_000, 2_000, 10_000),
    _Cut(2_000, 40, 10_000),
    _Cut(2_000, 10, 1_000),
    _Cut(500, 3, 500),
    _Cut(200, 0, 300),
    _Cut(40, 0, 200),
    _Cut(10, 0, 100),
    _Cut(3, 0, 100),
)
"""From all there is to the least; the first has fewer rows than could ever fit, so that none is made in vain."""


def render_markdown(view: View, *, limit: int = LIMIT) -> str:
    """The view in at most `limit` bytes, ending with a new line."""
    for cut in _CUTS:
        text = _whole(_parts(view, cut), limit)
        if text is not None:
            return text
    return _sections_that_fit(view, _CUTS[-1], limit)


def _parts(view: View, cut: _Cut) -> Iterator[str]:
    yield from _opening(view, cut)
    yield from (_section(each, cut) for each in view.sections)
    yield from _closing(view, cut)


def _whole(parts: Iterable[str], limit: int) -> str | None:
    """All parts, where they are not longer than `limit`; no more are made than it takes to see that they are."""
    made, size = list[str](), -1
    for part in parts:
        made.append(part)
        size += len(part.encode()) + 2
        if size > limit:
            return None
    return _join(made)


def _sections_that_fit(view: View, cut: _Cut, limit: int) -> str:
    opening, closing = _opening(view, cut), _closing(view, cut)
    told = f"{len(view.sections):,} of {len(view.sections):,} sections shown"
    room = limit - len(_join([*opening, told, *closing]).encode())
    shown: list[str] = []
    for each in view.sections:
        text = _section(each, cut)
        room -= len(text.encode()) + 2
        if room < 0:
            break
        shown.append(text)
    return _join([*opening, *shown, f"{len(shown):,} of {len(view.sections):,} sections shown", *closing])


def _join(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _opening(view: View, cut: _Cut) -> list[str]:
    return [f"## {_plain(view.title, cut)}"]


def _closing(view: View, cut: _Cut) -> list[str]:
    """The last of the remarks are the verdict of guards and the digest; then how the document was made."""
    shown = view.closing[-cut.key :]
    remarks = [*_told(len(shown), len(view.closing), "remarks"), *(_words(cell, cut) for cell in shown)]
    return [*remarks, *_footer(view, cut)]


def _footer(view: View, cut: _Cut) -> list[str]:
    if view.made is None:
        return []
    return [f"{_plain(made_in_words(view.made), cut)} {_code(Cell(view.made.command), cut)}"]


def _told(shown: int, every: int, what: str) -> list[str]:
    return [f"{shown:,} of {every:,} {what} shown"] if shown < every else []


def _escaped(text: str, cut: _Cut, *, begins: bool) -> str:
    """`begins`: whether the text may stand at the beginning of a line."""
    whole = printable(text)
    some = whole if len(whole) <= cut.text else whole[: cut.text] + "…"
    shown = _MARK.sub(_entity_where_it_begins if begins else _entity, some)
    return _EDGE.sub(lambda blank: f"&#{ord(blank[0])};", shown)


def _entity(found: re.Match[str]) -> str:
    mark = found[0]
    acts = mark in _ALWAYS or _acts(mark, found.string, found.start())
    return f"&#{ord(mark)};" if acts else mark


def _entity_where_it_begins(found: re.Match[str]) -> str:
    """The first mark could begin a list, a heading, a quote, or a command to a forge."""
    return f"&#{ord(found[0])};" if found.start() == 0 else _entity(found)


def _acts(mark: str, text: str, at: int) -> bool:
    """Whether a mark of `_BY_PLACE` could be a part of something."""
    before, after = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    if mark == "_":
        return not (before.isalnum() and after.isalnum())
    if mark in ".)":
        return (text[:at].isdigit() and not after.isalnum()) or text[max(0, at - 3) : at].lower() == "www"
    if mark == ":":
        return after in ("/", ":") or before == ":" or _in_short_name(text, at)
    return mark in (before, after) or (mark == "/" and before == ":")


def _in_short_name(text: str, at: int) -> bool:
    last = text.rfind(":", max(0, at - 100), at)
    ends = last >= 0 and (found := _SHORT_NAME.match(text, last)) is not None and found.end() == at + 1
    return ends or _SHORT_NAME.match(text, at) is not None


def _plain(text: str, cut: _Cut) -> str:
    """Outside of code, a forge would also call people and link issues, whatever entity the mark is written as."""
    return _MENTION.sub(r"<code>\g<0></code>", _escaped(text, cut, begins=True))


def _words(cell: Cell, cut: _Cut) -> str:
    """A sentence; what is bad or to be watched is strong."""
    text = _plain(cell.text, cut)
    return f"**{text}**" if text and cell.style in (Style.BAD, Style.STRONG, Style.WARN) else text


def _code(cell: Cell, cut: _Cut) -> str:
    text = _escaped(cell.text, cut, begins=False)
    return f"<code>{text}</code>" if text else ""


def _linked(cell: Cell, cut: _Cut) -> str:
    """As `_code`, each contact with a link to its page; a text that is cut has none."""
    if not cell.pages or len(cell.text) > cut.text:
        return _code(cell, cut)
    pairs = zip(cell.contacts, cell.pages, strict=True)
    links = [f"[{_code(Cell(contact), cut)}]({page})" for contact, page in pairs]
    return ", ".join(links) + _code(Cell(cell.after_contacts), cut)


def _section(section: Section, cut: _Cut) -> str:
    first = [block for block in section.blocks if block.key and isinstance(block, Lines)]
    rest = [block for block in section.blocks if block not in first]
    blocks = [
        *(part for block in first for part in _block(block, cut)),
        *_totals(section.totals, cut),
        *(part for block in rest for part in _block(block, cut)),
    ]
    return "\n\n".join([f"### {_plain(section.title, cut)}", _words(section.verdict, cut), *blocks])


def _totals(totals: Sequence[Total], cut: _Cut) -> list[str]:
    if not totals:
        return []
    head = " | ".join(_plain(each.name, cut) for each in totals)
    values = " | ".join(_plain(each.value.text, cut) for each in totals)
    return [f"| {head} |\n|{'---:|' * len(totals)}\n| {values} |"]


def _block(block: Block, cut: _Cut) -> list[str]:
    most = cut.key if block.key else cut.detail
    title = [f"#### {_plain(block.title, cut)}"] if block.title else []
    if isinstance(block, Lines):
        items = block.items[:most]
        drawn = "\n".join(f"- {_words(cell, cut)}" for cell in items)
        told = _told(len(items), len(block.items) + block.hidden, "lines")
    else:
        rows = block.rows[:most]
        drawn = _table(block, rows, cut) if rows else ""
        told = _told(len(rows), len(block.rows) + block.hidden, "rows")
    return [*title, *([drawn] if drawn else []), *told]


def _table(block: Table, rows: Sequence[tuple[Cell, ...]], cut: _Cut) -> str:
    head = "| " + " | ".join(column.name for column in block.columns) + " |"
    rule = "|" + "|".join("---:" if column.right else "---" for column in block.columns) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(_cells(block, row, cut)) + " |" for row in rows)])


def _cells(block: Table, row: tuple[Cell, ...], cut: _Cut) -> list[str]:
    """Numbers as they are, whatever else as code."""
    pairs = zip(block.columns, row, strict=True)
    return [_plain(cell.text, cut) if column.right else _linked(cell, cut) for column, cell in pairs]
