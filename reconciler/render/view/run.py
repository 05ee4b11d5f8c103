"""What a run did."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model.journal import LocationReport, RunEnding, Surprises
from reconciler.core.model.names import ContactId
from reconciler.core.running.shortfalls import ending_of, run_remedies
from reconciler.render.view.blocks import ROWS, Block, Cell, Column, Lines, Section, Style, View, number, table
from reconciler.render.view.outcome import ending_totals, outcomes, shortfalls, summary, unapproved


def run_view(reports: Sequence[LocationReport], *, most: int | None = ROWS) -> View:
    return View("Run", tuple(_section(report, most) for report in reports))


def _section(report: LocationReport, most: int | None) -> Section:
    ending = ending_of(report)
    blocks = [outcomes(ending), shortfalls(ending, most), _surprises(report.surprises, most), _notes(report, ending)]
    title = f"Location {report.location}" + (f", run {report.run}" if report.run else "")
    shown = tuple(block for block in blocks if block is not None)
    return Section(title, _verdict(report, ending), shown, ending_totals(ending, report.requests), report.location)


def _verdict(report: LocationReport, ending: RunEnding) -> Cell:
    if report.error:
        told = report.error if report.error.startswith("stopped by ") else f"stopped: {report.error}"
        return Cell(told[0].upper() + told[1:], Style.BAD)
    if not report.run:
        return Cell("Nothing sent.", Style.WARN) if report.notes else Cell("Nothing to do.", Style.GOOD)
    done = summary(ending, report.requests)
    if report.exit_code:
        return Cell(f"Done in part: {done}; see what was left below.", Style.WARN)
    return Cell(f"Done: {done}.", Style.GOOD)


def _surprises(surprises: Sequence[Surprises], most: int | None) -> Block | None:
    if not surprises:
        return None
    rows = [
        (
            number(len(each.contacts)),
            Cell(", ".join(each.appeared)),
            Cell(", ".join(each.vanished)),
            _some(each.contacts),
        )
        for each in surprises
    ]
    columns = (Column("contacts", right=True), Column("had gained"), Column("had lost"), Column("such as"))
    return table("Contacts that others had changed since they were last observed", columns, rows, most=most)


def _some(contacts: Sequence[ContactId]) -> Cell:
    return Cell(", ".join(contacts[:3]) + (", …" if len(contacts) > 3 else ""))


def _notes(report: LocationReport, ending: RunEnding) -> Block | None:
    items = [Cell(note, Style.WARN) for note in report.notes]
    if report.outside:
        items.append(Cell(unapproved(ending), Style.WARN))
    items += [Cell(text, Style.FAINT) for text in run_remedies(report) if text not in report.notes]
    if report.hint:
        items.append(Cell(f"hint: {report.hint}"))
    return Lines("", tuple(items)) if items else None
