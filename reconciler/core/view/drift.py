"""What others changed."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.drift import DriftClass, Drifted, DriftReport
from reconciler.core.view.blocks import (
    ROWS,
    Cell,
    Column,
    Lines,
    Section,
    Style,
    View,
    counted,
    moment,
    number,
    sample,
    table,
)

_STYLES = {DriftClass.MISSING: Style.REMOVE, DriftClass.UNEXPECTED: Style.ADD, DriftClass.UNREACHABLE: Style.WARN}
_MEANING = {
    DriftClass.MISSING: "others removed what we put there",
    DriftClass.UNEXPECTED: "others added what the manifests forbid",
    DriftClass.PENDING: "the manifests moved since the last apply",
    DriftClass.UNREACHABLE: "the API refuses the contact",
    DriftClass.UNOBSERVED: "never observed",
}


def drift_view(reports: Sequence[DriftReport], *, most: int | None = ROWS) -> View:
    return View("Drift", tuple(_section(report, most) for report in reports))


def _section(report: DriftReport, most: int | None) -> Section:
    columns = (Column("contacts", right=True), Column("class"), Column("tag"), Column("meaning"), Column("which"))
    rows = [_row(each) for each in report.drifted]
    blocks = [table("", columns, rows, most=most)] if rows else []
    return Section(
        f"Location {report.location}, state serial {report.serial}",
        _verdict(report),
        (*blocks, Lines("", (_age(report),))),
    )


def _verdict(report: DriftReport) -> Cell:
    missing, unexpected = report.count(DriftClass.MISSING), report.count(DriftClass.UNEXPECTED)
    if missing or unexpected:
        return Cell(f"Drift: {counted(missing, 'tag')} missing, {unexpected:,} unexpected.", Style.WARN)
    return Cell("No drift among what was observed.", Style.GOOD)


def _age(report: DriftReport) -> Cell:
    text = f"{counted(report.observed, 'contact')} observed between {moment(report.oldest)} and {moment(report.newest)}"
    if report.refreshed:
        return Cell(f"{text}.", Style.FAINT)
    return Cell(f"{text}; nothing observed since. `--refresh get` or `--refresh search` reads again.", Style.FAINT)


def _row(each: Drifted) -> tuple[Cell, ...]:
    style = _STYLES.get(each.drift, Style.PLAIN)
    return (
        number(len(each.contacts)),
        Cell(each.drift, style),
        Cell(each.tag),
        Cell(each.reason if each.drift is DriftClass.UNREACHABLE else _MEANING[each.drift]),
        Cell(sample(each.contacts), Style.FAINT),
    )
