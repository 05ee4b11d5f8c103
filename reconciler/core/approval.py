"""approve(plan) -> ApprovedPlan: safety as a type. Apply accepts nothing else, and nothing else makes one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass

from reconciler.core.errors import GuardRefused
from reconciler.core.guard import BY_NAME, Guard, Measured
from reconciler.core.names import Tag
from reconciler.core.outcome import Action
from reconciler.core.plan import LocationPlan, Plan

WORST = 3

_MADE_HERE = object()


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan that no guard refuses. Only `approve` makes one; apply accepts nothing else."""

    plan: Plan
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError("an approved plan comes from approve(plan)")


def approve(plan: Plan) -> ApprovedPlan:
    """The plan, fit to be applied; raises GuardRefused with every refusal."""
    if plan.refused:
        raise GuardRefused("\n".join(explain_refusals(plan.locations)), hint=_lifting(plan.refused))
    return ApprovedPlan(plan, _MADE_HERE)


def explain_refusals(locations: Iterable[LocationPlan]) -> tuple[str, ...]:
    """A line a refusal: guard, where, measure, numerator and denominator, limit, and the tags it is most about."""
    return tuple(_explain(location, each) for location in locations for each in location.refused)


def _explain(location: LocationPlan, each: Measured) -> str:
    scope = f" of {each.scope!r}" if each.scope else ""
    counted = f" ({each.numerator} of {each.denominator})" if each.denominator or each.is_share else ""
    return (
        f"guard {each.guard} refuses location {location.location}{scope}: "
        f"measured {each.measure:g}{counted}, limit {each.limit:g}{_worst(location, each)}"
    )


_ABOUT = {
    Guard.MAX_ADDS: Action.ADD,
    Guard.MAX_ADDS_PCT: Action.ADD,
    Guard.MAX_REMOVES: Action.REMOVE,
    Guard.MAX_REMOVES_PCT: Action.REMOVE,
}


def _worst(location: LocationPlan, each: Measured) -> str:
    """The tags that a guard on the whole location is most about."""
    if each.scope or each.guard not in _ABOUT:
        return ""
    action, by_name_too = _ABOUT[each.guard], each.guard is not Guard.MAX_REMOVES_PCT
    pairs: Counter[Tag] = Counter()
    for delta in location.deltas:
        for change in delta.changes:
            if change.action is action and (by_name_too or change.reason not in BY_NAME):
                pairs[change.tag] += len(delta.contacts)
    worst = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:WORST]
    return f"; most of {', '.join(f'{tag!r} ({number})' for tag, number in worst)}" if worst else ""


def _lifting(refused: Sequence[Measured]) -> str:
    flags = " ".join(f"--allow {each.flag}" for each in refused)
    return f'if this is meant: {flags} --reason "…", or an `allow` entry in reconciler.yaml'
