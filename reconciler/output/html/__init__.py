"""A document as one self-contained web page, which needs no script to be read and no network at all.

Rules
1. Outside text reaches the page by `_show_value` alone, which Jinja2 calls on every expression: a character that is not
   printable is shown as an escape, and a mark that HTML or a CI runner could act on is an entity.
2. The policy in the page allows the one style sheet and the one script that are in it, by their digests, and nothing
   else: no image, no font, no request. So there is no `style` attribute and no inline handler.
3. Long tables are cut into parts which a browser lays out when they come into sight.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.safe_text import contact_page, printable
from reconciler.output.blocks import Block, Cell, Column, Records, Row, Table, View, made_in_words
from reconciler.output.charts import Chart, place_chart

PART = 100
"""Rows that are laid out together."""
FACETS = frozenset({"tag", "name", "what", "action", "change", "class", "outcome", "status"})
"""Columns of the long table for which the script offers a choice of values."""
SAMPLE = 200
WIDEST = 50
LONGEST, SENTENCE, PAD = 30, 20, 5
"""Of a column, in characters: the longest word that is not broken, the room of a sentence, and the padding."""
HEATS = 4
"""Shades of a number's ground; the style sheet has them."""
_BREAKS = re.compile(r"[\s-]")


def render_html(
    view: View, *, records: Records, charts: Sequence[tuple[Chart, ...]] = (), most: int | None = None
) -> str:
    """The page. `charts`: those of each section. `most`: how many rows of `records` it has (None: all of them)."""
    environment = _make_environment()
    # the widths need the rows, and the digest of the style needs the widths
    rows, total = _first_rows(records, most)
    style, script = _read_template("report.css") + _column_widths(records, rows), _read_template("report.js")
    drawn = [[place_chart(chart) for chart in section_charts] for section_charts in charts]
    # sections without charts, such as an error's, come last
    drawn += [[] for _ in range(len(view.sections) - len(drawn))]
    return environment.get_template("report.html").render(
        view=view,
        title=_page_title(view),
        made=made_in_words(view.made) if view.made else "",
        sections=list(zip(view.sections, drawn, strict=True)),
        anchors=[_name_anchor(index) for index in range(len(view.sections))],
        anchor=_find_anchors(view),
        heat=_heat_class,
        shaded=view.overview is not None and any(map(_is_shaded, view.overview.blocks)),
        records=records,
        right=[Markup(' class="right"') if column.right else "" for column in records.columns],
        heads=[Markup(_column_class(column)) for column in records.columns],  # noqa: S704  our own words
        parts=list(_cut_parts(rows)),
        page=_page_of_cell(view.contact_url, [column.name for column in records.columns]),
        shown=len(rows),
        total=total,
        style=Markup(style),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        policy=f"default-src 'none'; style-src '{_hash_source(style)}'; script-src '{_hash_source(script)}'; "
        "base-uri 'none'; form-action 'none'",
    )


def _page_title(view: View) -> str:
    """The title of the browser's tab: the document, and its first location."""
    if view.overview is not None:
        return f"{view.title}: {view.overview.title} – reconciler"
    names = [section.title for section in view.sections]
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{view.title}: {names[0]}{more} – reconciler" if names else f"{view.title} – reconciler"


def _name_anchor(index: int) -> str:
    # of our own making: an id from outside could hold any mark
    return f"location-{index + 1}"


def _find_anchors(view: View) -> Callable[[Cell], str]:
    """The anchor of the section of the one location that a cell names; empty where it has none."""
    anchors = {section.location: _name_anchor(index) for index, section in enumerate(view.sections)}
    return lambda cell: anchors.get(cell.locations[0], "") if len(cell.locations) == 1 else ""


def _is_shaded(block: Block) -> bool:
    return isinstance(block, Table) and any(column.heat for column in block.columns)


def _heat_class(number: str) -> str:
    """The class of a number's ground, by its order of magnitude."""
    digits = number.replace(",", "")
    return f"heat{min(HEATS, len(digits))}" if digits.strip("0") else "faint"


def _column_class(column: Column) -> str:
    return ' class="right"' if column.right else ' class="facet"' if column.name in FACETS else ""


def _page_of_cell(contact_url: str, columns: Sequence[str]) -> Callable[[Row, int], str]:
    """The address that a cell of the long table links to; empty for other cells, or without a setting."""
    # a link needs both: the template, and a column of ids
    if not contact_url or "contact" not in columns:
        return lambda _row, _index: ""
    place, who = columns.index("location"), columns.index("contact")

    def page(row: Row, index: int) -> str:
        named = index == who and row[who] and row[place]
        return contact_page(contact_url, LocationId(row[place]), ContactId(row[who])) if named else ""

    return page


def _first_rows(records: Records, most: int | None) -> tuple[list[Row], int]:
    every = records.rows()
    # rows beyond the limit are counted, not kept: there may be a million
    rows = list(islice(every, most))
    return rows, len(rows) + sum(1 for _ in every)


def _column_widths(records: Records, rows: Sequence[Row]) -> str:
    """The widths of the long table's columns, from its first rows. None is narrower than its longest word."""
    # a browser that lays out a part at a time cannot measure the column as a whole
    cells = [(column.name, *(row[index] for row in rows[:SAMPLE])) for index, column in enumerate(records.columns)]
    widths = [min(WIDEST, max(len(text) for text in column)) + 3 for column in cells]
    words = [_least_width(column) + PAD for column in cells]
    columns = " ".join(f"minmax({word}ch, {width}fr)" for word, width in zip(words, widths, strict=True))
    return f".records {{ min-width: {sum(words)}ch; }}\n.records tr {{ grid-template-columns: {columns}; }}\n"


def _least_width(texts: Sequence[str]) -> int:
    """Room for the longest word, and for some words of a sentence."""
    words = (len(word) for text in texts for word in _BREAKS.split(text))
    return max(min(LONGEST, max(words)), min(SENTENCE, max(map(len, texts))))


def _cut_parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + PART] for start in range(0, len(rows), PART))


@cache
def _make_environment() -> Environment:
    """The templates are files of this package; a name in them without a value is an error."""
    environment = Environment(
        loader=FunctionLoader(_read_template),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_show_value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["grouped"] = lambda number: f"{number:,}"
    return environment


def _show_value(value: Any) -> Any:
    # Markup is our own text, and stays; numbers have no mark that could act
    return value if not isinstance(value, str) or isinstance(value, Markup) else _escape_text(value)


@lru_cache(maxsize=4_096)
def _escape_text(value: str) -> Markup:
    """Most texts of a report come again and again: locations, tags, reasons."""
    # a runner that prints the page reads `##` as a command, an entity it does not
    return Markup(str(escape(printable(value))).replace("##", "#&#35;"))  # noqa: S704  escaped here


@cache
def _read_template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
