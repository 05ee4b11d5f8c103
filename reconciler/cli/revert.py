"""`reconciler revert`"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from reconciler.cli.connecting import refuse_over_quota
from reconciler.cli.console import Console
from reconciler.cli.locks import tell_locks
from reconciler.cli.looking import look
from reconciler.cli.options import FORMATS, allowing, common, locking, output, refreshing, spilling
from reconciler.cli.plan import preview
from reconciler.cli.report_file import reported
from reconciler.cli.sending import ask, send, tell
from reconciler.cli.session import Session, open_session, plan_options
from reconciler.cli.whose import settings_of
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.model.journal import LocationReport, RunStatus
from reconciler.core.model.names import LocationId
from reconciler.core.planning.guard_sentences import approve
from reconciler.core.planning.plan import Plan, combine_plans
from reconciler.core.planning.reversal import Reversal, read_reversal
from reconciler.core.planning.revert import plan_revert
from reconciler.operations.runs import find_run, read_log
from reconciler.ports import StateReader
from reconciler.store import open_reader

UNTRACED = (
    "what run {run} put under management without a change is not known: it ran before that was written down, or it is "
    "older than what history_keep keeps; that stays under management, and the next plan removes what nobody declares"
)


@click.command(epilog="Example: reconciler revert 3f0c9e1b2a4d --dry-run")
@click.argument("run", metavar="RUN")
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    default=Path("manifests"),
    metavar="DIR",
    help="What is demanded now.  [default: manifests]",
)
@click.option("--dry-run", is_flag=True, help="Preview and send nothing.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@refreshing
@allowing
@locking
@spilling
@output(*FORMATS)
@reported
@common
def command(run: str, manifests: Path, dry_run: bool, auto_approve: bool, **options: Any) -> int:
    """Undo what a run changed.

    The exact inverse of what RUN (an id that `history` lists, or `last`) really changed and nobody changed since,
    through the same guards, preview and approval as apply. What RUN put under management without changing it is
    nobody's again. What the manifests still demand is left out and listed: revert the commit first. Automations that a
    tag started are not called back.
    """
    console = Console.of(options)
    with open_reader(settings_of(manifests, options).state) as reader:
        reversal, location = _reversal(reader, run)
        session = open_session(manifests, options | {"locations": [location]})
        plan = _plan(reversal, session, reader, console, options)
    if not reversal.traced:
        console.note(UNTRACED.format(run=reversal.run))
    tell_locks(plan, session, console, options)
    if options["output"] == "text" or dry_run:
        preview(plan, session, console, options)
    if dry_run:
        return ExitCode.GUARD if plan.refused else ExitCode.DONE
    approved = approve(plan)
    if plan.is_empty:
        console.note(f"nothing of run {reversal.run} is left to undo")
        return tell([LocationReport(location, "", RunStatus.COMPLETE)], console, options)
    if not auto_approve:
        ask(plan, session)
    refuse_over_quota(plan, session, options)
    operation = f"revert {reversal.run}"
    sending = send(approved, session, console, options, operation=operation, reversals={location: reversal})
    return tell(asyncio.run(sending), console, options)


def _reversal(reader: StateReader, given: str) -> tuple[Reversal, LocationId]:
    run = find_run(reader, given, undoing=True)
    if run.is_pruned:
        raise UsageError(
            f"what run {run.id} changed is no longer known: its rows were given up",
            hint="the setting history_keep says how many runs keep their rows",
        )
    location = run.header.location
    runs = reader.at(location).read_runs()
    later = runs[[each.id for each in runs].index(run.id) + 1 :]
    return read_reversal(read_log(reader, run), (read_log(reader, each) for each in later)), location


def _plan(
    reversal: Reversal, session: Session, reader: StateReader, console: Console, options: Mapping[str, Any]
) -> Plan:
    (present,) = asyncio.run(look(session, reader, options, console, contacts=reversal.moved))
    location = present.state.location
    plan = plan_revert(
        reversal,
        session.desired[location],
        present.state,
        present.bears_on(plan_options(session, location, options)),
        observations=present.observations,
    )
    return combine_plans([plan], as_of=session.now, manifests=str(session.directory))
