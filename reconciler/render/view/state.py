"""What state holds, contact by contact."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import ContactId
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.shortfalls import known_remedies
from reconciler.render.view.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Lines,
    Section,
    Style,
    View,
    contact_cell,
    counted,
    moment,
    table,
)

_COLUMNS = (Column("contact"), Column("observed tags"), Column("managed tags"), Column("observed"), Column("status"))


def state_view(snapshots: Sequence[LocationState], *, most: int | None = ROWS) -> View:
    return View("State", tuple(_section(each, most) for each in snapshots))


def _section(state: LocationState, most: int | None) -> Section:
    rows = [_row(contact, known) for contact, known in sorted(state.observed.items())]
    verdict = Cell(f"{counted(len(rows), 'contact')}, {identity(state)}.", Style.STRONG)
    told = tuple(Cell(text, Style.FAINT) for text in known_remedies(known for _, known in state.observed.items()))
    blocks: list[Block] = [table("", _COLUMNS, rows, most=most)]
    if told:
        blocks.append(Lines("", told))
    return Section(f"Location {state.location}", verdict, tuple(blocks), location=state.location)


def identity(state: LocationState) -> str:
    """Which state it is, and how often it changed."""
    return f"serial {state.serial}, lineage {state.lineage}" if state.lineage else "no state yet"


def _row(contact: ContactId, known: ContactState) -> tuple[Cell, ...]:
    return (
        contact_cell(contact),
        Cell("unobserved" if known.observed is None else ", ".join(sorted(known.observed))),
        Cell(", ".join(sorted(known.ledger))),
        Cell(moment(known.observed_at), Style.FAINT),
        _status(known),
    )


def _status(known: ContactState) -> Cell:
    if known.quarantine:
        return Cell(f"quarantined: {known.quarantine}", Style.WARN)
    if known.doubt:
        return Cell(f"in doubt: {', '.join(sorted(known.doubt))}", Style.WARN)
    return Cell("")
