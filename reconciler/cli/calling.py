"""What people call the locations, in all that a command says to a person; and what it did, for an interrupt.

Law: stages, and documents for machines, know ids only. A name is put beside an id where a text leaves for a person, by
`core.names.name_locations`. Whoever loads settings gives their names to `learn_names`.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from reconciler.cli import CommandRecord
from reconciler.core.model.names import LocationId, name_locations
from reconciler.core.model.settings import OriginKind, Settings


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
