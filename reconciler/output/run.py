"""How a run ended: totals, outcomes and shortfalls, which `show RUN` tells alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from reconciler.core.model.journal import LocationReport, RunEnding, Shortfall, Surprises
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Outcome
from reconciler.core.running.shortfalls import ending_of, run_remedies
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Lines,
    Section,
    Style,
    Table,
    Total,
    View,
    contact_cell,
    counted,
    number,
    table,
    totals,
)


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


_MEANING = {
    Outcome.APPLIED: "changed by this run",
    Outcome.NOOP: "was so already",
    Outcome.SEEN: "found so after a doubt",
    Outcome.REJECTED: "refused by the API for good",
    Outcome.HELD: "the API's answer does not tell: left to a later observation",
    Outcome.IN_DOUBT: "no answer that can be read: left to a later observation",
    Outcome.DEFERRED: "not decided by this run",
    Outcome.NOT_SENT: "not sent",
}
STYLES = {Outcome.APPLIED: Style.GOOD, Outcome.NOOP: Style.PLAIN, Outcome.SEEN: Style.PLAIN}
_BY_REASON = (Outcome.NOT_SENT, Outcome.DEFERRED)


def words(outcome: Outcome) -> str:
    return outcome.replace("_", " ")


def ending_totals(ending: RunEnding, requests: int) -> tuple[Total, ...]:
    ended = ((words(outcome), pairs, STYLES.get(outcome, Style.WARN)) for outcome, pairs in ending.pairs)
    return totals(
        ("requests", requests, Style.PLAIN),
        *ended,
        ("adopted", ending.adopted, Style.PLAIN),
        ("released", ending.released, Style.PLAIN),
    )


def summary(ending: RunEnding, requests: int) -> str:
    """`14 requests in 2 rounds`, with what was read."""
    done = f"{counted(requests, 'request')} in {counted(ending.rounds, 'round')}"
    return f"{done}, {counted(ending.reads, 'contact')} read to settle doubts" if ending.reads else done


def unapproved(ending: RunEnding) -> str:
    """What the answers showed to be needed beyond the plan."""
    return f"{counted(ending.outside, 'pair')} turned out to be needed and nobody approved them: run plan again."


def outcomes(ending: RunEnding) -> Block | None:
    """How many pairs ended how; what was not sent, by why."""
    rows = [row for outcome, pairs in ending.pairs for row in _outcome(outcome, pairs, ending.shortfalls)]
    if ending.adopted:
        rows.append((number(ending.adopted), Cell("adopted"), Cell("was so already, now under management")))
    if ending.released:
        rows.append((number(ending.released), Cell("released"), Cell("no longer under management")))
    if not rows:
        return None
    return table("Pairs (contact, tag)", (Column("pairs", right=True), Column("outcome"), Column("meaning")), rows)


def _outcome(outcome: Outcome, pairs: int, shortfalls: Sequence[Shortfall]) -> Iterator[tuple[Cell, ...]]:
    reasons: Counter[str] = Counter()
    for each in shortfalls if outcome in _BY_REASON else ():
        if each.outcome is outcome:
            reasons[each.why] += len(each.contacts) * len(each.tags)
    reasons[_MEANING[outcome]] += pairs - reasons.total()
    for why, some in reasons.items():
        if some > 0:
            yield number(some, STYLES.get(outcome, Style.WARN)), Cell(words(outcome)), Cell(why)


def shortfalls(ending: RunEnding, most: int | None) -> Block | None:
    """Each contact that did not end well, the worst first."""
    total = sum(len(each.contacts) for each in ending.shortfalls)
    if not total:
        return None
    columns = (Column("contact"), Column("asked for"), Column("outcome"), Column("why"))
    rows = tuple(islice((row for each in ending.shortfalls for row in _shortfall(each)), most))
    return Table("Contacts that did not end well, or were not sent to", columns, rows, total - len(rows), key=True)


def _shortfall(each: Shortfall) -> Iterator[tuple[Cell, ...]]:
    style = Style.PLAIN if each.outcome is Outcome.DEFERRED else Style.WARN
    asked = f"{each.action} {', '.join(each.tags)}"
    told = (Cell(asked), Cell(words(each.outcome), style), Cell(each.why))
    return ((contact_cell(contact), *told) for contact in each.contacts)
