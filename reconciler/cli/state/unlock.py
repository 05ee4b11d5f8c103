"""`reconciler state unlock`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.lease import describe
from reconciler.core.names import LocationId
from reconciler.store import open_store


@click.command("unlock", epilog="Example: reconciler state unlock 3f0c9e --location asdrwHvLUxlfw5SqKVCN")
@click.argument("lease", metavar="ID")
@click.option("--location", required=True, metavar="L", help="The locked location.")
@whose_state
@common
def command(lease: str, location: str, manifests: Path, **options: Any) -> int:
    """End a lease whose holder is gone for good.

    Needs the exact ID that the refusal printed. A holder that lives after all is refused every further write, and
    stops; a request of it that is under way may still take effect, and is listed as in doubt.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    with open_store(settings.state) as store:
        ended = store.unlock(LocationId(location), lease)
    console.note(f"was: {describe(ended)}")
    console.answer(f"unlocked location {location}\n")
    return 0
