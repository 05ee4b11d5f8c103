"""How a world has to end once the faults stopped and every contact was looked at: invariants 15 and 16."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import Action
from reconciler.core.planning.plan import LocationPlan
from tests.simulation.declared import GROUP, NEW, OLD, ONCE, PEOPLE, SPACED, canonical
from tests.simulation.evidence import GOOD, writes_of
from tests.simulation.invariants import Violated
from tests.simulation.place import RUNS, Place
from tests.simulation.town import Town


def check_ending(town: Town) -> None:
    """The last two runs of the world: the second sends nothing. Raises Violated."""
    found = [each for location in town.places for each in _ending(town, location)]
    if found:
        raise Violated("\n".join(found))


def _ending(town: Town, location: LocationId) -> Iterator[str]:
    last, place = town.runs[-1], town.places[location]
    plan, report = last.planned(location), last.report(location)
    if plan is None or report is None or report.error or last.problem:
        yield f"15: the last run did not end well: {last.problem or report}"
        return
    if writes_of(place, last.name):
        yield f"15: after two runs a third sends {writes_of(place, last.name)}"
    if plan.batches or plan.ledger:
        yield f"15: after two runs a third plans {plan.deltas or plan.ledger}"
    quarantined = {who for group in plan.quarantined for who in group.contacts}
    for who in sorted(set(PEOPLE) - quarantined):
        yield from _contact(who, town, location, plan)


def _contact(who: str, town: Town, location: LocationId, plan: LocationPlan) -> Iterator[str]:
    place, declared = town.places[location], town.wanted(location)
    carried = set(map(canonical, place.crm.tags_of(who)))
    reasons = (*plan.held, *plan.given, *plan.deferrals)
    listed = {canonical(tag) for each in reasons if who in each.contacts for tag in each.tags}
    # a group is never empty: what a held tag is to take the place of waits for it, and so does an old name
    listed |= {*GROUP} if listed & {*GROUP} else set()
    listed |= {OLD} if NEW in listed else set()
    missing = declared.present(who) - carried - listed
    if declared.rules.once and ONCE in _ever_carried(place, who):
        missing.discard(ONCE)
    if missing:
        yield f"15: {who} should carry {sorted(missing)}, and nobody says why it does not"
    left = (declared.absent(who) & carried) - listed
    if left:
        yield f"15: {who} should not carry {sorted(left)}, and nobody says why it does"
    spared = {tag for tag in carried if declared.is_left_alone(who, tag)}
    if declared.authority(who) is Authority.EXACT and carried - declared.present(who) - spared - listed:
        yield f"15: {who} carries {sorted(carried)} under exact authority"
    kept = {tag for each in town.history[location] for tag in each.kept(who)}
    ours = (carried & declared.named()) - declared.present(who) - spared - listed - kept
    if declared.authority(who) is Authority.OWNED and ours:
        yield f"15: {who} carries {sorted(ours)} under owned authority"
    for tag in sorted(carried - declared.present(who) - spared - listed):
        undoing = {run.name for run in town.runs if run.undoes}
        if tag == canonical(SPACED) and not _is_told(town, location, tag):
            continue  # no answer told that the location spells it otherwise
        if tag not in kept and [*_added_by_us(place, who, tag, undoing)][-1:] == [True]:
            yield f"16: {tag} on {who} is ours, and nobody declares it any more"


def _is_told(town: Town, location: LocationId, tag: str) -> bool:
    """Whether an answer to an addition ever told what became of the tag; what a killed run was told may be lost."""
    lived = (run for run in town.runs if not run.killed)
    writes = (write for run in lived for write in writes_of(town.places[location], run.name))
    told = (said for write in writes for (action, _, each), said in write.told() if (action, each) == (Action.ADD, tag))
    return any(said in GOOD for said in told)


def _ever_carried(place: Place, who: str) -> set[str]:
    """What came to the contact or left it: it was there at some time."""
    return {canonical(each.tag) for each in place.crm.transitions if each.contact == who}


def _added_by_us(place: Place, who: str, tag: str, undoing: set[str]) -> Iterator[bool]:
    """Of each time that the tag came to the contact, whether it was us; what is given back may be anybody's."""
    for each in place.crm.transitions:
        if (each.contact, canonical(each.tag), each.action) == (who, tag, Action.ADD):
            yield each.by in RUNS and each.by not in undoing
