"""`reconciler state list`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, common, milliseconds, output
from reconciler.cli.whose import chosen, settings_of, whose_state
from reconciler.clock import SystemClock
from reconciler.core.model.names import Instant, normalise_tag
from reconciler.core.model.safe_text import redacted
from reconciler.core.planning.state_filter import StateFilter, Status
from reconciler.output.state import StateDocument
from reconciler.store import open_reader


@click.command("list", epilog="Example: reconciler state list --tag vip --status quarantined --older-than 30d")
@click.option(
    "--location", "locations", multiple=True, metavar="L", help="Only this location, by id or name; repeatable."
)
@click.option("--tag", "tags", multiple=True, metavar="T", help="Only contacts with this tag; repeatable: with any.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in Status]),
    help="Only contacts of this status; repeatable: of any.",
)
@click.option("--older-than", default="", metavar="AGE", help="Only contacts not observed since, such as 12h, 30d.")
@whose_state
@output(*FORMATS)
@common
def command(
    manifests: Path,
    locations: tuple[str, ...],
    tags: tuple[str, ...],
    statuses: tuple[str, ...],
    older_than: str,
    **options: Any,
) -> int:
    """List contacts with their observed and managed tags."""
    console = Console.of(options)
    settings = settings_of(manifests, options)
    wanted = StateFilter(
        tags=frozenset(map(normalise_tag, tags)),
        statuses=frozenset(map(Status, statuses)),
        before=_before(older_than),
    )
    with open_reader(settings.state) as reader:
        snapshots = [
            wanted.filter_state(reader.at(location).load_state()) for location in chosen(reader, locations, settings)
        ]
    tell(StateDocument(snapshots), console, options)
    if not snapshots:
        console.note(f"no state yet at {redacted(settings.state)}: the first apply makes it")
    return 0


def _before(age: str) -> Instant | None:
    old = milliseconds("older-than", age)
    return None if old is None else Instant(SystemClock().now() - old)
