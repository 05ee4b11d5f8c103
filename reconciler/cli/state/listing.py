"""`reconciler state list`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console, rows
from reconciler.cli.options import FORMATS, common, output
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.names import LocationId
from reconciler.core.view.state import state_view
from reconciler.render.json import state_json
from reconciler.store import open_reader


@click.command("list", epilog="Example: reconciler state list --format json")
@click.option("--location", "locations", multiple=True, metavar="L", help="Only this location; repeatable.")
@whose_state
@output(*FORMATS)
@common
def command(manifests: Path, locations: tuple[str, ...], output: str, whole: bool, **options: Any) -> int:
    """List contacts with their observed and managed tags."""
    console = Console.of(options)
    settings = settings_of(manifests, options)
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
