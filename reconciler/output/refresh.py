"""The results of a refresh: contacts read, news among them, and contacts that are not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.plan_json import SPELLINGS as PLAN_SPELLINGS
from reconciler.core.model.names import ContactId
from reconciler.core.observing.refresh_rules import Refreshed
from reconciler.core.planning.situation import OlderRows
from reconciler.output.blocks import (
    Block,
    Cell,
    Lines,
    Records,
    Row,
    Section,
    Style,
    View,
    counted,
    make_records,
    make_section,
    moment,
    number,
    read_columns,
    sample_cell,
    table,
    totals,
)
from reconciler.output.document import DerivedDocument, Document
from reconciler.output.overview import LocationRow, is_many, make_overview


def _report_section(report: Refreshed, most: int | None) -> Section:
    title = f"Location {report.location}, run {report.run}" if report.run else f"Location {report.location}"
    blocks: list[Block] = []
    # absence proves nothing in a search that did not show every contact
    if report.incomplete:
        text = f"The search was not complete: {report.incomplete}. Nothing follows from who is not among the rows."
        blocks.append(Lines("", (Cell(text, Style.WARN),)))
    if report.older_rows:
        blocks.append(Lines("", (Cell(f"{report.older_rows}.", Style.WARN),)))
    # gone is a statement about the contact, unread one about this reading: they are not mixed
    blocks += [_contact_table("Not there", report.gone, most), _contact_table("Not read", report.unread, most)]
    return make_section(title, _report_verdict(report), *blocks, location=report.location)


def _report_verdict(report: Refreshed) -> Cell:
    # no reading, no run: the history has no row of it
    if not report.run:
        return Cell("Nothing had to be read: what is known is young enough.", Style.GOOD)
    read = (
        f"{counted(report.read, 'contact')} read as of {moment(report.since)}"
        if report.read
        else "Nobody was there to read"
    )
    return Cell(f"{read}; the tags of {report.changed:,} were news.", Style.STRONG)


def _contact_table(title: str, reasons: Mapping[ContactId, str], most: int | None) -> Block:
    # thousands may be gone for one reason: a row a reason
    groups: defaultdict[str, list[ContactId]] = defaultdict(list)
    for contact, why in sorted(reasons.items()):
        groups[why].append(contact)
    rows = [
        (number(len(contacts)), Cell(why, Style.WARN), sample_cell(contacts))
        for why, contacts in sorted(groups.items())
    ]
    return table(title, "#contacts why which", rows, most=most)


NOTHING_TO_READ = Cell("nothing to read", Style.GOOD)


def _brief_verdict(report: Refreshed) -> Cell:
    """The verdict in a word or two."""
    if not report.run:
        return NOTHING_TO_READ
    return Cell("read in part", Style.WARN) if report.incomplete or report.unread else Cell("read", Style.STRONG)


def _make_overview(reports: Sequence[Refreshed], most: int | None) -> Section | None:
    numbers = totals(
        ("locations", len(reports), Style.PLAIN),
        ("contacts read", sum(report.read for report in reports), Style.PLAIN),
        ("news", sum(report.changed for report in reports), Style.PLAIN),
    )
    columns = read_columns("#read #news #not_there #not_read")
    return make_overview([_overview_row(report) for report in reports], columns, most, totals=numbers)


def _overview_row(report: Refreshed) -> LocationRow:
    cells = (
        number(report.read),
        number(report.changed),
        number(len(report.gone), Style.WARN),
        number(len(report.unread), Style.WARN),
    )
    return LocationRow(report.location, _brief_verdict(report), cells, report.changed)


_FORMS = Forms(
    {
        Refreshed: JsonSpelling(
            about="What a refresh stored. `read`: contacts whose tags were told; `changed`: those of whom that is news."
        ),
        OlderRows: PLAN_SPELLINGS[OlderRows],
    }
)


@dataclass(frozen=True, slots=True)
class RefreshDocument(DerivedDocument, Document):
    report: ClassVar = "refresh"
    forms: ClassVar = _FORMS

    locations: Sequence[Refreshed]

    def view(self, most: int | None) -> View:
        alone = not is_many(report.location for report in self.locations)
        told = (report for report in self.locations if alone or _brief_verdict(report) != NOTHING_TO_READ)
        sections = tuple(_report_section(report, most) for report in told)
        return View("Refresh", sections, overview=_make_overview(self.locations, most))

    def records(self) -> Records:
        """The contacts that are not there, or were not read."""
        columns = "location run contact why"
        return make_records("Who is not there, or was not read", columns, self._make_rows)

    def _make_rows(self) -> Iterator[Row]:
        for report in self.locations:
            for contact, why in chain(report.gone.items(), report.unread.items()):
                yield report.location, report.run, contact, why
