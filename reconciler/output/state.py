"""What state holds, contact by contact."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model.api_limits import LIMITS_MS, Facts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.shortfalls import known_remedies
from reconciler.output.blocks import (
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


_MOVES = {
    None: "not known yet whether a write of tags moves dateUpdated: an add in doubt stays held",
    True: "a write of tags moves dateUpdated: it tells whether an add in doubt had an effect",
    False: "a write of tags leaves dateUpdated alone: an add in doubt stays held",
}


def facts_view(snapshots: Sequence[LocationState]) -> View:
    """Each location's state as a whole."""
    return View("State", tuple(_facts_section(each) for each in snapshots))


def _facts_section(state: LocationState) -> Section:
    held = counted(len(state.observed), "contact")
    verdict = Cell(f"{held}, {identity(state)}.", Style.STRONG)
    return Section(f"Location {state.location}", verdict, (Lines("Learnt", facts_lines(state.facts)),))


def facts_lines(facts: Facts) -> tuple[Cell, ...]:
    lines = [Cell(_MOVES[facts.moves_updated])]
    for limit, what in ((facts.max_contacts, "contact"), (facts.max_tags, "tag")):
        if limit is not None:
            lines.append(Cell(f"a request may hold {counted(limit, what)}, {_heeded(facts)}"))
    lines += [Cell(f"tag {sent!r} is kept there as {back!r}", Style.WARN) for sent, back in facts.aliases]
    return tuple(lines)


def _heeded(facts: Facts) -> str:
    if facts.limits_at is None:
        return "learnt nobody knows when: not heeded any more"
    until = Instant(facts.limits_at + LIMITS_MS)
    return f"learnt {moment(facts.limits_at)}, heeded until {moment(until)} unless `state forget --limits` ends it"
