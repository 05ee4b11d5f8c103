"""A saved plan, when it is to be applied: as narrow as it was made, under the limits and manifests that hold now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.cli.looking import absorbed
from reconciler.cli.session import Session, load_pinned, open_session, plan_options, settle_ms_of
from reconciler.core.beyond import beyond, by_tag
from reconciler.core.ceiling import ceiling, within
from reconciler.core.desired import Desired
from reconciler.core.diff import diff
from reconciler.core.errors import StalePlan, UsageError
from reconciler.core.guard import Allowance
from reconciler.core.outcome import Action
from reconciler.core.plan import LocationPlan, Plan, PlanOptions, Snapshot, remeasured
from reconciler.core.view.blocks import counted, sample
from reconciler.planfile import load_plan
from reconciler.ports import StateReader
from reconciler.store import open_reader

NOT_WITH_A_PLAN = {
    "locations": "--location",
    "sets": "--set",
    "tags": "--tag",
    "retry_held": "--retry-held",
    "retry_rejected": "--retry-rejected",
    "apply_deferrals": "--apply-deferrals",
    "refresh": "--refresh",
    "reassert": "--reassert",
}


def open_saved(path: Path, directory: Path | None, options: Mapping[str, Any]) -> tuple[Plan, Session, list[str]]:
    """The plan, its guards measured anew, and the manifests as they are now (`directory`: not where they were); and
    what to say of it where the state has moved.

    Raises PlanFileError, StalePlan where the manifests no longer say what was planned, and UsageError for options
    that would make another plan of it.
    """
    given = [flag for name, flag in NOT_WITH_A_PLAN.items() if options.get(name)]
    if given:
        raise UsageError(
            f"{given[0]} does not go with a saved plan: it is sent as it is",
            hint="give it to plan, and apply what that saves",
        )
    plan = load_plan(path)
    session = _session_of(plan, directory or Path(plan.manifests), options)
    locations: list[LocationPlan] = []
    notes: list[str] = []
    with open_reader(session.settings.state) as reader:
        for each in plan.locations:
            state, now = _as_seen(each, session, reader), options_of(each, plan, session, options)
            locations.append(remeasured(each, session.desired[each.location], state, now))
            notes += _moved(each, session.desired[each.location], state, now)
    return replace(plan, locations=tuple(locations)), session, notes


def _moved(plan: LocationPlan, desired: Desired, state: Snapshot, options: PlanOptions) -> Iterator[str]:
    """A line that the state has moved since the plan was made, and one for each change that it does not cover."""
    if state.serial == plan.serial:
        return
    where = f"location {plan.location}"
    moved = f"the state moved from serial {plan.serial} to {state.serial}"
    yield f"{where}: {moved}; what the plan has and is still needed is sent"
    needed = diff(
        desired,
        state.observed,
        selection=options.selection,
        searched=options.searched,
        aliases=state.facts.aliases,
        now=options.now,
    ).deltas
    approved, _ = within(needed, ceiling(plan))
    for (action, tag), contacts in by_tag(beyond(needed, approved)).items():
        sign = "+" if action is Action.ADD else "-"
        who = f"{counted(len(contacts), 'contact')}: {sample(contacts)}"
        yield f"{where}: not in the plan, and not sent: {sign}{tag} on {who}"


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
    # what is given again is a person's word, never that of a file
    selection = replace(plan.selection, again=now.selection.again)
    return replace(now, selection=selection, allowances=allowed, searched=location.searched)
