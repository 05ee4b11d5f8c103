"""`reconciler validate`"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from reconciler.cli.command_record import provenance
from reconciler.cli.console import Console
from reconciler.cli.options import answered, common, flags_of, manifests
from reconciler.cli.whose import load_named
from reconciler.clock import SystemClock
from reconciler.core.model.errors import ExitCode, InvalidInput, Problem, Severity
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import json_line
from reconciler.loading import load_settings
from reconciler.output.blocks import counted
from reconciler.output.document import add_provenance
from reconciler.output.problems import ProblemList, render_github
from reconciler.output.settings import settings_view


@click.command(epilog="Example: reconciler validate manifests/ --strict")
@manifests
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option("--show-settings", is_flag=True, help="Show every setting and where it comes from; no token is shown.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="How to answer; github: annotations of a workflow run.",
)
@answered
@common
def command(manifests: Path, strict: bool, show_settings: bool, output: str, **options: Any) -> int:
    """Check manifests and settings: every problem at once, each with its place.

    Needs no token, no state and no network. Exit code 0 without errors, 1 with.
    """
    console = Console.of(options)
    flags = flags_of(options)
    summary = ""
    if show_settings:
        return _show_settings(manifests, flags, console)
    try:
        loaded = load_named(manifests, options, now=SystemClock().now(), strict=strict)
        problems = loaded.problems
        sets = sum(len(manifest.sets) for manifest in loaded.manifests)
        summary = f"valid: {counted(len(loaded.manifests), 'manifest')}, {counted(sets, 'contact set')}"
    except InvalidInput as error:
        problems = error.problems
    if output == "json":
        console.answer(json_line(add_provenance(ProblemList(problems).json(), provenance())))
    elif output == "github":
        console.answer(render_github(problems))
    else:
        for line in (*(line for problem in problems for line in problem.lines), summary or _count(problems)):
            console.say(line)
    return ExitCode.DONE if summary else ExitCode.ERROR


def _show_settings(manifests: Path, flags: Mapping[str, str], console: Console) -> int:
    settings = load_settings(manifests, environment=os.environ, flags=flags)
    locations = {*settings.locations, LocationId("any other")}
    tokens = {each: bool(os.environ.get(settings.location(each).token_env)) for each in locations}
    console.show(settings_view(settings, tokens))
    return ExitCode.DONE


def _count(problems: tuple[Problem, ...]) -> str:
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    return f"{counted(errors, 'error')}, {counted(len(problems) - errors, 'other finding')}"
