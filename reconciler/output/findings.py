"""Findings about a set-up: problems of manifests, doctor's remarks, the settings in force; and a command's error.

Rule: a mark that would end a command of a workflow, or start another, is percent-encoded, as the runner's toolkit does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count
from reconciler.core.model.errors import Problem, Severity
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import redacted, visible, words_text
from reconciler.core.model.settings import OriginKind, SettingOrigin, Settings
from reconciler.core.observing.diagnosis import CheckStatus, Examined, Remark
from reconciler.output.blocks import (
    Cell,
    Column,
    Lines,
    Records,
    Section,
    Style,
    View,
    counted,
    read_columns,
    table,
    view_records,
)
from reconciler.output.document import DerivedDocument, Document

_FORMS = Forms(
    {
        Problem: JsonSpelling(
            members="path=source.path line=source.line column=source.column severity check message hint",
            types={"line": Count, "column": Count},
        )
    }
)


@dataclass(frozen=True, slots=True)
class ProblemList(DerivedDocument):
    """The problems that `validate` found."""

    report: ClassVar = "problems"
    forms: ClassVar = _FORMS

    problems: Sequence[Problem]


_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render_github(problems: Iterable[Problem]) -> str:
    """Annotations of GitHub Actions: a command a line."""
    return "".join(f"{_workflow_command(problem)}\n" for problem in problems)


def _workflow_command(problem: Problem) -> str:
    # a problem of a whole file has line 0, which the runner does not know
    place = {"file": problem.source.path, "line": problem.source.line, "col": problem.source.column}
    properties = ",".join(f"{key}={_escape_property(str(value))}" for key, value in place.items() if value)
    text = problem.message + (f" (hint: {problem.hint})" if problem.hint else "")
    return f"::{_LEVELS[problem.severity]} {properties},title={_escape_property(problem.check)}::{_escape_data(text)}"


def _escape_data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


_STYLES = {
    CheckStatus.UNKNOWN: Style.PLAIN,
    CheckStatus.GOOD: Style.GOOD,
    CheckStatus.WATCH: Style.WARN,
    CheckStatus.BAD: Style.BAD,
}


def _remark_section(group: Examined) -> Section:
    # the heading of a group is its worst remark
    verdict = max((remark.verdict for remark in group.remarks), key=list(CheckStatus).index, default=CheckStatus.GOOD)
    rows = [
        (Cell(remark.verdict, _STYLES[remark.verdict]), Cell(remark.subject), Cell(remark.told))
        for remark in group.remarks
    ]
    # remedies are sentences with commands: in a column of the table they would be folded and could not be copied
    remedies = tuple(Cell(f"{remark.subject}: {remark.remedy}") for remark in group.remarks if remark.remedy)
    remarks = table("", (Column(""), *read_columns("what found")), rows, most=None)
    blocks = (remarks, Lines("What to do", remedies)) if remedies else (remarks,)
    return Section(group.title, Cell(verdict, _STYLES[verdict]), blocks)


_DOCTOR_FORMS = Forms({Remark: JsonSpelling(members="subject verdict found=told remedy")})


@dataclass(frozen=True, slots=True)
class DoctorDocument(DerivedDocument, Document):
    report: ClassVar = "doctor"
    forms: ClassVar = _DOCTOR_FORMS

    examined: Sequence[Examined]

    def view(self, most: int | None) -> View:  # noqa: ARG002  too short to be folded
        remarks = [remark for group in self.examined for remark in group.remarks]
        bad = sum(remark.verdict is CheckStatus.BAD for remark in remarks)
        watched = sum(remark.verdict is CheckStatus.WATCH for remark in remarks)
        summary = f"{counted(len(remarks), 'thing')} looked at: {bad} bad, {watched} to watch. Nothing was changed."
        closing = Cell(summary, Style.BAD if bad else Style.STRONG)
        return View("Doctor", tuple(map(_remark_section, self.examined)), (closing,))

    def records(self) -> Records:
        return view_records(self.view(None))


def settings_view(settings: Settings, tokens: Mapping[LocationId, bool]) -> View:
    """`tokens`: per location, whether its variable is set; a token itself is never shown."""
    rows = [
        (Cell(setting.key), Cell(setting.value), Cell(str(setting.origin), Style.FAINT)) for setting in shown(settings)
    ]
    values = table("", "setting value from", rows, most=None)
    token_rows = [_token_row(settings, location, is_set) for location, is_set in sorted(tokens.items())]
    verdict = Cell(f"{counted(len(rows), 'value')}; a flag rules over the environment, the environment over the file.")
    return View(
        "Settings",
        (Section("Settings", verdict, (values, table("Tokens", "location variable token", token_rows, most=None))),),
    )


def _token_row(settings: Settings, location: LocationId, is_set: bool) -> tuple[Cell, ...]:
    place = settings.location(location)
    if is_set:
        token = Cell("set", Style.GOOD)
    else:
        token = Cell("from token_command") if place.token_command else Cell("not set", Style.WARN)
    return Cell(location), Cell(place.token_env), token


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as a person sees it: no password, no token."""

    key: str
    value: str
    origin: SettingOrigin


def shown(settings: Settings) -> Iterator[Shown]:
    """Every simple setting, then one line a location and a source; the order is that of the documentation."""
    for key, value in _list_values(settings):
        yield Shown(key, _value_text(value), settings.origin(key))
    for place in settings.locations.values():
        token = f"command {place.token_command}" if place.token_command else f"variable {place.token_env}"
        origin = SettingOrigin(OriginKind.FILE, place.source)
        yield Shown(f"locations.{place.location}", f"{place.name or '-'}, token from {token}", origin)
    for query in settings.sources.values():
        asked = f"command {words_text(query.command)}" if query.command else f"sql {query.sql}"
        yield Shown(f"sources.{query.name}", asked, SettingOrigin(OriginKind.FILE, query.place))


def _list_values(settings: Settings) -> Iterator[tuple[str, object]]:
    """The simple settings by their dotted keys: tables, such as the rules of tags, are left out."""
    for member in fields(settings):
        value = getattr(settings, member.name)
        if is_dataclass(value):
            yield from ((f"{member.name}.{part.name}", getattr(value, part.name)) for part in fields(value))
        elif member.name == "state":
            yield member.name, redacted(value)
        elif not isinstance(value, tuple | dict):
            # an empty template is shown like any other value that is not set
            yield member.name, value if value != "" else None


def _value_text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
