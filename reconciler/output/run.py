"""How a run ended: totals, outcomes and shortfalls, which `show RUN` tells alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.journal_json import SHORTFALL
from reconciler.core.formats.json_forms import Count
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import FailedChange, LocationReport, ReadFor, RunEnding, Shortfall, Surprises
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Outcome
from reconciler.core.running.shortfalls import ending_of, run_remedies
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Lines,
    Records,
    Row,
    Section,
    Style,
    Table,
    Total,
    View,
    contact_cell,
    counted,
    make_records,
    make_section,
    number,
    read_columns,
    table,
    totals,
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.document import DerivedDocument, Document
from reconciler.output.overview import LocationRow, is_many, make_overview


def _report_section(report: LocationReport, most: int | None) -> Section:
    ending = ending_of(report)
    return make_section(
        f"Location {report.location}" + (f", run {report.run}" if report.run else ""),
        _report_verdict(report, ending),
        outcomes(ending),
        shortfalls(ending, most),
        _surprise_table(report.surprises, most),
        _note_lines(report, ending),
        totals=ending_totals(ending, report.requests),
        location=report.location,
    )


def _report_verdict(report: LocationReport, ending: RunEnding) -> Cell:
    if report.error and report.error_code == ExitCode.PARTIAL and not report.run:
        return Cell(f"Nothing sent: {report.error}", Style.WARN)
    if report.error:
        # a signal's message says already that it stopped the run
        error = report.error if report.error.startswith("stopped by ") else f"stopped: {report.error}"
        return Cell(error[0].upper() + error[1:], Style.BAD)
    # a run that had nothing to send has no id, as no journal knows it
    if not report.run:
        return Cell("Nothing sent.", Style.WARN) if report.notes else Cell("Nothing to do.", Style.GOOD)
    done = summary(ending, report.requests)
    # the verdict and the exit code agree: both come from the outcomes
    if report.exit_code:
        return Cell(f"Done in part: {done}; see what was left below.", Style.WARN)
    return Cell(f"Done: {done}.", Style.GOOD)


def _surprise_table(surprises: Sequence[Surprises], most: int | None) -> Block:
    rows = [
        (
            number(len(surprise.contacts)),
            Cell(", ".join(surprise.appeared)),
            Cell(", ".join(surprise.vanished)),
            _name_first(surprise.contacts),
        )
        for surprise in surprises
    ]
    title = "Contacts that others had changed since they were last observed"
    return table(title, "#contacts had_gained had_lost such_as", rows, most=most)


def _name_first(contacts: Sequence[ContactId]) -> Cell:
    return Cell(", ".join(contacts[:3]) + (", …" if len(contacts) > 3 else ""))


def _note_lines(report: LocationReport, ending: RunEnding) -> Block:
    items = [Cell(note, Style.WARN) for note in report.notes]
    if report.outside:
        items.append(Cell(unapproved(ending), Style.WARN))
    # a note of the run may be the remedy itself: it is told once
    items += [Cell(text, Style.FAINT) for text in run_remedies(report) if text not in report.notes]
    if report.hint:
        items.append(Cell(f"hint: {report.hint}"))
    return Lines("", tuple(items))


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
    """`14 requests in 2 rounds`, with the requests that read, and what for."""
    done = f"{counted(requests, 'request')} in {counted(ending.rounds, 'round')}"
    # an older version did not write down what it read for
    reads = [f"{counted(reads, 'read')} {_READ_FOR.get(purpose, purpose)}" for purpose, reads in ending.reads_for]
    return ", ".join((done, *(reads or ([counted(ending.reads, "read")] if ending.reads else []))))


_READ_FOR: Mapping[str, str] = {
    ReadFor.DOUBTS: "to settle doubts",
    ReadFor.REFUSALS: "to see whether a refused request took effect",
    ReadFor.DATES: "to learn whether a write moves `dateUpdated`",
}


def unapproved(ending: RunEnding) -> str:
    """The pairs that the answers showed to be needed beyond the plan."""
    return f"{counted(ending.outside, 'pair')} turned out to be needed and nobody approved them: run plan again."


def outcomes(ending: RunEnding) -> Block:
    """The number of pairs by outcome; the pairs that were not sent by reason."""
    rows = [row for outcome, pairs in ending.pairs for row in _outcome_rows(outcome, pairs, ending.shortfalls)]
    # recording costs no request, and is a pair's outcome all the same
    if ending.adopted:
        rows.append((number(ending.adopted), Cell("adopted"), Cell("was so already, now under management")))
    if ending.released:
        rows.append((number(ending.released), Cell("released"), Cell("no longer under management")))
    return table("Pairs (contact, tag)", "#pairs outcome meaning", rows)


def _outcome_rows(outcome: Outcome, pairs: int, shortfalls: Sequence[Shortfall]) -> Iterator[tuple[Cell, ...]]:
    reasons: Counter[str] = Counter()
    # these two outcomes have many reasons; the others mean one thing each
    for shortfall in shortfalls if outcome in _BY_REASON else ():
        if shortfall.outcome is outcome:
            reasons[shortfall.why] += len(shortfall.contacts) * len(shortfall.tags)
    # pairs without a shortfall of their own have the general meaning of their outcome
    reasons[_MEANING[outcome]] += pairs - reasons.total()
    for why, count in reasons.items():
        if count > 0:
            yield number(count, STYLES.get(outcome, Style.WARN)), Cell(words(outcome)), Cell(why)


def shortfalls(ending: RunEnding, most: int | None) -> Block:
    """Each contact that did not end well, the worst first."""
    total = sum(len(shortfall.contacts) for shortfall in ending.shortfalls)
    rows = tuple(islice((row for shortfall in ending.shortfalls for row in _shortfall_cells(shortfall)), most))
    columns = read_columns("contact asked_for outcome why")
    return Table("Contacts that did not end well, or were not sent to", columns, rows, total - len(rows), key=True)


def _shortfall_cells(shortfall: Shortfall) -> Iterator[tuple[Cell, ...]]:
    style = Style.PLAIN if shortfall.outcome is Outcome.DEFERRED else Style.WARN
    asked = f"{shortfall.action} {', '.join(shortfall.tags)}"
    cells = (Cell(asked), Cell(words(shortfall.outcome), style), Cell(shortfall.why))
    return ((contact_cell(contact), *cells) for contact in shortfall.contacts)


_FORMS = Forms(
    {
        LocationReport: JsonSpelling(
            about="A run in one location.",
            types={"pairs": Mapping[Outcome, Count], "reads_for": Mapping[ReadFor, Count]},
            sparse="resets",
            derived={"exit_code": (int, lambda report: int(report.exit_code)), "remedies": (Remedies, run_remedies)},
        ),
        FailedChange: JsonSpelling(about="A contact of a batch that did not end well, and what the API said of it."),
        Surprises: JsonSpelling(
            about="Contacts that were found with tags more, or tags less, than were last observed."
        ),
        Shortfall: JsonSpelling(about=SHORTFALL.about),
    }
)


@dataclass(frozen=True, slots=True)
class RunDocument(DerivedDocument, Document):
    """The runs of an apply or a revert, one a location."""

    report: ClassVar = "run"
    forms: ClassVar = _FORMS

    locations: Sequence[LocationReport]

    def view(self, most: int | None = ROWS) -> View:
        sections = tuple(_report_section(report, most) for report in self._list_told())
        return View("Run", sections, overview=_make_overview(self.locations, most))

    def records(self) -> Records:
        """First the error and the number of pairs by outcome, then each contact that did not end well."""
        columns = "location run outcome #pairs contact action tag message"
        return make_records(
            "How it ended", columns, lambda: (row for report in self.locations for row in _report_rows(report))
        )

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return [outcome_charts(report.pairs.items()) for report in self._list_told()]

    def _list_told(self) -> list[LocationReport]:
        """The locations with a section: of several, those in which a run was, or of which there is more to tell."""
        alone = not is_many(report.location for report in self.locations)
        return [report for report in self.locations if alone or _brief_verdict(report) != NOTHING_TO_DO]


NOTHING_TO_DO = Cell("nothing to do", Style.GOOD)
_REFUSALS: Mapping[int, str] = {
    ExitCode.AUTH: "no token",
    ExitCode.LOCKED: "locked",
    ExitCode.QUOTA: "over quota",
    ExitCode.GUARD: "refused",
    ExitCode.STALE: "stale",
    ExitCode.PARTIAL: "nothing sent",
}
"""Of a location to which nothing was sent, by the code of its error."""


def _brief_verdict(report: LocationReport) -> Cell:
    """The verdict in a word or two."""
    if report.error:
        return Cell("stopped" if report.run else _REFUSALS.get(report.error_code, "failed"), Style.BAD)
    if not report.run:
        return Cell("nothing sent", Style.WARN) if report.notes else NOTHING_TO_DO
    if not report.exit_code:
        return Cell("done", Style.GOOD)
    doubts = report.pairs.get(Outcome.IN_DOUBT, 0) + report.pairs.get(Outcome.HELD, 0)
    return Cell("in doubt" if doubts else "done in part", Style.WARN)


_OVERVIEW = read_columns("#ended_as_asked #left_open #rejected #requests")


def _make_overview(reports: Sequence[LocationReport], most: int | None) -> Section | None:
    rows = [_overview_row(report) for report in reports]
    ended: Counter[Outcome] = Counter()
    for report in reports:
        ended.update(report.pairs)
    pairs = [(words(outcome), count, STYLES.get(outcome, Style.WARN)) for outcome, count in ended.items()]
    requests = ("requests", sum(report.requests for report in reports), Style.PLAIN)
    numbers = totals(("locations", len(reports), Style.PLAIN), requests, *pairs)
    return make_overview(rows, _OVERVIEW, most, totals=numbers)


def _overview_row(report: LocationReport) -> LocationRow:
    parts = [_count_ended(outcome, pairs) for outcome, pairs in report.pairs.items()]
    done, left_open, rejected = (sum(part[at] for part in parts) for at in range(3))
    cells = (
        number(done, Style.GOOD),
        number(left_open, Style.WARN),
        number(rejected, Style.WARN),
        number(report.requests),
    )
    return LocationRow(report.location, _brief_verdict(report), cells, left_open + rejected)


def _report_rows(report: LocationReport) -> Iterator[Row]:
    place = (report.location, report.run)
    if report.error:
        yield (*place, "stopped", "", "", "", "", report.error)
    for outcome, pairs in report.pairs.items():
        yield (*place, words(outcome), str(pairs), "", "", "", "")
    for shortfall in ending_of(report).shortfalls:
        for contact, what, action, tag, why in shortfall_rows(shortfall):
            yield (*place, what, "1", contact, action, tag, why)


def shortfall_rows(shortfall: Shortfall) -> Iterator[tuple[str, str, str, str, str]]:
    for contact in shortfall.contacts:
        for tag in shortfall.tags or ("",):
            yield contact, words(shortfall.outcome), shortfall.action, tag, shortfall.why


_ENDS = (("ended as asked", Style.ADD), ("left open", Style.WARN), ("refused", Style.REMOVE))


_OPEN = (Outcome.HELD, Outcome.IN_DOUBT, Outcome.DEFERRED, Outcome.NOT_SENT)


def outcome_charts(pairs: Iterable[tuple[Outcome, int]]) -> tuple[Chart, ...]:
    bars = {words(outcome): _count_ended(outcome, number) for outcome, number in pairs}
    return draw_bars("Pairs by outcome", _ENDS, bars)


def _count_ended(outcome: Outcome, pairs: int) -> tuple[int, int, int]:
    if outcome in _OPEN:
        return 0, pairs, 0
    return (0, 0, pairs) if outcome is Outcome.REJECTED else (pairs, 0, 0)
