"""`reconciler diff`"""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.command_record import learn_contact_url
from reconciler.cli.console import print_document
from reconciler.cli.options import FORMATS, Invocation, OutputFormat, common, manifests_argument, output
from reconciler.core.model.errors import ExitCode
from reconciler.operations.compare import compare_with
from reconciler.output.diff import DiffDocument


@click.command(epilog="Example: reconciler diff --base origin/main --format markdown")
@manifests_argument
@click.option("--base", default="HEAD", show_default=True, metavar="REV", help="The revision to compare with.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where something changed.")
@output(*FORMATS)
@common
def command(manifests: Path, base: str, detailed_exitcode: bool, form: OutputFormat, invocation: Invocation) -> int:
    """Say what a change to manifests means: who gains and loses what.

    Needs no token, no API and no state, so that it works on a pull request from a fork. Compares the files below
    MANIFESTS as they are now with those at REV.
    """
    result = compare_with(invocation.workspace(manifests), base)
    learn_contact_url(result.settings)
    print_document(DiffDocument(result.comparisons, result.moves, base), invocation.console, form)
    return ExitCode.CHANGES if detailed_exitcode and not result.is_empty else ExitCode.DONE
