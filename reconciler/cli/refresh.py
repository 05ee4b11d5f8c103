"""`reconciler refresh` and `export`: what contacts carry, read, stored, and written as manifests."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path

import click

from reconciler.cli.command_record import find_record, print_error
from reconciler.cli.complete import complete_location
from reconciler.cli.console import KEPT, Console, end_by_signals
from reconciler.cli.options import (
    Invocation,
    common,
    create_state_option,
    locking,
    manifests_argument,
    manifests_option,
    output,
)
from reconciler.cli.plan_flags import REFRESHES, PlanFlags, age_option, refresh_flags
from reconciler.core.manifests.export_sets import GroupBy
from reconciler.core.model.errors import ExitCode, UsageError, worst_code
from reconciler.core.model.safe_text import path_word, redacted, visible
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.loading.export_files import write_files
from reconciler.operations.export import ExportRequest, ExportResult, choose_exported, export_location
from reconciler.operations.refresh import RefreshStateRequest, refresh_state
from reconciler.operations.workspace import MANIFESTS, open_session
from reconciler.output.blocks import counted
from reconciler.output.refresh import RefreshDocument


@click.command(epilog="Example: reconciler refresh manifests/ --method search --max-age 24h")
@manifests_argument
@click.option(
    "--method",
    "refresh",
    type=click.Choice(REFRESHES),
    default="auto",
    show_default=True,
    help="get, one request a contact; search, 500 a request, a few minutes old; auto, the cheaper one.",
)
@age_option
@create_state_option
@refresh_flags
@locking
@output()
@common
def refresh_command(
    flags: PlanFlags,
    lock_timeout_ms: int,
    invocation: Invocation,
) -> int:
    """Read what contacts carry now, and store it.

    Reads the declared contacts and those that are still managed, and the holders of exclusive tags. Changes no
    contact. Whatever was read is kept when it is interrupted: with --max-age the next one goes on from there.
    """
    console = invocation.console
    session = open_session(invocation.workspace, flags.locations, unpulled=True)
    console.warn_of_problems(session)
    request = RefreshStateRequest(flags.scope, flags.reading, lock_timeout_ms, flags.create_state)
    result = asyncio.run(end_by_signals(refresh_state(session, request), KEPT))
    # the error of one location leaves the reports of the others
    if result.reports or not result.errors:
        invocation.print_document(RefreshDocument(result.reports))
    # errors stand below the board, not within it
    console.progress.close()
    partial = [ExitCode.PARTIAL for report in result.reports if report.unread]
    return worst_code([ExitCode.DONE, *partial, *(print_error(error, find_record()) for error in result.errors)])


@click.command(epilog="Example: reconciler export --location asdrwHvLUxlfw5SqKVCN --refresh search --out manifests")
@click.option(
    "--location",
    "locations",
    multiple=True,
    metavar="L",
    shell_complete=complete_location,
    help="This location, by id or name; repeatable.  [default: all]",
)
@click.option("--tag", "tags", multiple=True, metavar="T", help="Only this tag, or pattern of tags; repeatable.")
@click.option(
    "--group-by",
    type=click.Choice([group_by.value for group_by in GroupBy]),
    default=GroupBy.ONE_SET_PER_TAG.value,
    show_default=True,
    help="tag: a manifest for each tag; one-set-per-tag: one manifest; combination: a contact is in one set.",
)
@click.option("--refresh", type=click.Choice(["search"]), help="Read the whole location first, and store it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=MANIFESTS,
    show_default=True,
    metavar="DIR",
    help="Where manifests and contact files are written; nothing is overwritten.",
)
@manifests_option
@locking
@common
def export_command(
    locations: tuple[str, ...],
    tags: tuple[str, ...],
    group_by: str,
    refresh: str | None,
    out: Path,
    lock_timeout_ms: int,
    invocation: Invocation,
) -> int:
    """Write manifests that declare what contacts carry: adopt a location that exists.

    From what was observed, or with --refresh search from what the location has now. The plan that follows adopts
    what is there, and sends nothing.
    """
    console, workspace = invocation.console, invocation.workspace
    settings = workspace.load_settings(begins=True)
    request = ExportRequest(GroupBy(group_by), tags, refresh is not None, lock_timeout_ms)
    files: dict[Path, str] = {}
    for location in choose_exported(workspace, settings, locations, search=request.search):
        result = asyncio.run(end_by_signals(export_location(workspace, settings, location, request), KEPT))
        files |= result.files
        _note_result(result, console)
    # an empty directory would look like a location without tags
    if not files:
        raise UsageError("nothing was observed that could be exported", hint="read the location: --refresh search")
    write_files(out, files)
    console.answer("".join(f"wrote {visible(str(out / path))}\n" for path in sorted(files) if path.suffix == ".yaml"))
    named = f"{path_word(out)}{_name_state(settings, workspace.directory, out)}"
    console.note(f"next: `reconciler plan {named}`, which adopts what is there")
    return ExitCode.DONE


def _name_state(settings: Settings, manifests: Path, out: Path) -> str:
    """The flag for the state, where the new directory has no settings of its own that would name it."""
    apart = settings.origin("state").kind is OriginKind.FILE and os.path.realpath(out) != os.path.realpath(manifests)
    return f" --state {shlex.quote(redacted(settings.state))}" if apart else ""


def _note_result(result: ExportResult, console: Console) -> None:
    location, export = result.location, result.export
    if result.incomplete:
        console.warn(f"location {location}: the search was not complete: {result.incomplete}. Contacts may be missing")
    sets = sum(map(len, export.manifests.values()))
    held = f"{counted(export.contacts, 'contact')}, {counted(export.pairs, 'pair')}"
    console.note(f"location {location}: {counted(sets, 'set')}, {held}")
    if export.undeclarable:
        tags = ", ".join(ascii(tag) for tag in export.undeclarable[:5])
        console.warn(f"left out, since no manifest can name them: {counted(len(export.undeclarable), 'tag')}: {tags}")
    if export.odd:
        console.warn(f"left out {counted(export.odd, 'contact')} with an id that no file can hold")
