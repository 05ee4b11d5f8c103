"""`reconciler state pull`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common
from reconciler.cli.state.working import whole
from reconciler.cli.whose import chosen, settings_of, whose_state
from reconciler.core.formats.state_json import state_document
from reconciler.core.model.safe_text import json_line
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
        states = [whole(reader, location) for location in chosen(reader, locations, settings)]
        console.answer(json_line(state_document(states)))
    return 0
