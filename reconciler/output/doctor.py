"""What `doctor` found, for a person and as JSON for monitoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.formats.json_forms import Schema
from reconciler.core.formats.shapes import Forms, Spelling
from reconciler.core.model.json_values import JsonObject
from reconciler.core.observing.diagnosis import CheckStatus, Examined, Remark
from reconciler.output.blocks import (
    Block,
    Cell,
    Column,
    Lines,
    Records,
    Section,
    Style,
    View,
    counted,
    table,
)
from reconciler.output.charts import Chart
from reconciler.output.document import report_document, view_records

_STYLES = {
    CheckStatus.UNKNOWN: Style.PLAIN,
    CheckStatus.GOOD: Style.GOOD,
    CheckStatus.WATCH: Style.WARN,
    CheckStatus.BAD: Style.BAD,
}


def doctor_view(examined: Sequence[Examined]) -> View:
    remarks = [remark for group in examined for remark in group.remarks]
    bad = sum(each.verdict is CheckStatus.BAD for each in remarks)
    watched = sum(each.verdict is CheckStatus.WATCH for each in remarks)
    told = f"{counted(len(remarks), 'thing')} looked at: {bad} bad, {watched} to watch. Nothing was changed."
    return View("Doctor", tuple(map(_section, examined)), (Cell(told, Style.BAD if bad else Style.STRONG),))


def _section(group: Examined) -> Section:
    verdict = max((each.verdict for each in group.remarks), key=list(CheckStatus).index, default=CheckStatus.GOOD)
    rows = [(Cell(each.verdict, _STYLES[each.verdict]), Cell(each.subject), Cell(each.told)) for each in group.remarks]
    found = table("", (Column(""), Column("what"), Column("found")), rows, most=None)
    blocks: tuple[Block, ...] = (found,)
    if remedies := tuple(Cell(_remedy(each)) for each in group.remarks if each.remedy):
        blocks += (Lines("What to do", remedies),)
    return Section(group.title, Cell(verdict, _STYLES[verdict]), blocks)


def _remedy(remark: Remark) -> str:
    return f"{remark.subject}: {remark.remedy}"


_FORMS = Forms({Remark: Spelling(members="subject verdict found=told remedy")})


@dataclass(frozen=True, slots=True)
class DoctorDocument:
    examined: Sequence[Examined]

    def view(self, most: int | None) -> View:  # noqa: ARG002  too short to be folded
        return doctor_view(self.examined)

    def records(self) -> Records:
        return view_records(doctor_view(self.examined))

    def json(self) -> JsonObject:
        return report_document("doctor", _FORMS.write(self))

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return ()

    @staticmethod
    def schema() -> Schema:
        return _FORMS.members(DoctorDocument)
