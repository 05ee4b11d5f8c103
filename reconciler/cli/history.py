"""`reconciler history`"""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.console import print_document
from reconciler.cli.options import FORMATS, Invocation, OutputFormat, common, locations_option, manifests_option, output
from reconciler.core.model.safe_text import redacted
from reconciler.operations.runs import list_history
from reconciler.output.history import HistoryDocument


@click.command(epilog="Example: reconciler history   then   reconciler show 3f0c9e1b2a4d")
@locations_option
@manifests_option
@output(*FORMATS)
@common
def command(manifests: Path, locations: tuple[str, ...], form: OutputFormat, invocation: Invocation) -> int:
    """List what was run: when, by whom, how it ended.

    `show RUN` tells what a run changed, `revert RUN` undoes it, as far as its rows are kept (history_keep).
    """
    console = invocation.console
    # only a page draws
    result = list_history(invocation.workspace(manifests), locations, with_trends=form.kind == "html")
    print_document(HistoryDocument(result.runs, result.trends), console, form)
    if not any(result.runs.values()):
        console.note(f"no run yet in {redacted(result.state)}")
    return 0
