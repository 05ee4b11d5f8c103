"""What a run did."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.names import ContactId
from reconciler.core.outcome import Outcome
from reconciler.core.report import Finding, LocationReport, Surprises
from reconciler.core.view.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Lines,
    Section,
    Style,
    Total,
    View,
    counted,
    number,
    table,
    totals,
)

_MEANING = {
    Outcome.APPLIED: "changed by this run",
    Outcome.NOOP: "was so already",
    Outcome.SEEN: "found so after a doubt",
    Outcome.REJECTED: "refused by the API for good",
    Outcome.HELD: "the API's answer does not tell: left to a later observation",
    Outcome.IN_DOUBT: "no answer that can be read: left to a later observation",
    Outcome.DEFERRED: "waits for an observation",
    Outcome.NOT_SENT: "not sent",
}
_STYLES = {Outcome.APPLIED: Style.GOOD, Outcome.NOOP: Style.PLAIN, Outcome.SEEN: Style.PLAIN}


def run_view(reports: Sequence[LocationReport], *, most: int | None = ROWS) -> View:
    return View("Run", tuple(_section(report, most) for report in reports))


def _section(report: LocationReport, most: int | None) -> Section:
    findings, surprises = _findings(report.findings, most), _surprises(report.surprises, most)
    blocks = [_outcomes(report), findings, surprises, _notes(report)]
    title = f"Location {report.location}" + (f", run {report.run}" if report.run else "")
    shown = tuple(block for block in blocks if block is not None)
    return Section(title, _verdict(report), shown, _totals(report))


def _totals(report: LocationReport) -> tuple[Total, ...]:
    ended = (
        (outcome.replace("_", " "), pairs, _STYLES.get(outcome, Style.WARN)) for outcome, pairs in report.pairs.items()
    )
    return totals(("requests", report.requests, Style.PLAIN), *ended, ("adopted", report.adopted, Style.PLAIN))


def _verdict(report: LocationReport) -> Cell:
    if report.error:
        told = report.error if report.error.startswith("stopped by ") else f"stopped: {report.error}"
        return Cell(told[0].upper() + told[1:], Style.BAD)
    if not report.run:
        return Cell("Nothing sent.", Style.WARN) if report.notes else Cell("Nothing to do.", Style.GOOD)
    done = f"{counted(report.requests, 'request')} in {counted(report.rounds, 'round')}"
    if report.reads:
        done += f", {counted(report.reads, 'contact')} read to settle doubts"
    if report.exit_code:
        return Cell(f"Done in part: {done}; see what was left below.", Style.WARN)
    return Cell(f"Done: {done}.", Style.GOOD)


def _outcomes(report: LocationReport) -> Block | None:
    rows = [
        (number(pairs, _STYLES.get(outcome, Style.WARN)), Cell(outcome.replace("_", " ")), Cell(_MEANING[outcome]))
        for outcome, pairs in report.pairs.items()
    ]
    if report.adopted:
        rows.append((number(report.adopted), Cell("adopted"), Cell("was so already, now under management")))
    if report.released:
        rows.append((number(report.released), Cell("released"), Cell("no longer under management")))
    if not rows:
        return None
    return table("Pairs (contact, tag)", (Column("pairs", right=True), Column("outcome"), Column("meaning")), rows)


def _findings(findings: Sequence[Finding], most: int | None) -> Block | None:
    if not findings:
        return None
    rows = [
        (
            Cell(each.contact),
            Cell(f"{each.action} {', '.join(each.tags)}"),
            Cell(each.outcome.replace("_", " ")),
            Cell(each.message),
        )
        for each in findings
    ]
    columns = (Column("contact"), Column("asked for"), Column("outcome"), Column("what the API said"))
    return table("Contacts that did not end well", columns, rows, most=most, key=True)


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


def _notes(report: LocationReport) -> Block | None:
    items = [Cell(note, Style.WARN) for note in report.notes]
    if report.outside:
        text = f"{counted(report.outside, 'pair')} turned out to be needed and nobody approved them: run plan again."
        items.append(Cell(text, Style.WARN))
    if report.hint:
        items.append(Cell(f"hint: {report.hint}"))
    return Lines("", tuple(items)) if items else None
