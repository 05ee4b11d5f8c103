"""A saved plan, when it is to be applied: as narrow as it was made, under the limits and manifests that hold now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.cli.looking import absorbed
from reconciler.cli.session import Session, load_pinned, open_session, plan_options, settle_ms_of
from reconciler.core.errors import StalePlan, UsageError
from reconciler.core.guard import Allowance
from reconciler.core.plan import LocationPlan, Plan, PlanOptions, Snapshot, remeasured
from reconciler.planfile import load_plan
from reconciler.ports import StateReader
from reconciler.store import open_reader

NOT_WITH_A_PLAN = (
    "locations",
    "sets",
    "tags",
    "retry_held",
    "retry_rejected",
    "apply_deferrals",
    "refresh",
    "reassert",
)


def open_saved(path: Path, directory: Path | None, options: Mapping[str, Any]) -> tuple[Plan, Session]:
    """The plan, its guards measured anew, and the manifests as they are now (`directory`: not where they were).

    Raises PlanFileError, StalePlan where the manifests no longer say what was planned, and UsageError for options
    that would make another plan of it.
    """
    given = [name for name in NOT_WITH_A_PLAN if options.get(name)]
    if given:
        raise UsageError(
            f"--{given[0].removesuffix('s').replace('_', '-')} does not go with a saved plan: it is sent as it is",
            hint="give it to plan, and apply what that saves",
        )
    plan = load_plan(path)
    session = _session_of(plan, directory or Path(plan.manifests), options)
    with open_reader(session.settings.state) as reader:
        locations = tuple(
            remeasured(
                each,
                session.desired[each.location],
                _as_seen(each, session, reader),
                options_of(each, plan, session, options),
            )
            for each in plan.locations
        )
    return replace(plan, locations=locations), session


def _as_seen(location: LocationPlan, session: Session, reader: StateReader) -> Snapshot:
    """The state with what the plan's refresh read: guards measure what was there before."""
    state = load_pinned(session, reader, location.location)
    absorbed(state, location.observations, settle_ms_of(session.settings))
    return state


def _session_of(plan: Plan, directory: Path, options: Mapping[str, Any]) -> Session:
    session = open_session(directory, dict(options) | {"locations": [each.location for each in plan.locations]})
    if plan.valid_until is not None and session.now >= plan.valid_until:
        raise StalePlan("the plan is stale: a set has become active or expired since", hint="plan again")
    for each in plan.locations:
        if session.desired[each.location].digest != each.manifests_digest:
            raise StalePlan(
                f"the plan is stale: the manifests of location {each.location} have changed since",
                hint="plan again, or apply with the manifests that were planned (--manifests DIR)",
            )
    return session


def options_of(location: LocationPlan, plan: Plan, session: Session, options: Mapping[str, Any]) -> PlanOptions:
    """As the plan was made: narrowed alike, with the guards lifted that were lifted then."""
    now = plan_options(session, location.location, options)
    lifted = tuple(Allowance(each.guard, each.scope, each.allowed) for each in location.guards if each.allowed)
    allowed = now.allowances + lifted
    return replace(now, selection=plan.selection, allowances=allowed, searched=location.searched)
