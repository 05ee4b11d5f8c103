"""The options that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.console import has_answered
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.rectangles import EFFORT
from reconciler.loading.settings import flag_name, setting_keys

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("text", "markdown", "json", "csv", "html")
REFRESHES = ("auto", "get", "search")
_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


def common(function: F) -> F:
    """--state, --quiet, --log-level, --log-format, --color, and a flag for each setting: after the command."""
    for option in reversed(
        (
            click.option("--state", metavar="URL", help="Where state lives, such as sqlite:///path/to/state.db."),
            click.option("--quiet", is_flag=True, help="No progress; errors are still told."),
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                default="info",
                show_default=True,
                help="How much progress to tell.",
            ),
            click.option(
                "--log-format",
                type=click.Choice(["text", "json"]),
                default="text",
                show_default=True,
                help="Progress for people, or one JSON object a line.",
            ),
            click.option(
                "--color",
                type=click.Choice(["auto", "always", "never"]),
                default="auto",
                show_default=True,
                help="Colour; auto: on a terminal, unless NO_COLOR is set.",
            ),
        )
    ):
        function = option(function)
    for key in _FLAG_KEYS:
        function = click.option(flag_name(key), _parameter(key), hidden=True, metavar="VALUE")(function)
    return function


_FLAG_KEYS = tuple(key for key in setting_keys() if key != "state")
"""Every simple setting has a flag of its own; there are too many to list in each command's help."""


def _parameter(key: str) -> str:
    return "setting_" + key.replace(".", "_")


def flags_of(options: Mapping[str, Any]) -> dict[str, str]:
    """The options that override settings, by the setting's key."""
    given = {key: options.get(_parameter(key)) for key in _FLAG_KEYS}
    given |= {"state": options.get("state")}
    if options.get("reassert"):
        given["plan.reassert"] = options["reassert"]
    return {key: value for key, value in given.items() if value is not None}


def locking(function: F) -> F:
    """--lock-timeout."""
    return click.option(
        "--lock-timeout",
        type=click.FloatRange(min=0),
        default=0,
        show_default=True,
        metavar="S",
        help="Wait so many seconds for a location that somebody else works on.",
    )(function)


def spilling(function: F) -> F:
    """--quota-spill."""
    return click.option(
        "--quota-spill",
        is_flag=True,
        help="Where today's quota does not suffice: send what fits, and wait for the next day to go on.",
    )(function)


def manifests(function: F) -> F:
    """The MANIFESTS argument."""
    return click.argument(
        "manifests", type=click.Path(path_type=Path), default=Path("manifests"), metavar="[MANIFESTS]"
    )(function)


def narrowed(function: F) -> F:
    """--location, --set, --tag: a part of the whole."""
    for option in reversed(
        (
            click.option(
                "--location",
                "locations",
                multiple=True,
                metavar="L",
                help="Only this location, by id or name; repeatable.",
            ),
            click.option("--set", "sets", multiple=True, metavar="S", help="Only members of this set; repeatable."),
            click.option("--tag", "tags", multiple=True, metavar="T", help="Only this tag; repeatable."),
        )
    ):
        function = option(function)
    return function


def narrowing(function: F) -> F:
    """--location, --set, --tag, --retry-held, --retry-rejected: a part of the whole, and more of it."""
    for option in reversed(
        (
            click.option(
                "--retry-held", is_flag=True, help="Plan what is held (in doubt, flapping, never seen) once more."
            ),
            click.option("--retry-rejected", is_flag=True, help="Plan quarantined contacts once more."),
        )
    ):
        function = option(function)
    return narrowed(function)


def giving_again(function: F) -> F:
    """--again."""
    return click.option(
        "--again",
        "again",
        multiple=True,
        metavar="TAG",
        help="Give this tag of the rule `once` again to whoever was given it before; repeatable; apply needs --reason.",
    )(function)


def deferring(function: F) -> F:
    """--apply-deferrals."""
    return click.option(
        "--apply-deferrals",
        is_flag=True,
        help="Under exact authority: remove in the same run what an add's answer shows besides.",
    )(function)


def refreshing(function: F) -> F:
    """--refresh and --max-age."""
    method = click.option(
        "--refresh",
        type=click.Choice(REFRESHES),
        help="Read contacts first: get, one request a contact; search, 500 a request, a few minutes old; auto, the "
        "cheaper one.",
    )
    return method(max_age(function))


def max_age(function: F) -> F:
    """--max-age."""
    return click.option(
        "--max-age", metavar="AGE", help="Only what was not observed since, such as 24h or 7d, is read again."
    )(function)


def milliseconds(name: str, age: str | None) -> int | None:
    """An age such as 90s, 24h, 30d; None for none."""
    if not age:
        return None
    found = _AGE.fullmatch(age)
    if found is None:
        raise UsageError(f"--{name} {age!r} is no age", hint="write a number and s, m, h, d or w, such as 30d")
    return int(found[1]) * _UNITS[found[2]]


def batching(function: F) -> F:
    """--reassert and --plan-effort."""
    reassert = click.option(
        "--reassert",
        type=click.Choice(["inert", "always", "never"]),
        help="Which pairs may be sent again where that saves a request.",
    )
    effort = click.option(
        "--plan-effort",
        type=click.IntRange(0, 1000),
        default=EFFORT,
        show_default=True,
        metavar="N",
        help="Rounds of search for fewer requests; more is never worse.",
    )
    return reassert(effort(function))


def allowing(function: F) -> F:
    """--allow and --reason."""
    allow = click.option(
        "--allow",
        "allow",
        multiple=True,
        metavar="GUARD[:tag=T]",
        help="Lift one guard, such as empties_tag:tag=vip; repeatable; needs --reason.",
    )
    return allow(
        click.option("--reason", default="", metavar="TEXT", help="Why that is meant: for the journal.")(function)
    )


def answered(function: F) -> F:
    """Whoever asked for a document gets one where the command is refused too; the error is told as ever."""

    @wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except ReconcilerError as error:
            if options["output"] != "text" and not has_answered():
                # loaded only where something failed
                from reconciler.cli.report_file import answer_failure

                answer_failure(error, options["output"], whole=options.get("whole", False))
            raise

    return command  # type: ignore[return-value]


def output(*formats: str) -> Callable[[F], F]:
    """--format and --all."""

    def add(function: F) -> F:
        function = answered(function)
        kind = click.option(
            "--format", "output", type=click.Choice(formats), default="text", show_default=True, help="How to answer."
        )
        return kind(click.option("--all", "whole", is_flag=True, help="Fold nothing away.")(function))

    return add
