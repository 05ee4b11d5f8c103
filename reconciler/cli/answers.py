"""The answer of a command: on stdout in the format of `--format`, and in the file of `--report`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.cli.command_record import contact_url, location_names, provenance
from reconciler.cli.console import Console
from reconciler.output.document import CommandOutput, Document, count_rows, spell


def command_output(document: Document) -> CommandOutput:
    """The document with all that the running command knows of it."""
    return CommandOutput(document, location_names(), provenance, contact_url())


def tell(document: Document, console: Console, options: Mapping[str, Any]) -> None:
    output = command_output(document)
    if (report := options.get("report")) is not None:
        report.take(output)
    whole = options.get("whole", False)
    if options["output"] == "text":
        console.show(output.view(count_rows(whole)))
        return
    for chunk in spell(output, options["output"], whole=whole):
        console.answer(chunk)
