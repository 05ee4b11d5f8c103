"""`reconciler refresh`"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from reconciler.cli.command_record import find_record, print_error
from reconciler.cli.console import print_document
from reconciler.cli.options import (
    FORMATS,
    Invocation,
    OutputFormat,
    common,
    create_state_option,
    locking,
    manifests_argument,
    output,
)
from reconciler.cli.plan_flags import REFRESHES, PlanFlags, age_option, parse_age, scope_flags
from reconciler.cli.signals import end_by_signals
from reconciler.core.model.errors import ExitCode, worst_code
from reconciler.core.observing.refresh_rules import Method
from reconciler.operations.plan_options import Reading
from reconciler.operations.refresh import RefreshStateRequest, refresh_state
from reconciler.operations.workspace import open_session
from reconciler.output.refresh import RefreshDocument


@click.command(epilog="Example: reconciler refresh manifests/ --method search --max-age 24h")
@manifests_argument
@click.option(
    "--method",
    type=click.Choice(REFRESHES),
    default="auto",
    show_default=True,
    help="get, one request a contact; search, 500 a request, a few minutes old; auto, the cheaper one.",
)
@age_option
@create_state_option
@scope_flags
@locking
@output(*FORMATS)
@common
def command(
    manifests: Path,
    method: str,
    max_age: str | None,
    create_state: bool,
    flags: PlanFlags,
    lock_timeout_ms: int,
    form: OutputFormat,
    invocation: Invocation,
) -> int:
    """Read what contacts carry now, and store it.

    Reads the declared contacts and those that are still managed, and the holders of exclusive tags. Changes no
    contact. Whatever was read is kept when it is interrupted: with --max-age the next one goes on from there.
    """
    console = invocation.console
    session = open_session(invocation.workspace(manifests), flags.locations)
    console.warn_of_problems(session)
    request = RefreshStateRequest(
        flags.scope, Reading(Method(method), parse_age("max-age", max_age)), lock_timeout_ms, create_state
    )
    result = asyncio.run(end_by_signals(refresh_state(session, request)))
    # the error of one location leaves the reports of the others
    if result.reports or not result.errors:
        print_document(RefreshDocument(result.reports), console, form)
    # errors stand below the board, not within it
    console.progress.close()
    partial = [ExitCode.PARTIAL for report in result.reports if report.unread]
    return worst_code([ExitCode.DONE, *partial, *(print_error(error, find_record()) for error in result.errors)])
