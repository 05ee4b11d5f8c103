"""Problems as JSON and as annotations of GitHub Actions; and the error that ended a command.

Rule: what would end a command of a workflow, or start another, is percent-encoded, as the runner's own toolkit does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.core.formats.json_forms import Count, Schema
from reconciler.core.formats.shapes import Forms, Spelling
from reconciler.core.model.errors import Problem, Severity
from reconciler.core.model.json_values import JsonObject
from reconciler.core.model.safe_text import visible
from reconciler.output.blocks import (
    Cell,
    Lines,
    Records,
    Section,
    Style,
    View,
)
from reconciler.output.charts import Chart
from reconciler.output.document import Document, report_document, view_records

_FORMS = Forms(
    {
        Problem: Spelling(
            members="path=source.path line=source.line column=source.column severity check message hint",
            types={"line": Count, "column": Count},
        )
    }
)


@dataclass(frozen=True, slots=True)
class ProblemList:
    """The problems that `validate` found."""

    problems: Sequence[Problem]

    def json(self) -> JsonObject:
        return report_document("problems", _FORMS.write(self))

    @staticmethod
    def schema() -> Schema:
        return _FORMS.members(ProblemList)


@dataclass(frozen=True, slots=True)
class FailureDocument:
    """The error that ended a command, after the answer that was ready by then."""

    error: str
    hint: str
    exit_code: Count
    lines: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    until_then: Document | None = None

    def view(self, most: int | None) -> View:
        if self.until_then is None:
            return View("Error", (self._section(),))
        view = self.until_then.view(most)
        return View(view.title, (*view.sections, self._section()), view.closing)

    def _section(self) -> Section:
        lines = (*(Cell(line, Style.BAD) for line in self.lines), *(Cell(f"hint: {hint}") for hint in self.hints))
        return Section("Error", Cell("The command ended with an error.", Style.BAD), (Lines("", lines),))

    def records(self) -> Records:
        return view_records(View("Error", (self._section(),)))

    def json(self) -> JsonObject:
        return report_document("error", {"error": self.error, "hint": self.hint, "exit_code": self.exit_code})

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return ()

    @staticmethod
    def schema() -> Schema:
        return {name: _FORMS.schema(kind) for name, kind in (("error", str), ("hint", str), ("exit_code", Count))}


_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render_github(problems: Iterable[Problem]) -> str:
    """A command a line."""
    return "".join(f"{_command(problem)}\n" for problem in problems)


def _command(problem: Problem) -> str:
    place = {"file": problem.source.path, "line": problem.source.line, "col": problem.source.column}
    properties = ",".join(f"{key}={_property(str(value))}" for key, value in place.items() if value)
    text = problem.message + (f" (hint: {problem.hint})" if problem.hint else "")
    return f"::{_LEVELS[problem.severity]} {properties},title={_property(problem.check)}::{_data(text)}"


def _data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
