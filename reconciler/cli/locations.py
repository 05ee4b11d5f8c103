"""`reconciler locations`: the locations that there are, for a person, and for jobs that take one each."""

from __future__ import annotations

import click

from reconciler.cli.options import Invocation, common, manifests_argument, output
from reconciler.core.model.errors import ExitCode
from reconciler.operations.locations import list_locations
from reconciler.output.locations import LocationsDocument


@click.command(epilog="Example: reconciler locations --changed-since origin/main --format json")
@manifests_argument
@click.option(
    "--changed-since",
    default="",
    metavar="REV",
    help="Only locations of which something differs from this revision of Git; what it cannot tell names all.",
)
@output(("text", "json", "csv"))
@common
def locations_command(changed_since: str, invocation: Invocation) -> int:
    """List the locations: what they are called, their manifests, whether they have state.

    Needs no token and asks no API. The state is asked which locations it has, unless only a pull request names it. As
    JSON, `locations` fits a CI matrix and an indexed job as it is: those with manifests, in a stable order.
    """
    result = list_locations(invocation.workspace, changed_since=changed_since)
    for note in result.notes:
        invocation.console.note(note)
    invocation.print_document(LocationsDocument(changed_since, result.locations, result.others))
    return ExitCode.DONE
