"""The drift of each location: classes, the run that set a pair before, and the age of the observations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.plan_json import SPELLINGS as PLAN_SPELLINGS
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.model.journal import UnknownLocation
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import PendingCause
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import OF_CONTACTS, Drifted, DriftReport, Setter
from reconciler.core.planning.situation import OlderRows
from reconciler.core.running.pending_causes import MOVED
from reconciler.core.running.shortfalls import drift_remedies
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Lines,
    Records,
    Row,
    Section,
    Style,
    View,
    counted,
    iso_or_empty,
    make_records,
    make_section,
    moment,
    number,
    read_columns,
    table,
    totals,
)
from reconciler.output.document import DerivedDocument
from reconciler.output.overview import (
    LocationRow,
    age_cell,
    is_many,
    make_overview,
    unknown_record,
    unknown_row,
    unknown_section,
)

if TYPE_CHECKING:
    from reconciler.output.charts import Chart

_STYLES = {
    DriftClass.MISSING: Style.REMOVE,
    DriftClass.UNEXPECTED: Style.ADD,
    DriftClass.UNREACHABLE: Style.WARN,
    DriftClass.FLAPPING: Style.WARN,
    DriftClass.HELD: Style.WARN,
    DriftClass.STALE: Style.WARN,
}
_MEANING = {
    DriftClass.MISSING: "others removed it",
    DriftClass.UNEXPECTED: "others added it",
    DriftClass.PENDING: MOVED,
    DriftClass.FLAPPING: "comes and goes, held",
    DriftClass.TOLERATED: "owned, not declared, left",
    DriftClass.FOREIGN: "no manifest names it",
    DriftClass.STALE: "observed too long ago",
    DriftClass.UNOBSERVED: "never observed",
}
_COLUMNS = read_columns("#contacts class tag meaning was_right seen set_by which")
_OURS = (DriftClass.MISSING, DriftClass.UNEXPECTED)


def _report_section(report: DriftReport, most: int | None) -> Section:
    surprising = [drifted for drifted in report.drifted if drifted.expected is None]
    expected = [drifted for drifted in report.drifted if drifted.expected is not None]
    return make_section(
        f"Location {report.location}, state serial {report.serial}",
        _report_verdict(report),
        _drift_table("", surprising, most),
        _drift_table("Expected, as the settings say", expected, most),
        Lines("", (*_proof_cells(report), *_remedy_cells(report), _age_cell(report))),
        location=report.location,
    )


def _drift_table(title: str, rows: Sequence[Drifted], most: int | None) -> Block:
    """Columns in which nothing stands are left out."""
    cells = [_drifted_row(drifted) for drifted in rows]
    # eight columns do not fit on a terminal: a column without any text gives its room to the others
    used = [any(row[index].text for row in cells) for index in range(len(_COLUMNS))]
    kept = [tuple(cell for cell, use in zip(row, used, strict=True) if use) for row in cells]
    columns = [column for column, use in zip(_COLUMNS, used, strict=True) if use]
    return table(title, columns, kept, most=most)


def _report_verdict(report: DriftReport) -> Cell:
    """The worst that is true: changes by others, nothing observed or applied, pairs left aside, moved manifests."""
    missing, unexpected = (report.count(drift) for drift in _OURS)
    # changes by others come first: they are the reason to ask for drift
    if missing or unexpected:
        headline = f"Drift: {counted(missing, 'tag')} missing, {unexpected:,} unexpected."
        return Cell(headline + _append_others(report, _AFTER_OURS), Style.WARN)
    # "no drift" would be a statement about contacts that were never read
    unobserved = report.count(DriftClass.UNOBSERVED)
    if unobserved and not report.observed:
        text = f"Nothing known: none of {counted(unobserved, 'declared contact')} was ever observed."
        return Cell(text + _append_others(report, _AFTER_OURS[:-1]), Style.WARN)
    pending = report.count(DriftClass.PENDING)
    # held, unreachable and flapping contacts are not as declared, though nobody else changed them
    undone = [_count_class(report, drift) for drift in _UNDONE if report.count(drift)]
    # drift is a difference from the last apply: without one there is nothing to differ from
    if (pending or undone) and not report.applied:
        text = "No statement on drift: no apply of this location is known, so nothing tells what others changed. "
        counts = ", ".join([*([f"{counted(pending, 'tag')} pending"] if pending else ()), *undone])
        return Cell(f"{text}{counts}.{_append_others(report, _AFTER_UNDONE)}", Style.WARN)
    if undone:
        return Cell(f"Not as declared: {', '.join(undone)}.{_append_others(report, _AFTER_UNDONE)}", Style.WARN)
    if pending:
        text = f"No drift, but {counted(pending, 'tag')} pending: {_explain_pending(report)}."
        return Cell(text + _append_others(report, _AFTER_UNDONE), Style.STRONG)
    besides = _append_others(report, _AFTER_UNDONE)
    expected = " but what is expected" if any(drifted.expected is not None for drifted in report.drifted) else ""
    text = f"No drift{expected} among the {counted(report.observed, 'contact')} observed."
    return Cell(text + besides, Style.STRONG if besides else Style.GOOD)


_PENDING = {
    PendingCause.MOVED: "the manifests moved since the last apply",
    PendingCause.BEGAN: "a set began since the last apply",
    PendingCause.ENDED: "a set ended",
    PendingCause.FOUND: "an observation showed more than the last apply knew",
    PendingCause.PACE: "what is given slowly waits for its pace or its window",
    PendingCause.LEFT: "an earlier run planned it, and did not send it",
    PendingCause.WAITS: "a removal waits for an add",
}
"""Why pairs are pending, in the order in which it is told."""


def _explain_pending(report: DriftReport) -> str:
    """The causes of what is pending; of several each with its number of tags."""
    tags: Counter[PendingCause] = Counter()
    for drifted in report.drifted:
        if drifted.drift is DriftClass.PENDING and drifted.expected is None:
            tags[drifted.cause or PendingCause.MOVED] += len(drifted.contacts)
    causes = [cause for cause in _PENDING if tags[cause]]
    return "; ".join(f"{_PENDING[cause]} ({tags[cause]:,})" if causes[1:] else _PENDING[cause] for cause in causes)


_UNDONE = (DriftClass.HELD, DriftClass.UNREACHABLE, DriftClass.FLAPPING)
_AFTER_UNDONE = (DriftClass.STALE, DriftClass.UNOBSERVED)
_AFTER_OURS = (*_UNDONE, *_AFTER_UNDONE)


def _count_class(report: DriftReport, drift: DriftClass) -> str:
    return f"{counted(report.count(drift), 'contact' if drift in OF_CONTACTS else 'tag')} {drift}"


def _list_unproven(report: DriftReport) -> Iterator[str]:
    """The parts of the question that the reading left open."""
    older = report.older_rows
    if older is not None and older.contradicting > older.read_again:
        yield f"{counted(older.contradicting - older.read_again, 'row')} of the search set aside"
    if report.waiting:
        yield f"not looked for: who else carries {', '.join(map(repr, report.waiting))}"


def _append_others(report: DriftReport, classes: Sequence[DriftClass]) -> str:
    also = [*(_count_class(report, drift) for drift in classes if report.count(drift)), *_list_unproven(report)]
    return f" Besides: {', '.join(also)}." if also else ""


def _remedy_cells(report: DriftReport) -> list[Cell]:
    """The commands that settle the pairs left aside."""
    return [Cell(text, Style.FAINT) for text in drift_remedies(report)]


def _proof_cells(report: DriftReport) -> list[Cell]:
    """Remarks on rows that were set aside, and on conclusions that the search does not allow."""
    lines = []
    if report.older_rows:
        lines.append(Cell(f"{report.older_rows}.", Style.WARN))
    # absence proves nothing where a search did not show every contact
    if report.incomplete:
        text = f"The search was not complete: {report.incomplete}. Who is missing among its rows may still be there."
        lines.append(Cell(text, Style.WARN))
    if report.waiting:
        tags = ", ".join(report.waiting)
        lines.append(
            Cell(f"Who else carries what is exclusive is not known without a whole search: {tags}", Style.WARN)
        )
    return lines


def _age_cell(report: DriftReport) -> Cell:
    # a report without observations makes no statement
    if report.newest is None:
        return Cell("No observation of a declared contact. `--refresh auto` reads.", Style.FAINT)
    text = f"{counted(report.observed, 'contact')} observed between {moment(report.oldest)} and {moment(report.newest)}"
    if report.refreshed:
        return Cell(f"{text}.", Style.FAINT)
    return Cell(f"{text}; nothing observed since. `--refresh auto` reads again.", Style.FAINT)


def _drifted_row(drifted: Drifted) -> tuple[Cell, ...]:
    """A pair was right at one time and observed otherwise at another: the change happened in between."""
    style = _STYLES.get(drifted.drift, Style.PLAIN)
    setter = drifted.set_by
    return (
        number(len(drifted.contacts)),
        Cell(drifted.drift, style),
        Cell(drifted.tag),
        Cell(drifted.expected if drifted.expected is not None else _explain_class(drifted)),
        Cell(_to_minute(drifted.after)),
        Cell(_to_minute(drifted.oldest)),
        Cell("" if setter is None else f"run {setter.run[:8]}, {setter.who}"),
        Cell(_first_contact(drifted), Style.FAINT),
    )


def _explain_class(drifted: Drifted) -> str:
    return drifted.why_pending or _MEANING.get(drifted.drift, drifted.reason)


def _first_contact(drifted: Drifted) -> str:
    """The first contact and the number of the others: the table has eight columns."""
    # there is room for one id; CSV and JSON have them all
    more = len(drifted.contacts) - 1
    return f"{drifted.contacts[0]} and {more:,} more" if more > 0 else "".join(drifted.contacts)


def _to_minute(at: Instant | None) -> str:
    return "" if at is None else f"{moment(at)[:16]}Z"


_FORMS = Forms(
    {
        DriftReport: JsonSpelling(
            # cut short as it was first published
            about="The drift of one location. `oldest`, `newest`: observations of declared contacts. "
            "`incomplete`: why a search",
            derived={"remedies": (Remedies, drift_remedies)},
        ),
        Drifted: JsonSpelling(
            about="Contacts that drifted alike. `tag` is empty where the whole contact is meant. `cause`: why pending "
            "tags are; `meaning`: that, or the class, in words.",
            members="drift tag reason contacts set_by after oldest newest expected cause",
            derived={"meaning": (str, _explain_class)},
        ),
        Setter: JsonSpelling(
            about="A run that last set a pair: its id, whose it was, and when the request was answered."
        ),
        OlderRows: PLAN_SPELLINGS[OlderRows],
        UnknownLocation: PLAN_SPELLINGS[UnknownLocation],
    }
)


@dataclass(frozen=True, slots=True)
class DriftDocument(DerivedDocument):
    report: ClassVar = "drift"
    forms: ClassVar = _FORMS
    only_in_views: ClassVar = frozenset({"notes", "now"})

    locations: Sequence[DriftReport]
    unknown: Sequence[UnknownLocation] = ()
    """Locations of which nothing can be told."""
    notes: Sequence[str] = ()
    """Sentences below the sections."""
    now: Instant | None = None
    """The moment by which the ages of observations are told; without it they are not."""

    def view(self, most: int | None = ROWS) -> View:
        closing = tuple(Cell(note, Style.WARN) for note in self.notes)
        sections = tuple(_report_section(report, most) for report in self._list_told())
        sections += tuple(map(unknown_section, self.unknown))
        return View("Drift", sections, closing, _make_overview(self.locations, self.unknown, self.now, most))

    def records(self) -> Records:
        columns = "location class contact tag why expected was_right_at observed_at set_by_run set_by cause meaning"

        def rows() -> Iterator[Row]:
            yield from (row for report in self.locations for row in _drift_rows(report))
            yield from (unknown_record(unknown, columns) for unknown in self.unknown)

        return make_records("Every contact and tag", columns, rows)

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return [*map(_drift_charts, self._list_told()), *(() for _ in self.unknown)]

    def _list_told(self) -> list[DriftReport]:
        """The locations with a section: of several, those of which more is to be told than that nothing drifted."""
        every = [*(report.location for report in self.locations), *(unknown.location for unknown in self.unknown)]
        alone = not is_many(every)
        return [report for report in self.locations if alone or not _is_quiet(report)]


def _is_quiet(report: DriftReport) -> bool:
    return _brief_verdict(report) == NO_DRIFT and not report.drifted and not _proof_cells(report)


NO_DRIFT = Cell("no drift", Style.GOOD)


def _brief_verdict(report: DriftReport) -> Cell:
    """The verdict in a word or two; the same order as that of the sentence."""
    if any(report.count(drift) for drift in _OURS):
        return Cell("drift", Style.WARN)
    if report.count(DriftClass.UNOBSERVED) and not report.observed:
        return Cell("nothing known", Style.WARN)
    undone, pending = any(report.count(drift) for drift in _UNDONE), report.count(DriftClass.PENDING)
    if (undone or pending) and not report.applied:
        return Cell("no statement", Style.WARN)
    if undone:
        return Cell("not as declared", Style.WARN)
    if pending:
        return Cell("pending", Style.STRONG)
    return NO_DRIFT if _report_verdict(report).style is Style.GOOD else Cell("no drift in part", Style.STRONG)


def _make_overview(
    reports: Sequence[DriftReport], unknown: Sequence[UnknownLocation], now: Instant | None, most: int | None
) -> Section | None:
    """The locations and the classes of drift, of which each number is pairs, or contacts for whole contacts."""
    numbers = {drift: sum(report.count(drift) for report in reports) for drift in DriftClass}
    classes = [drift for drift in DriftClass if numbers[drift]]
    shaded = (Column(drift, right=True, heat=True) for drift in classes)
    columns = [*read_columns("#oldest"), *shaded, *read_columns("#expected")]
    ordered = ((str(drift), numbers[drift], _STYLES.get(drift, Style.PLAIN)) for drift in classes)
    every = ("locations", len(reports) + len(unknown), Style.PLAIN)
    rows = [_overview_row(report, classes, now) for report in reports]
    rows += [unknown_row(each, len(columns)) for each in unknown]
    return make_overview(rows, columns, most, totals=totals(every, *ordered))


def _overview_row(report: DriftReport, classes: Sequence[DriftClass], now: Instant | None) -> LocationRow:
    counts = [report.count(drift) for drift in classes]
    expected = sum(len(drifted.contacts) for drifted in report.drifted if drifted.expected is not None)
    cells = (
        Cell("") if now is None else age_cell(report.oldest, now),
        *(number(count, _STYLES.get(drift, Style.PLAIN)) for drift, count in zip(classes, counts, strict=True)),
        Cell(f"{expected:,}" if expected else "", Style.FAINT),
    )
    return LocationRow(report.location, _brief_verdict(report), cells, sum(counts))


def _drift_rows(report: DriftReport) -> Iterator[Row]:
    for drifted in report.drifted:
        setter = drifted.set_by
        who = ("", "") if setter is None else (setter.run, setter.who)
        facts = (
            drifted.tag,
            drifted.reason,
            drifted.expected or "",
            iso_or_empty(drifted.after),
            iso_or_empty(drifted.oldest),
            *who,
            drifted.cause or "",
            _explain_class(drifted),
        )
        yield from ((report.location, drifted.drift, contact, *facts) for contact in drifted.contacts)


def _drift_charts(report: DriftReport) -> tuple[Chart, ...]:
    from reconciler.output.charts import draw_bars

    by_class: defaultdict[str, Counter[int]] = defaultdict(Counter)
    by_tag: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for drifted in report.drifted:
        counted = f"{drifted.drift} (contacts)" if drifted.drift in OF_CONTACTS else str(drifted.drift)
        by_class[counted][_age_class(drifted.oldest, report.newest)] += len(drifted.contacts)
        if drifted.tag and drifted.drift in ("missing", "unexpected"):
            by_tag[drifted.tag][drifted.drift] += len(drifted.contacts)
    classes = {name: tuple(ages[index] for index in range(len(_AGES))) for name, ages in by_class.items()}
    named = [(name, style) for name, style, _ in _AGES]
    tags = {tag: (counts["missing"], counts["unexpected"]) for tag, counts in by_tag.items()}
    both = (("missing", Style.REMOVE), ("unexpected", Style.ADD))
    return (
        *draw_bars("Drift by class and age of what was observed, in pairs, or in contacts where said", named, classes),
        *draw_bars("Tags by what others changed", both, tags),
    )


_HOUR_MS = 3_600_000
_AGES = (
    ("within an hour", Style.PLAIN, _HOUR_MS),
    ("within a day", Style.ADD, 24 * _HOUR_MS),
    ("within a week", Style.WARN, 7 * 24 * _HOUR_MS),
    ("older, or never", Style.REMOVE, 0),
)
"""Up to how old, beside the newest observation of the report."""


def _age_class(oldest: Instant | None, newest: Instant | None) -> int:
    """Which of `_AGES`."""
    # a contact never observed is as old as can be
    if oldest is None or newest is None:
        return len(_AGES) - 1
    young = (index for index, (_, _, limit) in enumerate(_AGES) if newest - oldest <= limit)
    return next(young, len(_AGES) - 1)
