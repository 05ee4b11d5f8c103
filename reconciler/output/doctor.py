"""What `doctor` found, for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.core.model.safe_text import json_line
from reconciler.core.observing.diagnosis import CheckStatus, Examined, Remark
from reconciler.output.blocks import Block, Cell, Column, Lines, Section, Style, View, counted, table

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


def doctor_json(examined: Iterable[Examined]) -> str:
    groups = [{"title": each.title, "remarks": [_remark(remark) for remark in each.remarks]} for each in examined]
    return json_line({"format_version": "1.0", "report": "doctor", "examined": groups})


def _remark(remark: Remark) -> dict[str, str]:
    return {
        "subject": remark.subject,
        "verdict": remark.verdict.value,
        "found": remark.told,
        "remedy": remark.remedy,
    }
