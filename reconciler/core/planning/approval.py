"""approve(plan) -> ApprovedPlan: safety as a type. Apply accepts nothing else, and nothing else makes one."""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from reconciler.core.model.errors import GuardRefused
from reconciler.core.planning.guard_sentences import explain_refusals, guess_renames
from reconciler.core.planning.guards import CREATE_STATE
from reconciler.core.planning.plan import Plan

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
        raise GuardRefused(explain_refusals(plan.locations), hints=_ways_out(plan))
    return ApprovedPlan(plan, _MADE_HERE)


def _ways_out(plan: Plan) -> list[str]:
    options = dict.fromkeys(each.option for each in plan.refused)
    reason = ' --reason "…"' if options.keys() - {CREATE_STATE} else ""
    lifting = f"if this is meant: {' '.join(options)}{reason}, or an `allow` entry in reconciler.yaml"
    return [*(hint for location in plan.locations for hint in guess_renames(location)), lifting]
