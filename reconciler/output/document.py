"""A document in every format: a command's answer, and its spelling. No format changes an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count, Schema
from reconciler.core.model import JsonObject
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import Provenance, json_line
from reconciler.output.blocks import (
    ROWS,
    Cell,
    Lines,
    Records,
    Section,
    Style,
    View,
    link_contacts,
    name_in_view,
    view_records,
)

if TYPE_CHECKING:
    from reconciler.output.charts import Chart

FORMAT_VERSION = "1.0"
"""Of every report; a plan has a version of its own."""
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
        """Those of each section of the view, in its order; empty where none is drawn."""
        return ()


def report_document(report: str, members: JsonObject) -> JsonObject:
    """A report of that name. A plan is none: it is a file that `apply` takes."""
    return {"format_version": FORMAT_VERSION, "report": report, **members}


class DerivedDocument:
    """The JSON of a report whose members and schema derive from the fields of its class."""

    report: ClassVar[str]
    forms: ClassVar[Forms]
    only_in_views: ClassVar[frozenset[str]] = frozenset()
    """Fields that its JSON does not have."""

    def json(self) -> JsonObject:
        return report_document(self.report, self._without_views(self.forms.write(self)))

    @classmethod
    def schema(cls) -> Schema:
        return cls._without_views(cls.forms.members(cls))

    @classmethod
    def _without_views(cls, members: JsonObject) -> JsonObject:
        return {name: member for name, member in members.items() if name not in cls.only_in_views}


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """A document as a command answers it."""

    document: Document
    names: Mapping[LocationId, str] = field(default_factory=dict)
    """The names of locations, for people: JSON and CSV have ids."""
    made: Callable[[], Provenance | None] = lambda: None
    """How the document came to be; None where no command made it. It asks Git, which text does not need."""
    contact_url: str = ""
    """Where the CRM shows a contact."""
    complete: Callable[[str], str] = str
    """Gives the commands of ours, in a text for people, the options that they need."""

    def view(self, most: int | None) -> View:
        return name_in_view(self.document.view(most), self.names, self.complete)

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
    # each format loads what it is written by
    from reconciler.output.text import render_text

    return [render_text(output.view(count_rows(whole)))]


def _spell_markdown(output: CommandOutput, whole: bool) -> Iterable[str]:
    from reconciler.output.markdown import render_markdown

    return [render_markdown(output.page(count_rows(whole)))]


def _spell_csv(output: CommandOutput, _: bool) -> Iterable[str]:
    from reconciler.output.text import csv_chunks

    return csv_chunks(output.document.records())


def _spell_html(output: CommandOutput, whole: bool) -> Iterable[str]:
    from reconciler.output.html import render_html

    # a browser lays out ten thousand rows at once; more of them are for --all
    document, most = output.document, None if whole else HTML_ROWS
    return [render_html(output.page(BLOCK_ROWS), records=document.records(), charts=document.charts(), most=most)]


_SPELLED: Mapping[str, Callable[[CommandOutput, bool], Iterable[str]]] = {
    "text": _spell_text,
    "markdown": _spell_markdown,
    "json": lambda output, _: [json_line(output.json())],
    "csv": _spell_csv,
    "html": _spell_html,
}
FORMATS = tuple(_SPELLED)
SUFFIXES: Mapping[str, str] = {".json": "json", ".md": "markdown", ".txt": "text", ".csv": "csv", ".html": "html"}
"""The formats, by the suffix of a file."""


@dataclass(frozen=True, slots=True)
class FailureDocument(Document):
    """The error that ended a command, after the answer that was ready by then."""

    error: str
    hint: str
    exit_code: Count
    lines: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    until_then: Document | None = None

    def view(self, most: int | None) -> View:
        if self.until_then is None:
            return View("Error", (self._error_section(),))
        # an apply that was stopped has sent requests: its answer stands before the error
        view = self.until_then.view(most)
        return replace(view, sections=(*view.sections, self._error_section()))

    def _error_section(self) -> Section:
        lines = (*(Cell(line, Style.BAD) for line in self.lines), *(Cell(f"hint: {hint}") for hint in self.hints))
        return Section("Error", Cell("The command ended with an error.", Style.BAD), (Lines("", lines),))

    def records(self) -> Records:
        return view_records(View("Error", (self._error_section(),)))

    def json(self) -> JsonObject:
        return report_document("error", _FAILURE.write(self))

    @staticmethod
    def schema() -> Schema:
        return _FAILURE.members(FailureDocument)


_FAILURE = Forms({FailureDocument: JsonSpelling(members="error hint exit_code")})
