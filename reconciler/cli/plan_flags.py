"""The flags of `plan` and of the commands that work on a part of a plan: which part, which reading, which guards."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import click

from reconciler.cli.options import Invocation, group_options, locations_option
from reconciler.core.model.errors import UsageError
from reconciler.core.model.rectangles import EFFORT
from reconciler.core.observing.refresh_rules import Method
from reconciler.operations.plan_options import PlanRequest, Reading, Scope
from reconciler.operations.workspace import Workspace

REFRESHES = tuple(method.value for method in (Method.AUTO, Method.GET, Method.SEARCH))
_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}

_SETS = click.option("--set", "sets", multiple=True, metavar="S", help="Only members of this set; repeatable.")
_TAGS = click.option("--tag", "tags", multiple=True, metavar="T", help="Only this tag; repeatable.")
_RETRY_HELD = click.option(
    "--retry-held", is_flag=True, help="Plan what is held (in doubt, flapping, never seen) once more."
)
_RETRY_REJECTED = click.option("--retry-rejected", is_flag=True, help="Plan quarantined contacts once more.")
_REFRESH = click.option(
    "--refresh",
    type=click.Choice(REFRESHES),
    help="Read contacts first: get, one request a contact; search, 500 a request, a few minutes old; auto, the "
    "cheaper one.",
)
_MAX_AGE = click.option(
    "--max-age", metavar="AGE", help="Only what was not observed since, such as 24h or 7d, is read again."
)
_APPLY_DEFERRALS = click.option(
    "--apply-deferrals",
    is_flag=True,
    help="Under exact authority: remove in the same run what an add's answer shows besides.",
)
_AGAIN = click.option(
    "--again",
    "again",
    multiple=True,
    metavar="TAG",
    help="Give this tag of the rule `once` again to whoever was given it before; repeatable; apply needs --reason.",
)
_ALLOW = click.option(
    "--allow",
    "allow",
    multiple=True,
    metavar="GUARD[:tag=T]",
    help="Lift one guard, such as empties_tag:tag=vip; repeatable; needs --reason.",
)
_REASON = click.option("--reason", default="", metavar="TEXT", help="Why that is meant: for the journal.")
_REASSERT = click.option(
    "--reassert",
    type=click.Choice(["inert", "always", "never"]),
    help="Which pairs may be sent again where that saves a request.",
)
_PLAN_EFFORT = click.option(
    "--plan-effort",
    type=click.IntRange(0, 1000),
    default=EFFORT,
    show_default=True,
    metavar="N",
    help="Rounds of search for fewer requests; more is never worse.",
)


def parse_age(name: str, age: str | None) -> int | None:
    """The milliseconds of an age such as 90s, 24h, 30d; None for none."""
    if not age:
        return None
    match = _AGE.fullmatch(age)
    if match is None:
        raise UsageError(f"--{name} {age!r} is no age", hint="write a number and s, m, h, d or w, such as 30d")
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFlags:
    """The flags that choose a part of the manifests, a reading, and guards to lift, as they were typed."""

    locations: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    retry_held: bool = False
    retry_rejected: bool = False
    apply_deferrals: bool = False
    again: tuple[str, ...] = ()
    refresh: str | None = None
    max_age: str | None = None
    allow: tuple[str, ...] = ()
    reason: str = ""
    reassert: str | None = None
    plan_effort: int = EFFORT

    @property
    def scope(self) -> Scope:
        return Scope(self.sets, self.tags, self.retry_held, self.retry_rejected, self.apply_deferrals, self.again)

    @property
    def reading(self) -> Reading:
        """Raises UsageError for an age that is none."""
        return Reading(Method(self.refresh) if self.refresh else None, parse_age("max-age", self.max_age))

    def request(self, *, create_state: bool = False) -> PlanRequest:
        """Raises UsageError for an age that is none."""
        # an age bears on a reading only: without one it is not looked at
        reading = self.reading if self.refresh else Reading()
        return PlanRequest(self.scope, reading, self.allow, self.reason, create_state, self.plan_effort)

    def workspace(self, invocation: Invocation, directory: Path) -> Workspace:
        """The workspace of a command; --reassert goes before the setting."""
        workspace = invocation.workspace(directory)
        # a flag of its own name for the setting plan.reassert
        own = {"plan.reassert": self.reassert} if self.reassert else {}
        return replace(workspace, overrides={**workspace.overrides, **own})


plan_flags = group_options(
    "flags",
    PlanFlags,
    locations=locations_option,
    sets=_SETS,
    tags=_TAGS,
    retry_held=_RETRY_HELD,
    retry_rejected=_RETRY_REJECTED,
    apply_deferrals=_APPLY_DEFERRALS,
    again=_AGAIN,
    refresh=_REFRESH,
    max_age=_MAX_AGE,
    allow=_ALLOW,
    reason=_REASON,
    reassert=_REASSERT,
    plan_effort=_PLAN_EFFORT,
)
"""Of `plan` and `apply`."""
drift_flags = group_options(
    "flags",
    PlanFlags,
    locations=locations_option,
    sets=_SETS,
    tags=_TAGS,
    retry_held=_RETRY_HELD,
    retry_rejected=_RETRY_REJECTED,
    refresh=_REFRESH,
    max_age=_MAX_AGE,
)
revert_flags = group_options("flags", PlanFlags, refresh=_REFRESH, max_age=_MAX_AGE, allow=_ALLOW, reason=_REASON)
scope_flags = group_options("flags", PlanFlags, locations=locations_option, sets=_SETS, tags=_TAGS)
age_option = _MAX_AGE
