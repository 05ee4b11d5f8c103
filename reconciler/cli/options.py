"""The options that commands share. Each group of them reaches its command as one typed value.

@manifests_argument
@plan_options           # `request: PlanRequest`, parsed
@output(*FORMATS)       # `form: Form`
@common                 # `invocation: Invocation`
def command(manifests: Path, request: PlanRequest, form: Form, invocation: Invocation) -> int: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from reconciler.cli.console import Console, has_answered
from reconciler.cli.progress_output import Verbosity
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.rectangles import EFFORT
from reconciler.core.observing.refresh_rules import Method
from reconciler.core.planning.guards import CREATE_STATE
from reconciler.loading.settings import flag_name, setting_keys
from reconciler.operations.plan_options import PlanRequest, Reading, Scope
from reconciler.operations.workspace import MANIFESTS, Workspace

if TYPE_CHECKING:
    from reconciler.cli.report_file import Report

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """Adds to a command, and leaves its type."""

    def __call__(self, function: F, /) -> F: ...


FORMATS = ("text", "markdown", "json", "csv", "html")
REFRESHES = tuple(method.value for method in (Method.AUTO, Method.GET, Method.SEARCH))
_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


def group_options(argument: str, make: Callable[..., object], **options: Decorator) -> Decorator:
    """Options by their click names; the command gets all their values as `argument`, made by `make`."""

    def add(function: F) -> F:
        @wraps(function)
        def command(*arguments: Any, **values: Any) -> Any:
            made = make(**{name: values.pop(name) for name in options})
            return function(*arguments, **{argument: made}, **values)

        # click lists options in the reverse order of their decorators: --help has them as they stand here
        for option in reversed(options.values()):
            command = option(command)
        return command  # type: ignore[return-value]

    return add


@dataclass(frozen=True, slots=True)
class Invocation:
    """The common options of a command line."""

    console: Console
    overrides: dict[str, str]
    """The flags that override settings, by the setting's key."""

    def workspace(self, directory: Path) -> Workspace:
        return Workspace(directory, self.overrides, listener=self.console)


_FLAG_PARAMETERS = {"setting_" + key.replace(".", "_"): key for key in setting_keys() if key != "state"}
"""Each simple setting has a flag of its own; there are too many to list in each command's help."""
_SETTING_FLAGS = {
    name: click.option(flag_name(key), name, hidden=True, metavar="VALUE") for name, key in _FLAG_PARAMETERS.items()
}


def _make_invocation(
    *, quiet: bool, log_level: str, log_format: str, color: str, state: str | None, **settings: str | None
) -> Invocation:
    overrides = {_FLAG_PARAMETERS[name]: value for name, value in settings.items() if value is not None}
    # its flag is no hidden one: it has a help text of its own
    if state is not None:
        overrides["state"] = state
    console = Console.open(Verbosity(quiet=quiet, level=log_level, as_json=log_format == "json", color=color))
    return Invocation(console, overrides)


common = group_options(
    "invocation",
    _make_invocation,
    state=click.option("--state", metavar="URL", help="Where state lives, such as sqlite:///path/to/state.db."),
    quiet=click.option("--quiet", is_flag=True, help="No progress; errors are still told."),
    log_level=click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="How much progress to tell.",
    ),
    log_format=click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Progress for people, or one JSON object a line.",
    ),
    color=click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colour; auto: on a terminal, unless NO_COLOR is set.",
    ),
    **_SETTING_FLAGS,
)
"""--state, --quiet, --log-level, --log-format, --color, and a flag for each setting: after the command."""

manifests_argument = click.argument(
    "manifests", type=click.Path(path_type=Path), default=MANIFESTS, metavar="[MANIFESTS]"
)
manifests_option = click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    default=MANIFESTS,
    metavar="DIR",
    help="Whose reconciler.yaml names the state.  [default: manifests]",
)
locations_option = click.option(
    "--location", "locations", multiple=True, metavar="L", help="Only this location, by id or name; repeatable."
)
create_state_option = click.option(
    CREATE_STATE,
    is_flag=True,
    help="The first run is meant: in CI go on where no state is there, and let it add what starts automations.",
)
"""One location, where state is and where it is to be created."""


def _make_lock_timeout(lock_timeout: float) -> int:
    return round(1000 * lock_timeout)


locking = group_options(
    "lock_timeout_ms",
    _make_lock_timeout,
    lock_timeout=click.option(
        "--lock-timeout",
        type=click.FloatRange(min=0),
        default=0,
        show_default=True,
        metavar="S",
        help="Wait so many seconds for a location that somebody else works on.",
    ),
)
spilling = click.option(
    "--quota-spill",
    is_flag=True,
    help="Where today's quota does not suffice: send what fits, and wait for the next day to go on.",
)
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
        # a flag of its own name for the setting plan.reassert
        if self.reassert:
            invocation.overrides["plan.reassert"] = self.reassert
        return invocation.workspace(directory)


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


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The form in which a command answers."""

    kind: str
    """One of FORMATS."""
    whole: bool = False
    """Whether nothing is folded away."""
    report: Report | None = None
    """The file that takes the answer too."""


def _make_form(*, output: str, whole: bool = False) -> OutputFormat:
    return OutputFormat(output, whole)


def answer_failures(function: F) -> F:
    """Lets a command that is refused answer with a document of its `form`; the error is told as ever."""

    @wraps(function)
    def command(*arguments: Any, form: OutputFormat, **values: Any) -> Any:
        try:
            return function(*arguments, form=form, **values)
        except ReconcilerError as error:
            # a program that reads JSON gets JSON; text has the error on stderr already
            if form.kind != "text" and not has_answered():
                # loaded only where something failed
                from reconciler.cli.report_file import answer_failure

                answer_failure(error, form)
            raise

    return command  # type: ignore[return-value]


def output(*formats: str, whole: bool = True, text: str = "How to answer.") -> Decorator:
    """--format, and --all where tables may be long."""
    options = {
        "output": click.option(
            "--format", "output", type=click.Choice(formats), default="text", show_default=True, help=text
        )
    }
    if whole:
        options["whole"] = click.option("--all", "whole", is_flag=True, help="Fold nothing away.")

    def add(function: F) -> F:
        return group_options("form", _make_form, **options)(answer_failures(function))

    return add
