"""`reconciler doctor`"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from reconciler.cli.console import print_document
from reconciler.cli.options import (
    FORMATS,
    Invocation,
    OutputFormat,
    common,
    locations_option,
    manifests_argument,
    output,
)
from reconciler.operations.doctor import DoctorRequest, examine
from reconciler.output.findings import DoctorDocument


@click.command(epilog="Example: reconciler doctor manifests/ --location asdrwHvLUxlfw5SqKVCN")
@manifests_argument
@locations_option
@click.option("--offline", is_flag=True, help="Ask the API nothing.")
@output(*FORMATS, whole=False)
@common
def command(
    manifests: Path, locations: tuple[str, ...], offline: bool, form: OutputFormat, invocation: Invocation
) -> int:
    """Look whether everything is in place to plan and apply: changes nothing.

    Versions, manifests, state and lock; and for each location the API, the token, what it may read, the clock and the
    limits, from two requests that only read, and are read as a refresh reads them. Exit code 0 where nothing is bad, 7
    where a token is refused, else 1.
    """
    result = asyncio.run(examine(invocation.workspace(manifests), DoctorRequest(locations, offline)))
    print_document(DoctorDocument(result.examined), invocation.console, form)
    return result.exit_code
