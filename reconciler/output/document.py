"""A document in every format: a command's answer, and its spelling. No format changes an exit code.

Rules of CSV (RFC 4180, UTF-8), for a spreadsheet or a script
1. A record is a line: a character that is not printable is shown as an escape (as `visible` does).
2. A cell that a spreadsheet would take for a formula begins with an apostrophe, which says "text"; so does a cell that
   begins with an apostrophe, so that taking one away gives the text again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from reconciler.core.formats.plan_json import FORMAT_VERSION
from reconciler.core.formats.shapes import Forms, JsonSpelling
from reconciler.core.model import JsonObject
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import Provenance, json_line, visible
from reconciler.output.blocks import (
    ROWS,
    Block,
    Lines,
    Records,
    Row,
    View,
    link_contacts,
    make_records,
    name_in_view,
)
from reconciler.output.charts import Chart
from reconciler.output.markdown import render_markdown
from reconciler.output.text import render_text

HTML_ROWS = 10_000
"""Of the one long table of a web page, which has all rows under --all."""
BLOCK_ROWS = 200
"""Of the tables before it."""


class Document(Protocol):
    """One class a document, with its faces. Each is made when a format asks for it."""

    def view(self, most: int | None) -> View:
        """The blocks for a person; `most`: how many rows a table may have (None: all)."""
        ...

    def records(self) -> Records: ...

    def json(self) -> JsonObject: ...

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        """Those of each section of the view, in its order."""
        ...


def report_document(report: str, members: JsonObject) -> JsonObject:
    """A report of that name. A plan is none: it is a file that `apply` takes."""
    return {"format_version": FORMAT_VERSION, "report": report, **members}


def no_provenance() -> Provenance | None:
    return None


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """A document as a command answers it."""

    document: Document
    names: Mapping[LocationId, str] = field(default_factory=dict)
    """The names of locations, for people: JSON and CSV have ids."""
    made: Callable[[], Provenance | None] = no_provenance
    """How the document came to be; None where no command made it. It asks Git, which text does not need."""
    contact_url: str = ""
    """Where the CRM shows a contact."""

    def view(self, most: int | None) -> View:
        return name_in_view(self.document.view(most), self.names)

    def page(self, most: int | None) -> View:
        """The view of a document that leaves the terminal."""
        return link_contacts(replace(self.view(most), made=self.made()), self.contact_url)

    def json(self) -> JsonObject:
        # a plan is sealed by its digest: a member more would break the seal
        document = self.document.json()
        return add_provenance(document, self.made()) if "report" in document else document


def add_provenance(document: JsonObject, made: Provenance | None) -> JsonObject:
    """The report, with `made` as the last of its members."""
    # null where no command made it: the schema promises the member in every report
    return document | {"made": None if made is None else PROVENANCE.write(made)}


PROVENANCE = Forms({Provenance: JsonSpelling(about="How a report came to be.")})


def count_rows(whole: bool) -> int | None:
    """How many rows a table may have: all of them under --all."""
    return None if whole else ROWS


def spell(output: CommandOutput, kind: str, *, whole: bool) -> Iterable[str]:
    """The document in one of the formats, in pieces; text without colour."""
    return _SPELLED[kind](output, whole)


def _spell_text(output: CommandOutput, whole: bool) -> Iterable[str]:
    return [render_text(output.view(count_rows(whole)))]


def _spell_markdown(output: CommandOutput, whole: bool) -> Iterable[str]:
    return [render_markdown(output.page(count_rows(whole)))]


def _spell_json(output: CommandOutput, _whole: bool) -> Iterable[str]:
    return [json_line(output.json())]


def _spell_csv(output: CommandOutput, _whole: bool) -> Iterable[str]:
    return csv_chunks(output.document.records())


def _spell_html(output: CommandOutput, whole: bool) -> Iterable[str]:
    # Jinja2 is loaded for those who ask for a page
    from reconciler.output.html import render_html

    # a browser lays out ten thousand rows at once; more of them are for --all
    document, most = output.document, None if whole else HTML_ROWS
    return [render_html(output.page(BLOCK_ROWS), records=document.records(), charts=document.charts(), most=most)]


_SPELLED: Mapping[str, Callable[[CommandOutput, bool], Iterable[str]]] = {
    "text": _spell_text,
    "markdown": _spell_markdown,
    "json": _spell_json,
    "csv": _spell_csv,
    "html": _spell_html,
}


def view_records(view: View) -> Records:
    """The records of a short document: its view line by line."""
    return make_records("Line by line", "section told", lambda: _lines_of(view))


def _lines_of(view: View) -> Iterator[Row]:
    # the verdict is a row too: a filter by section finds it
    for section in view.sections:
        yield section.title, section.verdict.text
        yield from ((section.title, text) for block in section.blocks for text in _block_texts(block))


def _block_texts(block: Block) -> Iterator[str]:
    if isinstance(block, Lines):
        return (cell.text for cell in block.items)
    return (", ".join(cell.text for cell in row if cell.text) for row in block.rows)


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
