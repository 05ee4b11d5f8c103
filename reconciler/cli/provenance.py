"""What the reports of the command that runs say of how they were made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from reconciler import __version__
from reconciler.cli import ARGUMENTS
from reconciler.clock import SystemClock
from reconciler.core.model.safe_text import Provenance, command_line
from reconciler.highlevel.tokens import SHORTEST, cut

_DIRECTORY = "reconciler.directory"
_MADE = "reconciler.made"
_SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "KEY")


def learn_directory(directory: Path) -> None:
    """The manifests that the command reads: the commit is that of their checkout."""
    if (command := click.get_current_context(silent=True)) is not None:
        command.meta[_DIRECTORY] = directory


def provenance() -> Provenance | None:
    """The same in all reports of a command; None where no command runs."""
    command = click.get_current_context(silent=True)
    if command is None:
        return None
    if _MADE not in command.meta:
        command.meta[_MADE] = _provenance(command.meta)
    made: Provenance = command.meta[_MADE]
    return made


def _provenance(known: Mapping[str, object]) -> Provenance:
    # it starts Git, which no answer in text needs
    from reconciler.cli.holder import git_commit

    directory, arguments = known.get(_DIRECTORY), known.get(ARGUMENTS, ())
    assert isinstance(arguments, tuple)
    return Provenance(
        at=SystemClock().now(),
        commit=git_commit(directory) if isinstance(directory, Path) else "",
        version=__version__,
        command=command_line([cut(_secrets(os.environ), argument) for argument in arguments]),
    )


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Values of variables that are called like secrets."""
    named = (value for name, value in environment.items() if any(mark in name.upper() for mark in _SECRET_NAMES))
    return [value for value in named if len(value) >= SHORTEST]
