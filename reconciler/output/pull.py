"""The results of a pull: who joined and left each matched set, rows of no contact, guards that refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.plan_json import SPELLINGS as PLAN_SPELLINGS
from reconciler.core.model.people import RowClass, row_place
from reconciler.core.observing.pull_report import AmbiguousRow, PulledLocation, PulledSet, ResolvedFile, RowsAside
from reconciler.core.planning.guard_sentences import explain_lifted, explain_pull_refusals
from reconciler.core.planning.guards import Measured
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Records,
    Row,
    Section,
    Style,
    View,
    counted,
    lines,
    make_records,
    moment,
    number,
    read_columns,
    sample_cell,
    table,
    totals,
)
from reconciler.output.document import DerivedDocument, Document
from reconciler.output.overview import LocationRow, is_many, make_overview

_CLASSES = {
    RowClass.NOT_FOUND: ("not found", "no contact has its values"),
    RowClass.AMBIGUOUS: ("ambiguous", "several contacts have its value"),
    RowClass.DUPLICATE: ("duplicate", "an earlier row is of the same contact"),
    RowClass.MALFORMED: ("malformed", "it has no value that can be one of a person"),
}
_COUNTED = ("kept", "not found", "ambiguous", "duplicate", "malformed")
"""Counts of rows beside those that are matched."""
_PLACES = 5
"""Rows of a class that text names; JSON and CSV have all."""


def pull_view(locations: Sequence[PulledLocation], *, most: int | None = ROWS) -> View:
    alone = not is_many(pulled.location for pulled in locations)
    sections = tuple(_location_section(pulled, most) for pulled in locations if alone or not _is_quiet(pulled))
    closing = () if locations else (NOTHING_TO_PULL,)
    return View("Pull", sections, closing, overview=_make_overview(locations, most))


def _is_quiet(pulled: PulledLocation) -> bool:
    """Whether its row of the overview tells all of it."""
    lifted = any(guard.allowed for entry in pulled.sets for guard in entry.guards)
    return _brief_verdict(pulled) == UNCHANGED and not (pulled.remarks or lifted or any(_detail_blocks(pulled, None)))


UNCHANGED = Cell("unchanged", Style.GOOD)
NOTHING_TO_PULL = Cell("Nothing to pull: no set has a `match`, a `source` or a `filter`.", Style.STRONG)


def _brief_verdict(pulled: PulledLocation) -> Cell:
    """The verdict in a word or two."""
    if any(guard.refused for entry in pulled.sets for guard in entry.guards):
        return Cell("refused", Style.BAD)
    if not all(entry.is_new for entry in pulled.sets):
        return Cell("failed", Style.BAD)
    if all(entry.is_unchanged for entry in pulled.sets):
        return UNCHANGED
    return Cell("pulled" if pulled.is_kept else "would change", Style.STRONG)


def _make_overview(locations: Sequence[PulledLocation], most: int | None) -> Section | None:
    numbers = totals(
        ("locations", len(locations), Style.PLAIN),
        ("joined", sum(_count(pulled, "joined") for pulled in locations), Style.ADD),
        ("left", sum(_count(pulled, "left") for pulled in locations), Style.REMOVE),
        ("requests", sum(pulled.requests for pulled in locations), Style.PLAIN),
    )
    columns = read_columns("#sets #joined #left #requests")
    return make_overview([_overview_row(pulled) for pulled in locations], columns, most, totals=numbers)


def _overview_row(pulled: PulledLocation) -> LocationRow:
    joined, left = _count(pulled, "joined"), _count(pulled, "left")
    cells = (
        number(len(pulled.sets)),
        number(joined, Style.ADD),
        number(left, Style.REMOVE),
        number(pulled.requests),
    )
    return LocationRow(pulled.location, _brief_verdict(pulled), cells, joined + left)


def _location_section(pulled: PulledLocation, most: int | None) -> Section:
    title = f"Location {pulled.location}, run {pulled.run}" if pulled.run else f"Location {pulled.location}"
    blocks: list[Block] = []
    if pulled.remarks:
        blocks.append(lines("", [Cell(remark, Style.WARN) for remark in pulled.remarks], most=None))
    refused = [guard for entry in pulled.sets for guard in entry.refused]
    refusals = [Cell(sentence, Style.BAD) for sentence in explain_pull_refusals(pulled.location, refused)]
    failures = [Cell(text, Style.BAD) for entry in pulled.sets for text in entry.failure]
    lifted = [guard for entry in pulled.sets for guard in entry.guards if guard.allowed]
    lifts = [Cell(explain_lifted(guard, of_pull=True), Style.WARN) for guard in lifted]
    for name, cells in (("Refused", refusals), ("Failed", failures), ("Lifted", lifts)):
        if cells:
            blocks.append(lines(name, cells, most=None, key=True))
    blocks += [_sets_table(pulled, most), *_detail_blocks(pulled, most)]
    joined, left = _count(pulled, "joined"), _count(pulled, "left")
    numbers = totals(
        ("joined", joined, Style.ADD), ("left", left, Style.REMOVE), ("requests", pulled.requests, Style.PLAIN)
    )
    return Section(title, _verdict(pulled), tuple(blocks), numbers, location=pulled.location)


def _count(pulled: PulledLocation, name: str) -> int:
    # one of several sets is one contact
    return len({contact for entry in pulled.sets if entry.is_new for contact in getattr(entry, name)})


def _verdict(pulled: PulledLocation) -> Cell:
    failed = [entry for entry in pulled.sets if not entry.is_new]
    if failed:
        return Cell(f"{counted(len(failed), 'set')} of {len(pulled.sets):,} got no new snapshot: see below.", Style.BAD)
    if not pulled.sets:
        return Cell("No set has a match, a source or a filter: nothing to pull.", Style.GOOD)
    written = "" if pulled.is_kept else " Nothing is kept: this is a dry run."
    if all(entry.is_unchanged for entry in pulled.sets):
        return Cell(f"Nobody joined or left.{written}", Style.GOOD)
    joined, left = _count(pulled, "joined"), _count(pulled, "left")
    return Cell(f"{counted(joined, 'contact')} joined, {left:,} left.{written}", Style.STRONG)


def _sets_table(pulled: PulledLocation, most: int | None) -> Block:
    # a class that no row is of takes no place
    classes = [name for name in _COUNTED if any(_rows_of(entry, name) for entry in pulled.sets)]
    columns = (
        Column("set"),
        Column("file"),
        *(Column(name, right=True) for name in ("rows", "matched", *classes, "joined", "left", "contacts")),
        Column("pulled before"),
    )
    return table("Sets", columns, [_set_row(entry, classes) for entry in pulled.sets], most=most, key=True)


def _rows_of(entry: PulledSet, name: str) -> int:
    counts = entry.counts
    of_classes = (counts.kept, counts.not_found, counts.ambiguous, counts.duplicate, counts.malformed)
    return dict(zip(_COUNTED, of_classes, strict=True))[name]


def _set_row(entry: PulledSet, classes: Sequence[str]) -> tuple[Cell, ...]:
    counts = entry.counts
    return (
        Cell(entry.name, Style.STRONG if entry.is_new else Style.BAD),
        Cell(entry.file),
        number(counts.rows),
        number(counts.matched),
        *(_class_cell(name, _rows_of(entry, name)) for name in classes),
        number(len(entry.joined), Style.ADD),
        number(len(entry.left), Style.REMOVE),
        number(entry.size),
        Cell("never" if entry.pulled_before is None else moment(entry.pulled_before)),
    )


def _class_cell(name: str, rows: int) -> Cell:
    warns = rows and name in ("not found", "ambiguous", "malformed")
    return number(rows, Style.WARN if warns else Style.PLAIN)


def _detail_blocks(pulled: PulledLocation, most: int | None) -> Iterator[Block]:
    members = [
        (Cell(entry.name), Cell(verb, style), number(len(contacts)), sample_cell(contacts))
        for entry in pulled.sets
        for verb, style, contacts in (("joined", Style.ADD, entry.joined), ("left", Style.REMOVE, entry.left))
        if contacts
    ]
    if members:
        did = (Column("set"), Column("did"), Column("contacts", right=True), Column("which"))
        yield table("Who joined and left", did, members, most=most)
    aside = [(entry.name, entry.file, rows) for entry in pulled.sets for rows in entry.aside]
    if aside:
        yield _aside_table("set", aside, most)
    yield from _ambiguous_tables([(entry.file, row) for entry in pulled.sets for row in entry.ambiguous], most)
    changed = [
        (Cell(row_place(entry.file, row.line)), sample_cell((row.before,)), sample_cell((row.after,)))
        for entry in pulled.sets
        for row in entry.changed
    ]
    if changed:
        were = (Column("row"), Column("contact before"), Column("contact now"))
        yield table("Rows whose contact changed", were, changed, most=most)


def _aside_table(of: str, aside: Sequence[tuple[str, str, RowsAside]], most: int | None) -> Block:
    """The rows that give no contact, by the set or file that they are of, each with the file's name."""
    columns = (Column(of), Column("class"), Column("rows", right=True), Column("why"), Column("where"))
    rows = [
        (Cell(name), Cell(label, Style.WARN), number(len(entry.lines)), Cell(meaning), Cell(_places(file, entry.lines)))
        for name, file, entry in aside
        for label, meaning in (_CLASSES[entry.row_class],)
    ]
    return table("Rows of no contact", columns, rows, most=most)


def _ambiguous_tables(found: Sequence[tuple[str, AmbiguousRow]], most: int | None) -> Iterator[Block]:
    """A table of the rows whose value several contacts have; none where no row is such."""
    if found:
        rows = [(Cell(_places(file, (row.line,))), sample_cell(row.contacts)) for file, row in found]
        yield table("Who the ambiguous rows may be", (Column("row"), Column("contacts")), rows, most=most)


def _contacts_by_line(ambiguous: Sequence[AmbiguousRow]) -> dict[int, tuple[str, ...]]:
    return {row.line: row.contacts for row in ambiguous}


def _places(file: str, rows: Sequence[int]) -> str:
    named = ", ".join(row_place(file, line) for line in rows[:_PLACES])
    return f"{named} and {len(rows) - _PLACES:,} more" if len(rows) > _PLACES else named


def resolve_view(resolved: ResolvedFile, *, most: int | None = ROWS) -> View:
    counts = resolved.counts
    matched = counted(counts.matched + counts.duplicate, "row")
    style = Style.GOOD if resolved.is_complete else Style.WARN
    verdict = Cell(f"{matched} of {counts.rows:,} matched; their contacts are in {resolved.out}.", style)
    blocks: list[Block] = []
    if resolved.remarks:
        blocks.append(lines("", [Cell(remark, Style.WARN) for remark in resolved.remarks], most=None))
    names = ("rows", "matched", "not found", "ambiguous", "duplicate", "malformed")
    numbers = (counts.rows, counts.matched, counts.not_found, counts.ambiguous, counts.duplicate, counts.malformed)
    columns = tuple(Column(name, right=True) for name in names)
    blocks.append(table("Rows", columns, [tuple(map(number, numbers))], most=None, key=True))
    if resolved.aside:
        blocks.append(_aside_table("file", [(resolved.file, resolved.file, rows) for rows in resolved.aside], most))
    blocks += _ambiguous_tables([(resolved.file, row) for row in resolved.ambiguous], most)
    section = Section(f"Location {resolved.location}", verdict, tuple(blocks), location=resolved.location)
    return View("Resolve", (section,))


_FORMS = Forms(
    {
        PulledLocation: JsonSpelling(about="What a pull resolved in a location."),
        PulledSet: JsonSpelling(
            about="One matched set. `counts`: rows by class; `joined`, `left`: contacts against the snapshot before."
        ),
        ResolvedFile: JsonSpelling(about="A file of people that was resolved into a file of contact ids."),
        Measured: PLAN_SPELLINGS[Measured],
    }
)


@dataclass(frozen=True, slots=True)
class PullDocument(DerivedDocument, Document):
    report: ClassVar = "pull"
    forms: ClassVar = _FORMS

    locations: Sequence[PulledLocation]

    def view(self, most: int | None) -> View:
        return pull_view(self.locations, most=most)

    def records(self) -> Records:
        """A row for each contact that joined or left, and for each row of a file that is of no contact."""
        return make_records("What was pulled", "location set did contact file line", self._make_rows)

    def _make_rows(self) -> Iterator[Row]:
        for pulled in self.locations:
            for entry in pulled.sets:
                for verb, contacts in (("joined", entry.joined), ("left", entry.left)):
                    for contact in contacts:
                        yield pulled.location, entry.name, verb, contact, "", ""
                contacts_of = _contacts_by_line(entry.ambiguous)
                for aside in entry.aside:
                    for line in aside.lines:
                        for named in contacts_of.get(line, ("",)):
                            yield pulled.location, entry.name, aside.row_class, named, entry.file, str(line)


@dataclass(frozen=True, slots=True)
class ResolveDocument(DerivedDocument, Document):
    report: ClassVar = "resolve"
    forms: ClassVar = _FORMS

    resolved: ResolvedFile

    def view(self, most: int | None) -> View:
        return resolve_view(self.resolved, most=most)

    def records(self) -> Records:
        """A row for each row of the file that is of no contact."""
        return make_records("Rows of no contact", "location class file line contact", self._make_rows)

    def _make_rows(self) -> Iterator[Row]:
        resolved, contacts_of = self.resolved, _contacts_by_line(self.resolved.ambiguous)
        for aside in resolved.aside:
            for line in aside.lines:
                for named in contacts_of.get(line, ("",)):
                    yield resolved.location, aside.row_class, resolved.file, str(line), named
