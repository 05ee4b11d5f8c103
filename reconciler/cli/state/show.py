"""`reconciler state show`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, common, output
from reconciler.cli.session import open_session
from reconciler.cli.whose import chosen, settings_of, whose_state
from reconciler.core.manifests.resolve import NOTHING, Want
from reconciler.core.model.errors import InvalidInput, ReconcilerError, UsageError
from reconciler.core.model.names import ContactId, LocationId
from reconciler.output.contact import ContactDocument, ContactStory
from reconciler.output.state import FactsDocument
from reconciler.ports import StateReader
from reconciler.store import open_reader


@click.command("show", epilog="Example: reconciler state show qFSqySFkVvNzOSqgGqFi")
@click.argument("contact", default="", metavar="[CONTACT]")
@click.option("--location", "locations", multiple=True, metavar="L", help="Only this location, by id or name.")
@whose_state
@output(*FORMATS)
@common
def command(contact: str, locations: tuple[str, ...], manifests: Path, **options: Any) -> int:
    """Tell all that is known of a contact: its tags, who declares them, since when, from which run, what was done.

    Without CONTACT: each location's serial and lineage, and what its API taught us: limits of a request, tags that it
    spells otherwise, whether a write of tags moves `dateUpdated`.
    """
    console = Console.of(options)
    if not contact:
        return _whole(manifests, locations, console, options)
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        stories = [
            story
            for location in chosen(reader, locations, settings)
            if (story := _story(reader, location, ContactId(contact), manifests, console, options)) is not None
        ]
    if not stories:
        raise UsageError(f"nothing is known of contact {contact!r}", hint="`reconciler state list` lists the contacts")
    tell(ContactDocument(stories), console, options)
    return 0


def _whole(manifests: Path, locations: tuple[str, ...], console: Console, options: Any) -> int:
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        snapshots = [reader.at(location).load_state() for location in chosen(reader, locations, settings)]
    tell(FactsDocument(snapshots), console, options)
    return 0


def _story(
    reader: StateReader, location: LocationId, contact: ContactId, manifests: Path, console: Console, options: Any
) -> ContactStory | None:
    state = reader.at(location)
    observed = state.load_state().observed
    if contact not in observed.contacts:
        return None
    return ContactStory(
        location=location,
        contact=contact,
        known=observed[contact],
        want=_want(location, contact, manifests, console, options),
        trail=tuple(state.read_trail(contact)),
        runs=tuple(state.read_runs()),
    )


def _want(location: LocationId, contact: ContactId, manifests: Path, console: Console, options: Any) -> Want | None:
    """What the manifests declare; None where there are none to ask."""
    if not manifests.is_dir():
        return None
    try:
        session = open_session(manifests, options)
    except (InvalidInput, ReconcilerError) as error:
        console.note(f"the manifests cannot be asked: {error.lines[0]}")
        return None
    return session.desired[location].want(contact) if location in session.desired else NOTHING
