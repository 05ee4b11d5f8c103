"""The options that commands share. Each group of them reaches its command as one typed value.

@manifests_argument
@plan_flags     # `flags: PlanFlags`, of `plan_flags.py`
@output()
@common         # `invocation: Invocation`, which has the manifests' workspace and the form of the answer
def command(flags: PlanFlags, invocation: Invocation) -> int: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from reconciler.cli.command_record import find_clock, find_record
from reconciler.cli.complete import complete_location
from reconciler.cli.console import Console, make_output
from reconciler.cli.progress_output import Verbosity
from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import read_age
from reconciler.core.planning.guards import CREATE_STATE
from reconciler.loading.settings import flag_name, setting_keys
from reconciler.operations.own_commands import CommandPlace
from reconciler.operations.workspace import MANIFESTS, Workspace
from reconciler.output.document import FORMATS, Document, count_rows, spell

if TYPE_CHECKING:
    from reconciler.cli.report_file import Report

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """Adds to a command, and leaves its type."""

    def __call__(self, function: F, /) -> F: ...


def group_options(
    argument: str, make: Callable[..., object], taken: Sequence[str] = (), /, **options: Decorator
) -> Decorator:
    """Options by their click names; the command gets all their values as `argument`, made by `make`.

    `taken`: names of values that are made by decorators further out, where the command has them, and belong to it too.
    """

    def add(function: F) -> F:
        @wraps(function)
        def command(*arguments: Any, **values: Any) -> Any:
            made = make(**{name: values.pop(name) for name in (*options, *taken) if name in values})
            return function(*arguments, **{argument: made}, **values)

        # click lists options in the reverse order of their decorators: --help has them as they stand here
        for option in reversed(options.values()):
            command = option(command)
        return command  # type: ignore[return-value]

    return add


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The form in which a command answers."""

    kind: str = "text"
    """One of FORMATS."""
    whole: bool = False
    """Whether nothing is folded away."""
    reports: tuple[Report, ...] = ()
    """The files that take the answer too."""


TEXT = OutputFormat()


@dataclass(frozen=True, slots=True)
class Invocation:
    """The surroundings of a command, as its line chose them."""

    console: Console
    workspace: Workspace
    """The manifests; in `overrides` the flags that override settings."""
    form: OutputFormat

    def print_document(self, document: Document, *, is_last: bool = True) -> None:
        """Answers on stdout, in the format of `--format`, and in the files of `--report`."""
        output = make_output(document)
        for file in self.form.reports:
            file.set_answer(output, is_last=is_last)
        if self.form.kind == "text":
            self.console.show(output.view(count_rows(self.form.whole)))
            return
        for chunk in spell(output, self.form.kind, whole=self.form.whole):
            self.console.answer(chunk)


_FLAG_PARAMETERS = {"setting_" + key.replace(".", "_"): key for key in setting_keys() if key != "state"}
"""Each simple setting has a flag of its own; there are too many to list in each command's help."""
_SETTING_FLAGS = {
    name: click.option(flag_name(key), name, hidden=True, metavar="VALUE") for name, key in _FLAG_PARAMETERS.items()
}


def find_overrides(values: Mapping[str, object]) -> dict[str, str]:
    """The settings that flags override, by key, among the values of a command's options."""
    # the flag of the state is no hidden one: it has a help text of its own
    keys = {**_FLAG_PARAMETERS, "state": "state"}
    return {key: value for name, key in keys.items() if isinstance(value := values.get(name), str)}


def list_setting_flags(overrides: Mapping[str, str]) -> list[str]:
    """The flags that override settings, in words, but for that of the state."""
    return [word for key, value in overrides.items() if key != "state" for word in (flag_name(key), value)]


def _make_invocation(
    *,
    quiet: bool,
    log_level: str,
    log_format: str,
    color: str,
    state: str | None,
    manifests: Path = MANIFESTS,
    form: OutputFormat = TEXT,
    **settings: str | None,
) -> Invocation:
    overrides = find_overrides(settings | {"state": state})
    find_record().set_place(CommandPlace(manifests, state or ""))
    console = Console.open(Verbosity(quiet=quiet, level=log_level, as_json=log_format == "json", color=color))
    return Invocation(console, Workspace(manifests, overrides, listener=console, clock=find_clock()), form)


def _choice(flag: str, values: str, default: str, text: str) -> Decorator:
    return click.option(flag, type=click.Choice(values.split()), default=default, show_default=True, help=text)


common = group_options(
    "invocation",
    _make_invocation,
    ("manifests", "form"),
    state=click.option("--state", metavar="URL", help="Where state lives, such as sqlite:///path/to/state.db."),
    quiet=click.option("--quiet", is_flag=True, help="No progress; errors are still told."),
    log_level=_choice("--log-level", "debug info warning error", "info", "How much progress to tell."),
    log_format=_choice("--log-format", "text json", "text", "Progress for people, or one JSON object a line."),
    color=_choice("--color", "auto always never", "auto", "Colour; auto: on a terminal, unless NO_COLOR is set."),
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
    "--location",
    "locations",
    multiple=True,
    metavar="L",
    shell_complete=complete_location,
    help="Only this location, by id or name; repeatable.",
)
create_state_option = click.option(
    CREATE_STATE,
    is_flag=True,
    help="The first run is meant: in CI go on where no state is there, and let it add what starts automations.",
)


class SecondsRange(click.FloatRange):
    """A number of seconds within bounds, or an age such as 5m, as other options take it; `nan` is within none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        age = read_age(value) if isinstance(value, str) else None
        seconds = super().convert(value if age is None else age / 1000, param, ctx)
        if isnan(seconds):
            self.fail(f"{value!r} is not a valid float range.", param, ctx)
        return seconds


WAIT = SecondsRange(0, 30 * 86_400)
"""A wait for others, of 30 days at most."""

locking = click.option(
    "--lock-timeout",
    "lock_timeout_ms",
    type=WAIT,
    callback=lambda _context, _parameter, seconds: round(1000 * seconds),
    default=0,
    show_default=True,
    metavar="S",
    help="Wait so many seconds, or 5m, for a location that somebody else works on.",
)


def output(formats: Sequence[str] = FORMATS, *, whole: bool = True, text: str = "How to answer.") -> Decorator:
    """--format, and --all where tables may be long.

    A command that is refused answers with a document of its format; the error is told as ever.
    """
    kinds = click.Choice(formats)
    options = {"kind": click.option("--format", "kind", type=kinds, default="text", show_default=True, help=text)}
    if whole:
        options["whole"] = click.option("--all", "whole", is_flag=True, help="Fold nothing away.")

    def add(function: F) -> F:
        @wraps(function)
        def command(*arguments: Any, form: OutputFormat, **values: Any) -> Any:
            try:
                return function(*arguments, form=form, **values)
            except ReconcilerError as error:
                # a program that reads JSON gets JSON; text has the error on stderr already
                if form.kind != "text" and not find_record().has_answered:
                    # loaded only where something failed
                    from reconciler.cli.report_file import answer_failure

                    answer_failure(error, form)
                raise

        return group_options("form", OutputFormat, **options)(command)  # type: ignore[return-value]

    return add
