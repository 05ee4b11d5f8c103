"""The blocks a view is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.core.model.names import (
    ContactId,
    Instant,
    LocationId,
    Source,
    iso,
    location_label,
    name_locations,
)
from reconciler.core.model.safe_text import Provenance, contact_page

SAMPLE = 3
ROWS = 40
COMMIT = 12
"""Of the id of a commit, how much a person reads."""


class Style(StrEnum):
    """The meaning of a text; a renderer gives it a colour, or none."""

    PLAIN = "plain"
    STRONG = "strong"
    ADD = "add"
    REMOVE = "remove"
    WARN = "warn"
    BAD = "bad"
    GOOD = "good"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class Cell:
    """`contacts`: the ids that the text begins with, parted by a comma and a blank. `pages`: their links.

    `locations`: the ids of locations that the text begins with, parted alike; people read their names.
    """

    text: str
    style: Style = Style.PLAIN
    contacts: tuple[ContactId, ...] = ()
    pages: tuple[str, ...] = ()
    locations: tuple[LocationId, ...] = ()

    @property
    def after_contacts(self) -> str:
        return self.text[len(", ".join(self.contacts)) :]


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    right: bool = False
    heat: bool = False
    """Whether a page shades the numbers by their size."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    hidden: int = 0
    """The number of rows that were folded away."""
    key: bool = False
    """Whether a reader must see it: a format with a limit cuts all other blocks first."""
    weights: tuple[int, ...] = ()
    """How much each row matters: where rows are folded away, the heaviest stay; without weights the first."""

    def shorten(self, most: int | None) -> Table:
        """The table with `most` rows (None: all of them) in their order, and the number of those that are hidden."""
        if most is None or len(self.rows) <= most:
            return self
        heaviest = sorted(range(len(self.rows)), key=lambda at: -self.weights[at] if self.weights else at)
        kept = sorted(heaviest[:most])
        return replace(
            self,
            rows=tuple(self.rows[at] for at in kept),
            hidden=self.hidden + len(self.rows) - len(kept),
            weights=tuple(self.weights[at] for at in kept) if self.weights else (),
        )


@dataclass(frozen=True, slots=True)
class Lines:
    """Sentences; a title may be empty. `hidden` and `key`: as in a table."""

    title: str
    items: tuple[Cell, ...]
    hidden: int = 0
    key: bool = False


Block = Table | Lines


@dataclass(frozen=True, slots=True)
class Total:
    """One number of a section, such as the requests of a plan. Text leaves totals out: its verdicts say the same."""

    name: str
    value: Cell


@dataclass(frozen=True, slots=True)
class Section:
    """One location's part; `location` where its contacts may be linked."""

    title: str
    verdict: Cell
    blocks: tuple[Block, ...]
    totals: tuple[Total, ...] = ()
    location: LocationId | None = None


@dataclass(frozen=True, slots=True)
class View:
    title: str
    sections: tuple[Section, ...]
    closing: tuple[Cell, ...] = ()
    overview: Section | None = None
    """What stands before the sections where there are many: `overview.py`."""
    made: Provenance | None = None
    """For formats that leave the terminal."""
    contact_url: str = ""
    """The template of a contact's page in the CRM; empty where no setting gives it."""


Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """A document row by row, for a spreadsheet and for the long table of a web page. Nothing is grouped or folded."""

    title: str
    columns: tuple[Column, ...]
    rows: Callable[[], Iterator[Row]]
    """Makes the rows anew at each call: there may be a million."""


def make_records(title: str, columns: str, rows: Callable[[], Iterator[Row]]) -> Records:
    """The records with these columns, which `read_columns` reads."""
    return Records(title, read_columns(columns), rows)


def read_columns(names: str) -> tuple[Column, ...]:
    """Columns by their names, parted by blanks: `_` stands for a blank in a name, `#` before it marks a number."""
    return tuple(Column(name.lstrip("#").replace("_", " "), right=name.startswith("#")) for name in names.split())


def iso_or_empty(moment: Instant | None) -> str:
    return "" if moment is None else iso(moment)


def link_contacts(view: View, contact_url: str) -> View:
    """The view with the address of each contact that it names, where the settings say how it is made."""
    # no setting, no links: the view stays as it is
    if not contact_url:
        return view

    def link(section: Section) -> Section:
        location = section.location
        # an id is unique in its location only: without one there is no page to link to
        if location is None:
            return section
        blocks = (
            _linked_block(block, lambda who: contact_page(contact_url, location, who)) for block in section.blocks
        )
        return replace(section, blocks=tuple(blocks))

    return replace(view, sections=tuple(map(link, view.sections)), contact_url=contact_url)


def _linked_block(block: Block, page: Callable[[ContactId], str]) -> Block:
    if isinstance(block, Lines):
        return block
    rows = (
        tuple(replace(cell, pages=tuple(map(page, cell.contacts))) if cell.contacts else cell for cell in row)
        for row in block.rows
    )
    return replace(block, rows=tuple(rows))


def made_in_words(made: Provenance) -> str:
    """A sentence that the command ends."""
    commit = f" from a checkout of commit {made.commit[:COMMIT]}" if made.commit else ""
    return f"Made {moment(made.at)}{commit} by reconciler {made.version}:"


@dataclass(frozen=True, slots=True)
class _Words:
    """The names and options that a text for people has, and its document lacks."""

    names: Mapping[LocationId, str]
    complete: Callable[[str], str]

    def rewrite(self, text: str) -> str:
        return self.complete(name_locations(text, self.names))


def name_in_view(view: View, names: Mapping[LocationId, str], complete: Callable[[str], str] = str) -> View:
    """The view with a location's name beside its id wherever it speaks of a location; ids without a name stay alone.

    `complete`: gives the commands of ours in a text the options that they need.
    """
    # most locations have no name: the view is not built a second time for them
    if not names and complete is str:
        return view
    words = _Words(names, complete)
    return replace(
        view,
        sections=tuple(_named_section(section, words) for section in view.sections),
        closing=tuple(_named_cell(cell, words) for cell in view.closing),
        overview=None if view.overview is None else _named_section(view.overview, words),
    )


def _named_section(section: Section, words: _Words) -> Section:
    return replace(
        section,
        title=words.rewrite(section.title),
        verdict=_named_cell(section.verdict, words),
        blocks=tuple(_named_block(block, words) for block in section.blocks),
    )


def _named_block(block: Block, words: _Words) -> Block:
    if isinstance(block, Lines):
        return replace(block, items=tuple(_named_cell(cell, words) for cell in block.items))
    rows = tuple(tuple(_named_cell(cell, words) for cell in row) for row in block.rows)
    if not all(row[0].locations for row in rows):
        return replace(block, rows=rows)
    # a table of locations is sorted as people read it
    order = sorted(range(len(rows)), key=lambda at: rows[at][0].text.casefold())
    weights = tuple(block.weights[at] for at in order) if block.weights else ()
    return replace(block, rows=tuple(rows[at] for at in order), weights=weights)


def _named_cell(cell: Cell, words: _Words) -> Cell:
    if cell.locations:
        labels = ", ".join(location_label(location, words.names.get(location, "")) for location in cell.locations)
        return replace(cell, text=labels + cell.text[len(", ".join(cell.locations)) :])
    text = words.rewrite(cell.text)
    # most cells name no location: the same cell stands for them
    return cell if text is cell.text else replace(cell, text=text)


def percent(share: float) -> str:
    """Two figures, and all of them where it is more than the whole."""
    return f"{100 * share:,.0f} %" if share >= 1 else f"{100 * share:.2g} %"


def table(
    title: str,
    columns: str | Sequence[Column],
    rows: Sequence[tuple[Cell, ...]],
    *,
    most: int | None = ROWS,
    key: bool = False,
    weights: Sequence[int] = (),
    hidden: int = 0,
) -> Table:
    """A table folded to `most` rows (None: all of them). `columns`: as `read_columns` reads them.

    `hidden`: how many rows were left out already.
    """
    named = read_columns(columns) if isinstance(columns, str) else tuple(columns)
    # the number of hidden rows stays: a folded table must not look like a whole one
    return Table(title, named, tuple(rows), hidden, key, tuple(weights)).shorten(most)


def lines(title: str, items: Sequence[Cell], *, most: int | None = ROWS, key: bool = False) -> Lines:
    """Sentences folded to `most` (None: all of them)."""
    shown = tuple(items if most is None else items[:most])
    return Lines(title, shown, len(items) - len(shown), key)


def make_section(
    title: str, verdict: Cell, *blocks: Block, totals: tuple[Total, ...] = (), location: LocationId | None = None
) -> Section:
    """A section of those blocks in which something stands."""
    # a title above no row would be taken for "there is none", which most sections do not say of all they could
    filled = tuple(block for block in blocks if (block.rows if isinstance(block, Table) else block.items))
    return Section(title, verdict, filled, totals, location)


def totals(*named: tuple[str, int, Style]) -> tuple[Total, ...]:
    """Those that are not zero."""
    return tuple(Total(name, number(value, style)) for name, value, style in named if value)


def number(value: int | float, style: Style = Style.PLAIN) -> Cell:
    return Cell(f"{value:,}", style if value else Style.FAINT)


def counted(value: int, singular: str, plural: str = "") -> str:
    """`1 contact`, `1,200 contacts`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def sample(contacts: Sequence[ContactId]) -> str:
    """The first few contacts, and how many more there are."""
    # three ids are enough to look one up in the CRM
    more = f" and {len(contacts) - SAMPLE:,} more" if len(contacts) > SAMPLE else ""
    return ", ".join(contacts[:SAMPLE]) + more


def sample_cell(contacts: Sequence[ContactId]) -> Cell:
    return Cell(sample(contacts), Style.FAINT, tuple(contacts[:SAMPLE]))


def contact_cell(contact: ContactId) -> Cell:
    return Cell(contact, contacts=(contact,))


def places(sources: Sequence[Source]) -> str:
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0]}{more}" if sources else ""


def moment(instant: Instant | None) -> str:
    """To the second: `2026-11-23 09:30:00Z`."""
    return "never" if instant is None else iso(instant)[:19].replace("T", " ") + "Z"


def describe_age(seconds: float) -> str:
    """In the unit that a reader compares by: `40 s`, `12 min`, `30 h`, `9 d`."""
    for most, unit, size in ((60, "s", 1), (3_600, "min", 60), (48 * 3_600, "h", 3_600)):
        if seconds < most:
            # clocks of two machines differ: an observation may be of a moment to come
            return f"{max(0, seconds) // size:,.0f} {unit}"
    return f"{seconds // 86_400:,.0f} d"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {remainder} s"


def view_records(view: View) -> Records:
    """The records of a short document: its view line by line."""
    return make_records("Line by line", "section told", lambda: _lines_of(view))


def _lines_of(view: View) -> Iterator[Row]:
    # the verdict is a row too: a filter by section finds it
    for section in view.sections:
        yield section.title, section.verdict.text
        yield from ((section.title, text) for block in section.blocks for text in _block_texts(block))


def _block_texts(block: Block) -> Iterator[str]:
    if isinstance(block, Lines):
        return (cell.text for cell in block.items)
    return (", ".join(cell.text for cell in row if cell.text) for row in block.rows)
