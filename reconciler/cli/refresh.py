"""`reconciler refresh`"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import refresh_answer, tell
from reconciler.cli.console import Console
from reconciler.cli.looking import concerned, wanted_of
from reconciler.cli.options import FORMATS, REFRESHES, common, locking, manifests, max_age, narrowed, output
from reconciler.cli.session import Session, open_session, selection
from reconciler.cli.storing import read_and_store
from reconciler.core.errors import ExitCode
from reconciler.core.names import LocationId
from reconciler.core.refreshing import Refreshed
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
    with open_store(session.settings.state) as store:
        reports = [asyncio.run(_refresh(session, store, each, console, options)) for each in session.desired]
    tell(refresh_answer(reports), console, options)
    return ExitCode.DONE


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
    )
