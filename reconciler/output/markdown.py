"""A view as Markdown, for a pull request comment or a step summary.

Rules
1. Outside text stands in `<code>`, with an entity for each mark that Markdown or HTML could act on where it stands; a
   backtick or a pipe in a tag changes nothing. A mark that does nothing there stays as it is: people read the source.
2. Never longer than a comment may be. Detail is cut first, and a line tells so: "n of m shown". Verdicts, guards,
   totals and digests stay, of as many sections as there is room for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.model.safe_text import printable
from reconciler.output.blocks import Block, Cell, Lines, Section, Style, Table, Total, View, made_in_words
from reconciler.output.overview import find_severity

LIMIT = 60_000
"""Bytes. GitHub takes 65,536 characters in a comment."""

_ALWAYS = "&<>`*[]{}|~\\$@#"
_BY_PLACE = "_-+=.:/!)"
"""Marks that act at the beginning of a text, or beside certain others: see `_mark_acts`."""
_MARK = re.compile(f"[{re.escape(_ALWAYS + _BY_PLACE)}]")
_SHORT_NAME = re.compile(r":(?!\d\d:)[\w+-]+:")
"""A forge makes a picture of it; a time of the day is none."""
_EDGE = re.compile(r"^\s|\s\Z")
_MENTION = re.compile("&#(?:35|64);")


@dataclass(frozen=True, slots=True)
class _Cut:
    """How much is shown."""

    key: int
    """Rows or lines of a block that a reader must see."""
    detail: int
    """Rows or lines of any other block."""
    text: int
    """Characters of a cell."""


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
    overview = [] if view.overview is None else [_fit_overview(view.overview, limit // 2)]
    # detail goes before substance: each cut shows less than the one before
    for cut in _CUTS:
        text = _join_if_short(_make_parts(view, cut, [*_title_parts(view, cut), *overview]), limit)
        if text is not None:
            return text
    return _sections_that_fit(view, _CUTS[-1], limit, overview)


def _fit_overview(overview: Section, limit: int) -> str:
    """As much of the overview as is not longer than `limit`: it is cut for itself, whatever the sections are cut to."""
    texts = (_section_text(overview, cut) for cut in _CUTS)
    return next((text for text in texts if len(text.encode()) <= limit), _section_text(overview, _CUTS[-1]))


def _make_parts(view: View, cut: _Cut, opening: Sequence[str]) -> Iterator[str]:
    yield from opening
    yield from (_section_text(section, cut) for section in view.sections)
    yield from _closing_parts(view, cut)


def _join_if_short(parts: Iterable[str], limit: int) -> str | None:
    """All parts, where they are not longer than `limit`; no more are made than it takes to see that they are."""
    made, size = list[str](), -1
    for part in parts:
        made.append(part)
        size += len(part.encode()) + 2
        # a longer comment is refused by the forge: it is not made to its end
        if size > limit:
            return None
    return _join_parts(made)


def _sections_that_fit(view: View, cut: _Cut, limit: int, overview: Sequence[str]) -> str:
    opening, closing = [*_title_parts(view, cut), *overview], _closing_parts(view, cut)
    # room is kept for the longest form of the line that tells how many sections are shown
    longest = f"{len(view.sections):,} of {len(view.sections):,} sections shown"
    room = limit - len(_join_parts([*opening, longest, *closing]).encode())
    shown: dict[int, str] = {}
    for at in _order_by_severity(view):
        text = _section_text(view.sections[at], cut)
        # bytes, which are never fewer than the characters that a forge counts
        room -= len(text.encode()) + 2
        if room < 0:
            break
        shown[at] = text
    texts = [shown[at] for at in sorted(shown)]
    return _join_parts([*opening, *texts, f"{len(texts):,} of {len(view.sections):,} sections shown", *closing])


def _order_by_severity(view: View) -> Sequence[int]:
    """The sections by index; of many locations the worst first, so that a cut takes the others."""
    order = range(len(view.sections))
    return order if view.overview is None else sorted(order, key=lambda at: -find_severity(view.sections[at]))


def _join_parts(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _title_parts(view: View, cut: _Cut) -> list[str]:
    return [f"## {_plain_text(view.title, cut)}"]


def _closing_parts(view: View, cut: _Cut) -> list[str]:
    """The last of the remarks are the verdict of guards and the digest; then how the document was made."""
    # guards and digest are the last remarks: a reviewer approves by them
    shown = view.closing[-cut.key :]
    remarks = [*_count_shown(len(shown), len(view.closing), "remarks"), *(_sentence_text(cell, cut) for cell in shown)]
    return [*remarks, *_footer_parts(view, cut)]


def _footer_parts(view: View, cut: _Cut) -> list[str]:
    if view.made is None:
        return []
    return [f"{_plain_text(made_in_words(view.made), cut)} {_code_text(Cell(view.made.command), cut)}"]


def _count_shown(shown: int, every: int, what: str) -> list[str]:
    return [f"{shown:,} of {every:,} {what} shown"] if shown < every else []


def _escape(text: str, cut: _Cut, *, begins: bool) -> str:
    """`begins`: whether the text may stand at the beginning of a line."""
    # the cut comes before the entities, or it could leave half of one
    line = printable(text)
    cut_line = line if len(line) <= cut.text else line[: cut.text] + "…"
    shown = _MARK.sub(_escape_first_mark if begins else _escape_mark, cut_line)
    return _EDGE.sub(lambda blank: f"&#{ord(blank[0])};", shown)


def _escape_mark(match: re.Match[str]) -> str:
    mark = match[0]
    acts = mark in _ALWAYS or _mark_acts(mark, match.string, match.start())
    return f"&#{ord(mark)};" if acts else mark


def _escape_first_mark(match: re.Match[str]) -> str:
    """The first mark could begin a list, a heading, a quote, or a command to a forge."""
    return f"&#{ord(match[0])};" if match.start() == 0 else _escape_mark(match)


def _mark_acts(mark: str, text: str, at: int) -> bool:
    """Whether a mark of `_BY_PLACE` acts where it stands: two alike, a list's number, a link, a short name."""
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
    ends = last >= 0 and (name := _SHORT_NAME.match(text, last)) is not None and name.end() == at + 1
    return ends or _SHORT_NAME.match(text, at) is not None


def _plain_text(text: str, cut: _Cut) -> str:
    """Outside of code, a forge would also call people and link issues, even where the mark is written as an entity."""
    return _MENTION.sub(r"<code>\g<0></code>", _escape(text, cut, begins=True))


def _sentence_text(cell: Cell, cut: _Cut) -> str:
    """A sentence; bad news and warnings are strong."""
    text = _plain_text(cell.text, cut)
    return f"**{text}**" if text and cell.style in (Style.BAD, Style.STRONG, Style.WARN) else text


def _code_text(cell: Cell, cut: _Cut) -> str:
    text = _escape(cell.text, cut, begins=False)
    return f"<code>{text}</code>" if text else ""


def _linked_text(cell: Cell, cut: _Cut) -> str:
    """As `_code_text`, each contact with a link to its page; a text that is cut has none."""
    # half an id would link to another contact
    if not cell.pages or len(cell.text) > cut.text:
        return _code_text(cell, cut)
    pairs = zip(cell.contacts, cell.pages, strict=True)
    links = [f"[{_code_text(Cell(contact), cut)}]({page})" for contact, page in pairs]
    return ", ".join(links) + _code_text(Cell(cell.after_contacts), cut)


def _section_text(section: Section, cut: _Cut) -> str:
    # a refusal by guards stands before the totals: a reviewer of a long comment may read no further
    first = [block for block in section.blocks if block.key and isinstance(block, Lines)]
    others = [block for block in section.blocks if block not in first]
    blocks = [
        *(part for block in first for part in _block_parts(block, cut)),
        *_totals_table(section.totals, cut),
        *(part for block in others for part in _block_parts(block, cut)),
    ]
    return "\n\n".join([f"### {_plain_text(section.title, cut)}", _sentence_text(section.verdict, cut), *blocks])


def _totals_table(totals: Sequence[Total], cut: _Cut) -> list[str]:
    if not totals:
        return []
    head = " | ".join(_plain_text(total.name, cut) for total in totals)
    values = " | ".join(_plain_text(total.value.text, cut) for total in totals)
    return [f"| {head} |\n|{'---:|' * len(totals)}\n| {values} |"]


def _block_parts(block: Block, cut: _Cut) -> list[str]:
    # a cut never takes a guard or a total before it took all detail
    most = cut.key if block.key else cut.detail
    title = [f"#### {_plain_text(block.title, cut)}"] if block.title else []
    if isinstance(block, Lines):
        items = block.items[:most]
        drawn = "\n".join(f"- {_sentence_text(cell, cut)}" for cell in items)
        remark = _count_shown(len(items), len(block.items) + block.hidden, "lines")
    else:
        rows = block.shorten(most).rows
        drawn = _table_text(block, rows, cut) if rows else ""
        remark = _count_shown(len(rows), len(block.rows) + block.hidden, "rows")
    return [*title, *([drawn] if drawn else []), *remark]


def _table_text(block: Table, rows: Sequence[tuple[Cell, ...]], cut: _Cut) -> str:
    head = "| " + " | ".join(column.name for column in block.columns) + " |"
    rule = "|" + "|".join("---:" if column.right else "---" for column in block.columns) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(_row_texts(block, row, cut)) + " |" for row in rows)])


def _row_texts(block: Table, row: tuple[Cell, ...], cut: _Cut) -> list[str]:
    """Numbers as they are, all other cells as code."""
    pairs = zip(block.columns, row, strict=True)
    return [_plain_text(cell.text, cut) if column.right else _linked_text(cell, cut) for column, cell in pairs]
