"""What a location taught us about itself."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model.api_limits import LIMITS_MS, Facts
from reconciler.core.model.names import Instant
from reconciler.core.planning.plan import LocationState
from reconciler.render.view.blocks import Cell, Lines, Section, Style, View, counted, moment
from reconciler.render.view.state import identity

_MOVES = {
    None: "not known yet whether a write of tags moves dateUpdated: an add in doubt stays held",
    True: "a write of tags moves dateUpdated: it tells whether an add in doubt had an effect",
    False: "a write of tags leaves dateUpdated alone: an add in doubt stays held",
}


def facts_view(snapshots: Sequence[LocationState]) -> View:
    """Each location's state as a whole."""
    return View("State", tuple(_section(each) for each in snapshots))


def _section(state: LocationState) -> Section:
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
