"""`reconciler state unlock`"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.locks import held_leases
from reconciler.cli.options import common
from reconciler.cli.whose import chosen, settings_of, whose_state
from reconciler.core.model.errors import UsageError
from reconciler.core.model.lease import Lease, describe_lease, unlock_command
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import Settings
from reconciler.output.blocks import moment
from reconciler.store import open_reader, open_store


@click.command("unlock", epilog="Example: reconciler state unlock 3f0c9e --location asdrwHvLUxlfw5SqKVCN")
@click.argument("lease", metavar="[ID]", required=False)
@click.option("--location", metavar="L", help="The locked location, by id or name. Needed with ID.")
@whose_state
@common
def command(lease: str | None, location: str | None, manifests: Path, **options: Any) -> int:
    """List the locks, or end a lease whose holder is gone for good.

    Without ID: who holds which location, since when, where, and the command that ends that lease. With the exact ID:
    ends it. A holder that lives after all is refused every further write, and stops; a request of it that is under way
    may still take effect, and is listed as in doubt.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    if lease is None:
        _list(settings, location, console)
        return 0
    if location is None:
        raise UsageError(
            "which location is locked was not said: --location L", hint="`reconciler state unlock` lists the locks"
        )
    place = settings.find_location(location)
    with open_store(settings.state) as store:
        ended = store.at(place).unlock_lease(lease)
    console.note(f"was: {describe_lease(ended)}")
    console.say(f"unlocked location {place}")
    return 0


def _list(settings: Settings, location: str | None, console: Console) -> None:
    with open_reader(settings.state) as reader:
        found = held_leases(reader, chosen(reader, (location,) if location else (), settings))
    for lease in found:
        for line in _lines(lease):
            console.say(line)
    if not found:
        none = "no location is locked"
        if location:
            none = f"location {settings.find_location(location)} is not locked"
        console.say(f"{none} in {redacted(settings.state)}")


def _lines(lease: Lease) -> Iterator[str]:
    """One lease; the command stands in a line of its own, whatever the width."""
    holder = lease.holder
    yield f"location {lease.location} is locked"
    yield f"  by {holder.who}, {holder.operation}, reconciler {holder.version}"
    yield f"  on {holder.host}, process {holder.pid}"
    if holder.run_url:
        yield f"  in {holder.run_url}"
    yield f"  since {moment(holder.created)}; ends {moment(lease.expires)} unless renewed"
    yield "  if that process is gone for good, end its lease:"
    yield f"  {unlock_command(lease)}"
