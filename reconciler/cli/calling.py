"""What people call the locations, in all that a command says to a person.

Law: stages, and documents for machines, know ids only. A name is put beside an id where a text leaves for a person, by
`core.names.name_locations`. Whoever loads settings gives their names to `learn_names`.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from reconciler.core.names import LocationId, name_locations
from reconciler.core.settings import Settings


def learn_names(settings: Settings) -> None:
    """The names hold until the command ends, and for the error that it ends with."""
    _known().update(settings.names())


def location_names() -> Mapping[LocationId, str]:
    return _known()


def for_person(text: str) -> str:
    """The text with the name of each location that it speaks of."""
    return name_locations(text, _known())


def _known() -> dict[LocationId, str]:
    """Of the command line that runs: what `run` gave it to hold them."""
    command = click.get_current_context(silent=True)
    held = None if command is None else command.find_object(dict)
    return {} if held is None else held
