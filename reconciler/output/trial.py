"""The findings of `doctor --try` as a document: a row for each assumption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reconciler.core.formats import Forms
from reconciler.core.model.api_limits import TrialVerdict, TriedRow
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.core.observing.trial_rows import TRIAL_ROWS, TrialQuestion
from reconciler.output.blocks import Cell, Lines, Records, Section, Style, View, counted, make_records, table
from reconciler.output.document import DerivedDocument, Document

_STYLES = {
    TrialVerdict.AS_ASSUMED: Style.GOOD,
    TrialVerdict.OTHERWISE: Style.WARN,
    TrialVerdict.OPEN: Style.FAINT,
}
QUESTIONS = {question.name: question for question in TRIAL_ROWS}


@dataclass(frozen=True, slots=True)
class TrialFinding:
    """An assumption that was looked at. `found`: the answer in words; `deviation`: what it changes if it is wrong."""

    name: str
    assumption: str
    verdict: TrialVerdict
    found: str
    at: Instant
    deviation: str


def tell_findings(rows: Iterable[TriedRow]) -> tuple[TrialFinding, ...]:
    asked = ((row, QUESTIONS[row.name]) for row in rows)
    return tuple(
        TrialFinding(row.name, question.about, row.verdict, row.found, row.at, describe_deviation(question))
        for row, question in asked
    )


@dataclass(frozen=True, slots=True)
class TrialDocument(DerivedDocument, Document):
    report: ClassVar = "trial"
    forms: ClassVar = Forms({})

    location: LocationId
    contact: ContactId
    run: str
    requests: int
    removed: Sequence[str]
    """Tags that an earlier trial had left, and that are gone now."""
    rows: Sequence[TrialFinding]

    def view(self, most: int | None) -> View:  # noqa: ARG002  too short to be folded
        counts = [sum(row.verdict is verdict for row in self.rows) for verdict in TrialVerdict]
        numbers = ", ".join(f"{count} {verdict}" for count, verdict in zip(counts, TrialVerdict, strict=True))
        verdict = Cell(f"{counted(len(self.rows), 'row')}: {numbers}.", Style.STRONG)
        rows = table("", "row assumption verdict found", [_row_cells(row) for row in self.rows], most=None)
        changes = tuple(
            Cell(f"{row.name}: {row.deviation}", Style.WARN)
            for row in self.rows
            if row.verdict is TrialVerdict.OTHERWISE
        )
        blocks = (rows, Lines("What this changes", changes)) if changes else (rows,)
        section = Section(f"Location {self.location}, contact {self.contact}", verdict, blocks)
        return View("Trial", (section,), (Cell(self._describe_end(), Style.STRONG),))

    def _describe_end(self) -> str:
        asked = f"{counted(self.requests, 'request')}; the contact has the tags that it had."
        gone = f" An earlier trial had left {counted(len(self.removed), 'tag')}: gone." if self.removed else ""
        return f"{asked}{gone} Kept as facts of the location: `reconciler state show` tells them."

    def records(self) -> Records:
        columns = "row assumption verdict found if_it_is_wrong"
        return make_records("Row by row", columns, lambda: map(_list_texts, self.rows))


def _list_texts(row: TrialFinding) -> tuple[str, ...]:
    return row.name, row.assumption, row.verdict, row.found, row.deviation


def _row_cells(row: TrialFinding) -> tuple[Cell, ...]:
    return Cell(row.name), Cell(row.assumption), Cell(row.verdict, _STYLES[row.verdict]), Cell(row.found)


def describe_deviation(question: TrialQuestion) -> str:
    """The consequence, and who heeds it."""
    return question.deviation + (" (plan and apply warn of it)" if question.warns else "")
