"""The flags of `plan` and of the commands that work on a part of a plan: which part, which reading, which guards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import click

from reconciler.cli.complete import complete_set
from reconciler.cli.options import Decorator, group_options, locations_option
from reconciler.core.model.batch import EFFORT
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import read_age
from reconciler.core.observing.refresh_rules import Method
from reconciler.core.planning.guards import CREATE_STATE
from reconciler.operations.plan_options import PlanRequest, Reading, Scope
from reconciler.operations.workspace import Workspace

REFRESHES = tuple(method.value for method in (Method.AUTO, Method.GET, Method.SEARCH))

_OPTIONS = {
    "locations": locations_option,
    "sets": click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="S",
        shell_complete=complete_set,
        help="Only members of this set; repeatable.",
    ),
    "tags": click.option("--tag", "tags", multiple=True, metavar="T", help="Only this tag; repeatable."),
    "retry_held": click.option(
        "--retry-held", is_flag=True, help="Plan what is held (in doubt, flapping, never seen) once more."
    ),
    "retry_rejected": click.option("--retry-rejected", is_flag=True, help="Plan quarantined contacts once more."),
    "apply_deferrals": click.option(
        "--apply-deferrals",
        is_flag=True,
        help="Under exact authority: remove in the same run what an add's answer shows besides.",
    ),
    "again": click.option(
        "--again",
        "again",
        multiple=True,
        metavar="TAG",
        help="Give this tag of the rule `once` again to who had it, left its sets and came back; repeatable; apply "
        "needs --reason.",
    ),
    "refresh": click.option(
        "--refresh",
        type=click.Choice(REFRESHES),
        help="Read contacts first: get, one request a contact; search, 500 a request, a few minutes old; auto, the "
        "cheaper one.",
    ),
    "max_age": click.option(
        "--max-age", metavar="AGE", help="Only what was not observed since, such as 24h or 7d, is read again."
    ),
    "allow": click.option(
        "--allow",
        "allow",
        multiple=True,
        metavar="GUARD[:tag=T]",
        help="Lift one guard, such as empties_tag:tag=vip; repeatable; needs --reason.",
    ),
    "reason": click.option("--reason", default="", metavar="TEXT", help="Why that is meant: for the journal."),
    "reassert": click.option(
        "--reassert",
        type=click.Choice(["inert", "always", "never"]),
        help="Which pairs may be sent again where that saves a request.",
    ),
    "plan_effort": click.option(
        "--plan-effort",
        type=click.IntRange(0, 1000),
        default=EFFORT,
        show_default=True,
        metavar="N",
        help="Rounds of search for fewer requests; more is never worse.",
    ),
}


def parse_age(name: str, age: str | None) -> int | None:
    """The milliseconds of an age such as 90s, 24h, 30d; None for none."""
    if not age:
        return None
    milliseconds = read_age(age)
    if milliseconds is None:
        raise UsageError(f"--{name} {age!r} is no age", hint="write a number and s, m, h, d or w, such as 30d")
    return milliseconds


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
    create_state: bool = False

    @property
    def scope(self) -> Scope:
        return Scope(self.sets, self.tags, self.retry_held, self.retry_rejected, self.apply_deferrals, self.again)

    @property
    def reading(self) -> Reading:
        """Raises UsageError for an age that is none."""
        return Reading(Method(self.refresh) if self.refresh else None, parse_age("max-age", self.max_age))

    def request(self) -> PlanRequest:
        """Raises UsageError for an age that is none, and for one without a reading that it could bear on."""
        reading = self.reading
        self.refuse_idle_age()
        return PlanRequest(self.scope, reading, self.allow, self.reason, self.create_state, self.plan_effort)

    def refuse_idle_age(self) -> None:
        """Raises UsageError where an age is given and nothing is read: to a plan it means nothing else."""
        if self.max_age and not self.refresh:
            raise UsageError(
                "--max-age says what is read again, and nothing is read",
                hint=f"add --refresh auto, or leave --max-age {self.max_age} out",
            )

    def list_leave(self) -> list[str]:
        """The flags that an apply of the saved plan needs as well, in words: a file gives no leave."""
        given = {
            CREATE_STATE: self.create_state,
            "--retry-held": self.retry_held,
            "--retry-rejected": self.retry_rejected,
            "--apply-deferrals": self.apply_deferrals,
        }
        valued = [("--again", tag) for tag in self.again] + [("--allow", guard) for guard in self.allow]
        valued += [("--reassert", self.reassert)] if self.reassert else []
        # to give a tag again needs a reason at an apply only
        valued += [("--reason", self.reason or "…")] if self.reason or self.again else []
        return [*(flag for flag, is_given in given.items() if is_given), *(word for pair in valued for word in pair)]

    def override(self, workspace: Workspace) -> Workspace:
        """The workspace of a command; --reassert goes before the setting."""
        # a flag of its own name for the setting plan.reassert
        own = {"plan.reassert": self.reassert} if self.reassert else {}
        return replace(workspace, overrides={**workspace.overrides, **own})


def _take_flags(*names: str, **options: Decorator) -> Decorator:
    taken = ("create_state", "refresh", "max_age")
    return group_options("flags", PlanFlags, taken, **{name: _OPTIONS[name] for name in names}, **options)


plan_flags = _take_flags(*_OPTIONS)
"""Of `plan` and `apply`."""
drift_flags = _take_flags("locations", "sets", "tags", "retry_held", "retry_rejected", "refresh", "max_age")
revert_flags = _take_flags("refresh", "max_age", "allow", "reason")
refresh_flags = _take_flags("locations", "sets", "tags")
pull_flags = _take_flags(
    "locations",
    "reason",
    sets=click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="S",
        shell_complete=complete_set,
        help="Only this matched set; repeatable.",
    ),
    allow=click.option(
        "--allow",
        "allow",
        multiple=True,
        metavar="GUARD:set=S",
        help="Lift one guard, such as max_unmatched_pct:set=vip; repeatable; needs --reason.",
    ),
)
fleet_apply_flags = _take_flags(
    "locations", "sets", "tags", "retry_held", "retry_rejected", "refresh", "max_age", "allow", "reason"
)
fleet_drift_flags = _take_flags("locations", "sets", "tags", "refresh", "max_age")
fleet_schedule_flags = _take_flags("locations", "sets", "tags", "refresh", "max_age")
fleet_pull_flags = _take_flags("locations", "sets", "allow", "reason")
age_option = _OPTIONS["max_age"]
