"""What people call the locations, in all that a command says to a person; what it did, for an interrupt; how it came
to its reports.

Law: stages, and documents for machines, know ids only. A name is put beside an id where a text leaves for a person, by
`core.names.name_locations`. Whoever loads settings gives their names to `learn_names`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from reconciler import __version__
from reconciler.cli import ARGUMENTS, CommandRecord
from reconciler.clock import SystemClock
from reconciler.core.model.names import LocationId, name_locations
from reconciler.core.model.safe_text import Provenance, command_line
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.highlevel.tokens import SHORTEST, cut


def learn_names(settings: Settings) -> None:
    """The names hold until the command ends, and for the error that it ends with."""
    record, origin = command_record(), settings.origin("state")
    record.names.update(settings.names())
    if origin.kind is OriginKind.ENVIRONMENT and origin.source is not None:
        record.state_variable = origin.source.path
    learn_contact_url(settings)


def learn_contact_url(settings: Settings) -> None:
    """Reports of the command link to contacts by it."""
    command_record().contact_url = settings.contact_url


def contact_url() -> str:
    """Where the CRM shows a contact, as the settings say; empty where they do not."""
    return command_record().contact_url


def location_names() -> Mapping[LocationId, str]:
    return command_record().names


def for_person(text: str) -> str:
    """The text with the name of each location that it speaks of."""
    return name_locations(text, location_names())


def command_record() -> CommandRecord:
    """Of the command line that runs; a new one where none does."""
    command = click.get_current_context(silent=True)
    return (command and command.find_object(CommandRecord)) or CommandRecord()


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
    from reconciler.operations.identity import git_commit

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
