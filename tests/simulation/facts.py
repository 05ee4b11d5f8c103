"""What is known of one run in one location: what was approved, what it sent and was told, what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.core.model.journal import LocationReport
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import Action
from reconciler.core.planning.plan import LocationPlan
from reconciler.sandbox.world import Transition
from tests.simulation.declared import Declared, canonical
from tests.simulation.evidence import Pair, Sight, Write, sights_of, unfound_by, writes_of
from tests.simulation.place import Exchange
from tests.simulation.program import Run
from tests.simulation.town import Town


@dataclass(frozen=True)
class Facts:
    """What is known of one run in one location. `past`: the manifests there, up to the ones that it was given."""

    run: Run
    plan: LocationPlan
    report: LocationReport | None
    past: list[Declared]
    writes: list[Write]
    sights: list[Sight]
    unfound: list[tuple[str, Exchange]]
    changes: set[Pair]
    ceilings: set[Pair]
    again: set[Pair]
    size: int
    undone: set[Pair]
    log: list[Transition]
    alone: bool

    @property
    def name(self) -> str:
        return self.run.name


def facts_of(town: Town, run: Run, location: LocationId) -> Facts | None:
    plan, place = run.planned(location), town.places[location]
    if plan is None:
        return None
    changes = {(c.action, who, canonical(c.tag)) for d in plan.deltas for c in d.changes for who in d.contacts}
    ceilings = set(_pairs([Action.REMOVE], plan.deferrals))
    # what an earlier run left in doubt is listed as held: reading it may let it go
    ceilings |= set(_pairs(Action, plan.held))
    again = {
        (each.action, who, canonical(tag)) for each in plan.reasserted for who in each.contacts for tag in each.tags
    }
    named = {(who, c.tag) for d in plan.deltas for c in d.changes for who in d.contacts}
    listed = (*plan.deferrals, *plan.held, *plan.reasserted)
    named |= {(who, tag) for each in listed for who in each.contacts for tag in each.tags}
    others = [each for each in town.runs if each is not run and each.began <= run.ended and each.ended >= run.began]
    return Facts(
        run=run,
        plan=plan,
        report=run.report(location),
        past=town.history[location][: run.commits[location]],
        writes=writes_of(place, run.name),
        sights=sights_of(place, run.name),
        unfound=unfound_by(place, run.name),
        changes=changes,
        ceilings=ceilings,
        again=again,
        size=len(named),
        log=[each for each in place.crm.transitions if each.by == run.name],
        undone={
            (each.action, each.contact, canonical(each.tag))
            for each in place.crm.transitions
            if run.undoes and each.by == run.undoes.name
        },
        alone=not others and not run.saved,
    )


def _pairs(actions: Iterable[Action], listed: Iterable[Any]) -> Iterator[Pair]:
    for each in listed:
        yield from ((action, who, canonical(tag)) for action in actions for who in each.contacts for tag in each.tags)
