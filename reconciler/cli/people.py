"""`reconciler pull` and `resolve`: people as users name them, resolved into contacts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from reconciler.cli.command_record import find_record, print_error
from reconciler.cli.complete import complete_location
from reconciler.cli.console import end_by_signals
from reconciler.cli.options import (
    Invocation,
    common,
    create_state_option,
    locking,
    manifests_argument,
    manifests_option,
    output,
)
from reconciler.cli.plan_flags import PlanFlags, pull_flags
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.resolve import ResolveRequest, resolve_file
from reconciler.operations.workspace import open_session
from reconciler.output.pull import PullDocument, ResolveDocument


@click.command(epilog="Example: reconciler pull manifests/ --set vip")
@manifests_argument
@click.option("--full", is_flag=True, help="Read all contacts, however fresh the index of people is.")
@click.option("--dry-run", is_flag=True, help="Show the result, and keep nothing.")
@click.option(
    "--unmatched",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Copy the rows of the one chosen set that are of no contact into FILE.",
)
@create_state_option
@pull_flags
@locking
@output()
@common
def pull_command(
    full: bool, dry_run: bool, unmatched: Path | None, flags: PlanFlags, lock_timeout_ms: int, invocation: Invocation
) -> int:
    """Resolve people by e-mail, phone or a custom field, sources and filters into contacts.

    Matches the rows of every set with `match`, asks the sources and the contact search, and keeps a snapshot of each
    set: the contact ids that plan and apply go by. Changes no contact. A set whose file fails, or that a guard refuses,
    keeps its snapshot.
    """
    console = invocation.console
    session = open_session(invocation.workspace, flags.locations, pulls=True)
    console.warn_of_problems(session)
    request = PullRequest(
        sets=flags.sets,
        full=full,
        dry_run=dry_run,
        allow=flags.allow,
        reason=flags.reason,
        unmatched=unmatched,
        lock_timeout_ms=lock_timeout_ms,
        create_state=flags.create_state,
    )

    def show(result: PullResult) -> None:
        # the error of one location leaves the reports of the others
        if result.locations or not result.errors:
            invocation.print_document(PullDocument(result.locations))

    kept = "" if dry_run else "what was read until then is kept: the next pull goes on from there"
    result = asyncio.run(end_by_signals(pull_people(session, request, show), kept))
    # errors stand below the board, not within it
    console.progress.close()
    for error in (*result.errors, *result.refusals):
        print_error(error, find_record())
    return result.exit_code


@click.command(
    epilog="Example: reconciler resolve people.csv --by email,phone --location acme --out manifests/contacts/vip.csv"
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--by", required=True, metavar="KINDS", help="email, phone, field:NAME: by commas, in their order.")
@click.option(
    "--column", "columns", multiple=True, metavar="KIND=COLUMN", help="The column of a kind of value; repeatable."
)
@click.option(
    "--location",
    required=True,
    metavar="L",
    shell_complete=complete_location,
    help="The location of the contacts, by id or name.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file of contact ids to write."
)
@click.option("--region", default="", metavar="CC", help="The country of phone numbers without one, such as DE.")
@click.option("--keep", is_flag=True, help="Write the columns of the values too.")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@click.option("--full", is_flag=True, help="Read all contacts, however fresh the index of people is.")
@manifests_option
@output()
@common
def resolve_command(
    file: Path,
    by: str,
    columns: tuple[str, ...],
    location: str,
    out: Path,
    region: str,
    keep: bool,
    force: bool,
    full: bool,
    invocation: Invocation,
) -> int:
    """Resolve a file of people into a file of contact ids, once.

    Writes the contact_id of each row that is matched, sorted, with its other columns, and without the columns of the
    values. Changes no contact and no state. Exit code 3 unless every row is matched.
    """
    request = ResolveRequest(
        file=file,
        by=tuple(filter(None, map(str.strip, by.split(",")))),
        location=location,
        out=out,
        columns=tuple(_split_column(column) for column in columns),
        region=region,
        keeps_values=keep,
        replaces=force,
        full=full,
    )
    resolved = asyncio.run(end_by_signals(resolve_file(invocation.workspace, request)))
    invocation.print_document(ResolveDocument(resolved))
    return ExitCode.DONE if resolved.is_complete else ExitCode.PARTIAL


def _split_column(text: str) -> tuple[str, str]:
    kind, sign, column = text.partition("=")
    if not (kind and sign and column):
        raise UsageError(f"--column {text!r} is not KIND=COLUMN", hint="such as --column email=Mail")
    return kind, column
