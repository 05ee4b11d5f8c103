"""`reconciler state pull`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common
from reconciler.cli.state.working import whole
from reconciler.cli.whose import chosen, settings_of, whose_state
from reconciler.output.json import portable_json
from reconciler.store import open_reader


@click.command("pull", epilog="Example: reconciler state pull --location asdrwHvLUxlfw5SqKVCN > state.json")
@click.option(
    "--location", "locations", multiple=True, metavar="L", help="Only this location, by id or name; repeatable."
)
@whose_state
@common
def command(manifests: Path, locations: tuple[str, ...], **options: Any) -> int:
    """Print the whole state as portable JSON: contents, ledger and journal, to keep, read or push."""
    console = Console.of(options)
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        console.answer(portable_json([whole(reader, location) for location in chosen(reader, locations, settings)]))
    return 0
