"""What a simulation met: which fault in which phase of a run, and where runs died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import Action
from tests.sandbox.faults import EVERYDAY, FaultKind
from tests.simulation.evidence import Pair, writes_of
from tests.simulation.place import BULK, RARE, SEARCH, Exchanged, Mischief
from tests.simulation.process import AFTER, BEFORE
from tests.simulation.program import Run
from tests.simulation.town import Town


class Phase(StrEnum):
    """What a request was for; it may have been for several."""

    ADDING = "adding"
    REMOVING = "removing"
    FOLLOWING = "following"
    AGAIN = "again"
    RESUMING = "resuming"
    LATE = "late"
    CONTESTED = "contested"
    READING = "reading"
    SEARCHING = "searching"
    TOKEN = "token"


PLAYED = (*EVERYDAY, *RARE)
WRITING = tuple(phase for phase in Phase if phase not in (Phase.READING, Phase.SEARCHING, Phase.TOKEN))
BOMBED = (Phase.ADDING, Phase.READING, Phase.SEARCHING, Phase.CONTESTED)
"""Where bombs are met for sure: to unpack one takes as long as a world, so that there are few."""
CELLS = [
    (str(kind), str(phase))
    for kind in PLAYED
    for phase in Phase
    if phase is not Phase.TOKEN and (kind is not FaultKind.BOMB or phase in BOMBED)
]
CELLS += [(str(kind), str(Phase.TOKEN)) for kind in Exchanged]
CELLS += [(str(kind), str(phase)) for kind in Mischief for phase in (Phase.ADDING, Phase.REMOVING)]
POINTS = (
    "acquire_lease",
    "load_state",
    "begin_run",
    "save_states",
    "record_intent",
    "send",
    "record_answer",
    "end_run",
    "release_lease",
)
DEATHS = [(f"killed {side}", point) for point in POINTS for side in (BEFORE, AFTER)]


def coverage(town: Town) -> Counter[tuple[str, str]]:
    """How often each cell was hit in a world."""
    found: Counter[tuple[str, str]] = Counter()
    for run in town.runs:
        if run.fate and run.met_its_fate:
            found["frozen" if run.fate.frozen_ms else f"killed {run.fate.side}", run.fate.what] += 1
        for location in town.places:
            found.update(_run(town, run, location))
    return found


def _run(town: Town, run: Run, location: LocationId) -> Iterator[tuple[str, str]]:
    place, plan = town.places[location], run.planned(location)
    for each in place.exchanges:
        if each.run == run.name and each.fault and not each.path.startswith(BULK):
            searched = Phase.SEARCHING if each.path == SEARCH else Phase.TOKEN
            yield str(each.fault), searched if each.method == "POST" else Phase.READING
    always = set(_always(town, run))
    changes = (
        {(c.tag, who) for delta in plan.deltas for c in delta.changes for who in delta.contacts} if plan else set()
    )
    sent: set[Pair] = set()
    for write in writes_of(place, run.name):
        planned = any((tag, who) in changes for _, who, tag in write.pairs)
        phases = {Phase.ADDING} if write.action is Action.ADD else {Phase.REMOVING if planned else Phase.FOLLOWING}
        phases |= always | ({Phase.AGAIN} if write.pairs & sent else set())
        sent |= write.pairs
        if write.exchange.fault:
            yield from ((str(write.exchange.fault), str(phase)) for phase in phases)


def _always(town: Town, run: Run) -> Iterator[Phase]:
    earlier = [each for each in town.runs if each.ended < run.began and not each.only_plans]
    if earlier and earlier[-1].killed:
        yield Phase.RESUMING
    if run.saved:
        yield Phase.LATE
    if any(each is not run and each.began <= run.ended and each.ended >= run.began for each in town.runs):
        yield Phase.CONTESTED


def table(found: Counter[tuple[str, str]]) -> str:
    """The matrix of faults and phases, and where runs died, as text."""
    lines = ["fault".ljust(16) + "".join(phase.rjust(11) for phase in Phase)]
    for kind in (*PLAYED, *Mischief):
        lines.append(kind.ljust(16) + "".join(str(found[kind, phase] or "").rjust(11) for phase in Phase))
    lines += [
        f"{how} {what}: {number}" for (how, what), number in sorted(found.items()) if how[:6] in ("killed", "frozen")
    ]
    return "\n".join(lines)
