"""`reconciler state`"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console, rows
from reconciler.cli.options import FORMATS, common, output
from reconciler.core.names import LocationId
from reconciler.core.view.state import state_view
from reconciler.loading import load_settings
from reconciler.render.json import state_json
from reconciler.store import open_reader


@click.group(epilog="Example: reconciler state list --location asdrwHvLUxlfw5SqKVCN")
def command() -> None:
    """Look at what is known of each contact."""


@command.command("list", epilog="Example: reconciler state list --format json")
@click.option("--location", "locations", multiple=True, metavar="L", help="Only this location; repeatable.")
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    default=Path("manifests"),
    metavar="DIR",
    help="Whose reconciler.yaml names the state.  [default: manifests]",
)
@output(*FORMATS)
@common
def list_contacts(manifests: Path, locations: tuple[str, ...], output: str, whole: bool, **options: Any) -> int:
    """List contacts with their observed and managed tags."""
    console = Console.of(options)
    flags = {"state": options["state"]} if options["state"] else {}
    settings = load_settings(manifests, environment=os.environ, flags=flags)
    with open_reader(settings.state) as reader:
        chosen = [LocationId(each) for each in locations] or reader.locations()
        snapshots = [reader.load(location) for location in chosen]
    if output == "json":
        console.answer(state_json(snapshots))
    else:
        console.show(state_view(snapshots, most=rows(whole)))
    if not snapshots:
        console.note(f"no state yet at {settings.state}: the first apply makes it")
    return 0
