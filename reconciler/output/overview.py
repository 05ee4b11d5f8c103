"""Many locations at a glance: a table with a row a location, and the changes that several of them share.

Rules
1. A document of one location has no overview, and is told as it ever was.
2. The rows are sorted by the location's name; where rows are folded away, the worst and then the largest stay.
3. A location of which there is nothing more to tell has its row, and no section.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.core.model.journal import UnknownLocation
from reconciler.core.model.names import Instant, LocationId
from reconciler.output.blocks import (
    SAMPLE,
    Block,
    Cell,
    Column,
    Lines,
    Row,
    Section,
    Style,
    Total,
    counted,
    describe_age,
    lines,
    make_section,
    table,
)

_SEVERITY = {Style.BAD: 3, Style.WARN: 2, Style.STRONG: 1}
"""Of a verdict, by its style; of any other 0."""


@dataclass(frozen=True, slots=True)
class LocationRow:
    """A location in the table of all."""

    location: LocationId
    verdict: Cell
    """In a word or two."""
    cells: tuple[Cell, ...]
    size: int = 0
    """How much is to be done, or was, in requests or pairs: of two verdicts alike the larger one matters more."""


def is_many(locations: Iterable[LocationId]) -> bool:
    """Whether there are two different ones at least."""
    return len(set(locations)) > 1


def unknown_row(unknown: UnknownLocation, cells: int) -> LocationRow:
    """`cells`: how many the table has."""
    return LocationRow(unknown.location, Cell("not known", Style.BAD), (Cell(""),) * cells)


def unknown_section(unknown: UnknownLocation) -> Section:
    verdict = Cell(f"Not known: {unknown.error}.", Style.BAD)
    hint = [Cell(unknown.hint, Style.FAINT)] if unknown.hint else []
    return make_section(f"Location {unknown.location}", verdict, lines("", hint), location=unknown.location)


def unknown_record(unknown: UnknownLocation, columns: str) -> Row:
    """For these columns, one of which is `why`: nothing is said of any contact, and not nothing of the location."""
    told = {"location": unknown.location, "class": "not known", "what": "not known", "why": unknown.error}
    return tuple(told.get(column, "") for column in columns.split())


def make_overview(
    rows: Sequence[LocationRow], columns: Sequence[Column], most: int | None, *blocks: Block, totals: tuple[Total, ...]
) -> Section | None:
    """The overview of these locations; None where they are one. `columns`: those of the rows' cells.

    Columns in which nothing stands are left out. `blocks` follow the table.
    """
    if not is_many(row.location for row in rows):
        return None
    rows = sorted(rows, key=lambda row: row.location)
    used = [any(row.cells[index].text for row in rows) for index in range(len(columns))]
    cells = [
        (_location_cell(row.location), row.verdict, *(cell for cell, use in zip(row.cells, used, strict=True) if use))
        for row in rows
    ]
    named = [Column("location"), Column("verdict"), *(column for column, use in zip(columns, used, strict=True) if use)]
    return make_section(
        counted(len(rows), "location"),
        _sum_up(rows),
        table("Locations", named, cells, most=most, key=True, weights=_weigh(rows)),
        *blocks,
        totals=totals,
    )


def _location_cell(location: LocationId) -> Cell:
    return Cell(location, Style.STRONG, locations=(location,))


def _weigh(rows: Sequence[LocationRow]) -> list[int]:
    """The place of each row, counted from the least: by severity, then by size."""
    order = sorted(range(len(rows)), key=lambda at: (_SEVERITY.get(rows[at].verdict.style, 0), rows[at].size, -at))
    places = {at: place for place, at in enumerate(order)}
    return [places[at] for at in range(len(rows))]


def _sum_up(rows: Sequence[LocationRow]) -> Cell:
    """How many locations have each verdict, the worst first."""
    numbers = Counter(row.verdict for row in rows)
    ordered = sorted(numbers.items(), key=lambda item: (-_SEVERITY.get(item[0].style, 0), -item[1], item[0].text))
    worst = ordered[0][0].style
    return Cell(", ".join(f"{number:,} {verdict.text}" for verdict, number in ordered) + ".", worst)


def find_severity(section: Section) -> int:
    """The severity of the worst that a reader must see of a section."""
    seen = (cell for block in section.blocks if block.key and isinstance(block, Lines) for cell in block.items)
    return max(_SEVERITY.get(cell.style, 0) for cell in (section.verdict, *seen))


def age_cell(oldest: Instant | None, now: Instant) -> Cell:
    """The age of the oldest observation."""
    return Cell("never", Style.FAINT) if oldest is None else Cell(describe_age((now - oldest) / 1000))


def sample_locations(locations: Sequence[LocationId]) -> Cell:
    """The first few locations, and how many more there are."""
    more = f" and {len(locations) - SAMPLE:,} more" if len(locations) > SAMPLE else ""
    shown = tuple(locations[:SAMPLE])
    return Cell(", ".join(shown) + more, Style.FAINT, locations=shown)
