"""`reconciler history`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, common, output
from reconciler.cli.whose import chosen, settings_of, whose_state
from reconciler.core.model.journal import RunRecord
from reconciler.core.model.safe_text import redacted
from reconciler.core.observing.attribution import Trend, compute_trend
from reconciler.operations.runs import read_log, runs_of
from reconciler.output.history import HistoryDocument
from reconciler.ports import StateReader
from reconciler.store import open_reader


@click.command(epilog="Example: reconciler history   then   reconciler show 3f0c9e1b2a4d")
@click.option(
    "--location", "locations", multiple=True, metavar="L", help="Only this location, by id or name; repeatable."
)
@whose_state
@output(*FORMATS)
@common
def command(manifests: Path, locations: tuple[str, ...], **options: Any) -> int:
    """List what was run: when, by whom, how it ended.

    `show RUN` tells what a run changed, `revert RUN` undoes it, as far as its rows are kept (history_keep).
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        runs = {location: runs_of(reader, location) for location in chosen(reader, locations, settings)}
        drawn = runs if options["output"] == "html" else {}
        trends = {place: _trend(reader, found) for place, found in drawn.items()}
    tell(HistoryDocument(runs, trends), console, options)
    if not any(runs.values()):
        console.note(f"no run yet in {redacted(settings.state)}")
    return 0


def _trend(reader: StateReader, runs: Sequence[RunRecord]) -> Trend:
    """From the rows that are kept."""
    return compute_trend(read_log(reader, run) for run in runs if not run.is_pruned)
