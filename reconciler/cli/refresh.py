"""`reconciler refresh`"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from reconciler.cli import errors
from reconciler.cli.answers import tell
from reconciler.cli.command_record import location_names
from reconciler.cli.console import Console
from reconciler.cli.first_run import beginning, refuse_missing_state
from reconciler.cli.looking import concerned, wanted_of
from reconciler.cli.options import FORMATS, REFRESHES, common, locking, manifests, max_age, narrowed, output
from reconciler.cli.session import Session, open_session, selection, warn_of_problems
from reconciler.cli.storing import ended_by_signals, read_and_store
from reconciler.core.model.errors import ExitCode, ReconcilerError, worst_code
from reconciler.core.model.names import LocationId
from reconciler.core.observing.refresh_rules import Refreshed
from reconciler.output.refresh import RefreshDocument
from reconciler.ports import StateStore
from reconciler.store import open_store


@click.command(epilog="Example: reconciler refresh manifests/ --method search --max-age 24h")
@manifests
@click.option(
    "--method",
    "refresh",
    type=click.Choice(REFRESHES),
    default="auto",
    show_default=True,
    help="get, one request a contact; search, 500 a request, a few minutes old; auto, the cheaper one.",
)
@max_age
@beginning
@narrowed
@locking
@output(*FORMATS)
@common
def command(manifests: Path, **options: Any) -> int:
    """Read what contacts carry now, and store it.

    Reads the declared contacts and those that are still managed, and the holders of exclusive tags. Changes no
    contact. Whatever was read is kept when it is interrupted: with --max-age the next one goes on from there.
    """
    console = Console.of(options)
    session = open_session(manifests, options)
    warn_of_problems(session, console)
    refuse_missing_state(session.settings, session.desired, options)
    with open_store(session.settings.state) as store:
        ended = asyncio.run(_each_to_its_end(session, store, console, options))
    reports = [each for each in ended if isinstance(each, Refreshed)]
    failed = [each for each in ended if isinstance(each, Exception)]
    if reports or not failed:
        tell(RefreshDocument(reports), console, options)
    console.progress.close()
    partial_ones = [ExitCode.PARTIAL for each in reports if each.unread]
    return worst_code([ExitCode.DONE, *partial_ones, *(errors.tell(each, location_names()) for each in failed)])


async def _each_to_its_end(
    session: Session, store: StateStore, console: Console, options: Mapping[str, Any]
) -> list[Refreshed | Exception]:
    """Each location's report, or its error: one that fails does not stop the others."""

    async def ended(location: LocationId) -> Refreshed | Exception:
        try:
            return await _refresh(session, store, location, console, options)
        except ReconcilerError as error:
            if len(session.desired) > 1:
                error.message = f"location {location}: {error.message}"
            return error

    with ended_by_signals():
        return await asyncio.gather(*map(ended, session.desired))


async def _refresh(
    session: Session, store: StateStore, location: LocationId, console: Console, options: Mapping[str, Any]
) -> Refreshed:
    asked = partial(wanted_of, session, options=options)
    stored = await read_and_store(session.settings, store, location, asked, console, options, operation="refresh")
    declared = concerned(session.desired[location], stored.state, selection(session, options))
    return Refreshed(
        location=location,
        run=stored.run,
        read=stored.read,
        changed=stored.changed,
        since=stored.since,
        gone=stored.found.unreachable(declared, stored.state.observed),
        incomplete=stored.found.incomplete,
        unread=stored.found.unread,
        older_rows=stored.found.searched.older_rows,
    )
