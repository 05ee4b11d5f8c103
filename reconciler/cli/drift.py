"""`reconciler drift`"""

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
    create_state_option,
    manifests_argument,
    output,
)
from reconciler.cli.plan_flags import PlanFlags, drift_flags
from reconciler.cli.report_file import reported
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.model.settings import DriftClass
from reconciler.operations.drift import DriftRequest, find_drift
from reconciler.operations.unreviewed import refuse_unreviewed
from reconciler.operations.workspace import describe_leases, open_session
from reconciler.output.drift import DriftDocument


@click.command(epilog="Example: reconciler drift --refresh auto --fail-on missing,unexpected --show foreign")
@manifests_argument
@click.option("--fail-on", default="", metavar="CLASSES", help="Exit 2 where there is drift of these classes.")
@click.option("--show", default="", metavar="CLASSES", help="Tell these classes too: foreign.")
@create_state_option
@drift_flags
@output(*FORMATS)
@reported
@common
def command(
    manifests: Path,
    fail_on: str,
    show: str,
    create_state: bool,
    flags: PlanFlags,
    form: OutputFormat,
    invocation: Invocation,
) -> int:
    """Report what others changed.

    Read-only. Without --refresh it tells from what earlier runs were answered; with it, contacts are read first.
    --max-age names what is too old: it is stale, and --refresh reads nobody else.
    """
    console = invocation.console
    failing, shown = _parse_classes("--fail-on", fail_on), _parse_classes("--show", show)
    session = open_session(invocation.workspace(manifests), flags.locations)
    console.warn_of_problems(session)
    # before anything is asked or run that a pull request's files name
    refuse_unreviewed(session, reads=flags.refresh is not None)
    foreign = DriftClass.FOREIGN in (*failing, *shown)
    result = asyncio.run(find_drift(session, DriftRequest(flags.scope, flags.reading, foreign, create_state)))
    notes = [*describe_leases(result.leases), *result.notes]
    print_document(DriftDocument(result.reports, notes=notes), console, form)
    return ExitCode.CHANGES if result.has_any(failing) else ExitCode.DONE


def _parse_classes(option: str, text: str) -> list[DriftClass]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(DriftClass):
            raise UsageError(
                f"{option}: no drift class is named {name!r}", hint=f"the classes are {', '.join(DriftClass)}"
            )
    return [DriftClass(name) for name in names]
