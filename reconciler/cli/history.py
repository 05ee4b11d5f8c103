"""`reconciler history`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console, rows
from reconciler.cli.options import FORMATS, common, output
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.names import LocationId
from reconciler.core.view.history import history_view
from reconciler.render.json import history_json
from reconciler.store import open_reader


@click.command(epilog="Example: reconciler history   then   reconciler show 3f0c9e1b2a4d")
@click.option("--location", "locations", multiple=True, metavar="L", help="Only this location; repeatable.")
@whose_state
@output(*FORMATS)
@common
def command(manifests: Path, locations: tuple[str, ...], output: str, whole: bool, **options: Any) -> int:
    """List what was run: when, by whom, how it ended.

    `show RUN` tells what a run changed, `revert RUN` undoes it, as far as its rows are kept (history_keep).
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        chosen = [LocationId(each) for each in locations] or reader.locations()
        runs = {location: reader.runs(location) for location in chosen}
    if output == "json":
        console.answer(history_json(runs))
    else:
        console.show(history_view(runs, most=rows(whole)))
    if not any(runs.values()):
        console.note(f"no run yet in {settings.state}")
    return 0
