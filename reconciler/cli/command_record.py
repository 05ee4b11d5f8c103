"""The record of a command line: names of locations, its effects so far, how its reports came to be, and its error.

Law: stages, and documents for machines, know ids only. A name is put beside an id where a text leaves for a person, by
`core.names.name_locations`. Loading settings gives their names to `learn_names`.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path

import click

from reconciler import __version__
from reconciler.cli import ARGUMENTS, CommandRecord
from reconciler.core.model.errors import ExitCode, InvalidInput, LockHeld, ReconcilerError
from reconciler.core.model.names import LocationId, name_locations
from reconciler.core.model.safe_text import Provenance, command_line, visible
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.highlevel.tokens import SHORTEST, cut
from reconciler.system import SystemClock

LONGEST_PATH = 200
_DIRECTORY = "reconciler.directory"
_MADE = "reconciler.made"
_SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "KEY")


def find_record() -> CommandRecord:
    """The record of the command line that runs; a new one where none does."""
    command = click.get_current_context(silent=True)
    return (command and command.find_object(CommandRecord)) or CommandRecord()


def learn_names(settings: Settings) -> None:
    """Keeps the names until the command ends, and for the error that it ends with."""
    origin = settings.origin("state")
    named_by = origin.source if origin.kind is OriginKind.ENVIRONMENT else None
    find_record().set_names(settings.names(), named_by.path if named_by else "")
    learn_contact_url(settings)


def learn_contact_url(settings: Settings) -> None:
    """Keeps the address by which reports of the command link to contacts."""
    find_record().set_links(settings.contact_url)


def contact_url() -> str:
    """The address where the CRM shows a contact; empty where the settings have none."""
    return find_record().contact_url


def location_names() -> Mapping[LocationId, str]:
    return find_record().names


def for_person(text: str) -> str:
    """The text with the name of each location that it speaks of."""
    return name_locations(text, location_names())


def learn_directory(directory: Path) -> None:
    """Keeps the directory of the manifests that the command reads: its checkout has the commit of the reports."""
    if (command := click.get_current_context(silent=True)) is not None:
        command.meta[_DIRECTORY] = directory


def provenance() -> Provenance | None:
    """How the reports of the command came to be, the same in all of them; None where no command runs."""
    command = click.get_current_context(silent=True)
    if command is None:
        return None
    # one instant and one commit in all reports of a command
    if _MADE not in command.meta:
        command.meta[_MADE] = _make_provenance(command.meta)
    made: Provenance = command.meta[_MADE]
    return made


def _make_provenance(meta: Mapping[str, object]) -> Provenance:
    # it starts Git, which no answer in text needs
    from reconciler.operations.identity import find_commit

    directory, arguments = meta.get(_DIRECTORY), meta.get(ARGUMENTS, ())
    assert isinstance(arguments, tuple)
    return Provenance(
        at=SystemClock().now(),
        commit=find_commit(directory) if isinstance(directory, Path) else "",
        version=__version__,
        command=command_line([cut(_list_secrets(os.environ), argument) for argument in arguments]),
    )


def _list_secrets(environment: Mapping[str, str]) -> list[str]:
    """Values of variables that are called like secrets."""
    values = (value for name, value in environment.items() if any(mark in name.upper() for mark in _SECRET_NAMES))
    # a short value would cut words that are no secret
    return [value for value in values if len(value) >= SHORTEST]


def print_error(error: Exception, record: CommandRecord) -> int:
    """Prints an error to stderr, ours in plain words and any other as the bug it is; returns its exit code."""
    if isinstance(error, OSError) and error.filename is not None:
        # a path that a person named: too long, taken away meanwhile, not to be read
        error = ReconcilerError(f"{_shorten(str(error.filename))}: {error.strerror or 'it cannot be used'}")
    if not isinstance(error, ReconcilerError):
        # a bug is reported with its traceback, and never looks like a refusal
        traceback.print_exception(error)
        click.echo(f"this is a bug of reconciler {__version__}: please report it with the lines above", err=True)
        return ExitCode.ERROR
    mark = "" if isinstance(error, InvalidInput) else "error: "
    for line in error.lines:
        click.echo(f"{mark}{visible(name_locations(line, record.names))}", err=True)
    for hint in error.hints:
        click.echo(f"  hint: {visible(name_locations(hint, record.names))}", err=True)
    variable = record.state_variable
    if variable and _is_about_state(error) and variable not in error.message:
        click.echo(f"  hint: the variable {variable} says where the state is", err=True)
    return error.exit_code


def _is_about_state(error: ReconcilerError) -> bool:
    """Whether the state may be another one than was meant."""
    # a state that is locked was found
    return not isinstance(error, LockHeld) and re.search(r"\bstate\b", error.message) is not None


def _shorten(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[: LONGEST_PATH // 2]}…{path[-LONGEST_PATH // 2 :]}"
