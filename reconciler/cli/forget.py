"""`reconciler state forget --whole`: a location that leaves the state with all that is known of it."""

from __future__ import annotations

import asyncio

import click

from reconciler.cli.console import read_line
from reconciler.cli.options import Invocation
from reconciler.cli.streams import can_ask
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.safe_text import visible
from reconciler.operations.forget_location import LocationContent, count_content, forget_location
from reconciler.output.blocks import counted

WORD = "forget"


def forget_whole(name: str, lock_timeout_ms: int, invocation: Invocation, *, yes: bool, is_alone: bool) -> int:
    """Forgets the location with this id or name, once a person typed the word, or said `--yes`; the exit code.

    `is_alone`: whether `--whole` was said, and nothing else to forget.
    """
    if not is_alone:
        raise UsageError("--whole forgets a location alone, and --yes is for --whole", hint="leave one of them out")
    content = count_content(invocation.workspace, name)
    if not yes:
        _ask(content)
    work = forget_location(invocation.workspace, content.location, lock_timeout_ms=lock_timeout_ms)
    forgotten = asyncio.run(work)
    invocation.console.say(f"forgot location {forgotten.location}: {_describe(forgotten)}")
    return 0


def _describe(content: LocationContent) -> str:
    managed = f"{content.managed:,} of them with tags under management"
    return f"{counted(content.contacts, 'contact')}, {managed}; {counted(content.runs, 'run')}"


def _ask(content: LocationContent) -> None:
    # a job would wait for ever
    if not can_ask():
        raise UsageError(
            "state forget --whole asks before it forgets a location, and there is no terminal to ask on",
            hint="look at the location with `reconciler history`, then add --yes",
        )
    click.echo(
        visible(f"Location {content.location}: {_describe(content)}. All of it is forgotten: no run can be"), err=True
    )
    click.echo(
        "reverted, and an apply that declares the location adds every tag anew. Tags stay on the contacts.", err=True
    )
    click.echo(f"Type {WORD} to go on: ", nl=False, err=True)
    if read_line().strip().lower() != WORD:
        raise ReconcilerError("not confirmed: nothing was forgotten", hint=f"only the word {WORD} goes on")
