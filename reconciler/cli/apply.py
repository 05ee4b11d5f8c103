"""`reconciler apply`"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from reconciler.apply import Mission, World, apply
from reconciler.cli.console import Console, rows
from reconciler.cli.holder import current_holder, git_commit
from reconciler.cli.options import FORMATS, allowing, batching, common, locking, narrowing, output, refreshing
from reconciler.cli.plan import preview
from reconciler.cli.saved import open_saved, options_of
from reconciler.cli.session import Session, look, make_plan, open_api, open_session, strays
from reconciler.clock import SystemClock
from reconciler.core.errors import ExitCode, ReconcilerError, UsageError
from reconciler.core.journal import RunStatus
from reconciler.core.plan import ApprovedPlan, Plan, approve, refuse_over_quota
from reconciler.core.report import LocationReport, exit_code
from reconciler.core.settings import OriginKind
from reconciler.core.view.run import run_view
from reconciler.render.json import run_json
from reconciler.store import open_reader, open_store


@click.command(epilog="Example: reconciler apply plan.json   or   reconciler apply manifests/ --auto-approve")
@click.argument("target", type=click.Path(path_type=Path), default=Path("manifests"), metavar="[PLAN | MANIFESTS]")
@click.option(
    "--manifests", type=click.Path(path_type=Path), metavar="DIR", help="With PLAN: where its manifests are now."
)
@click.option("--dry-run", is_flag=True, help="Preview and send nothing.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--create-state", is_flag=True, help="In CI: begin with an empty state where the default one is missing.")
@narrowing
@refreshing
@allowing
@batching
@locking
@output(*FORMATS)
@common
def command(target: Path, manifests: Path | None, dry_run: bool, auto_approve: bool, **options: Any) -> int:
    """Send the fewest requests that do what was planned.

    With a directory of MANIFESTS (default: manifests): plan, preview, ask, apply. With a saved PLAN: apply exactly
    that. Needs the token of each location, by default in HIGHLEVEL_TOKEN.
    """
    console = Console.of(options)
    plan, session, left = _plan(target, manifests, console, options)
    if dry_run:
        preview(plan, session, console, options, left)
        return ExitCode.GUARD if plan.refused else ExitCode.DONE
    reviewed = target.is_file() and auto_approve
    if options["output"] == "text" and not reviewed:
        preview(plan, session, console, options, left)
    approved = approve(plan)
    if plan.is_empty and not any(each.observations for each in plan.locations):
        reports = tuple(LocationReport(each.location, "", RunStatus.COMPLETE) for each in plan.locations)
    else:
        _ask(auto_approve or plan.is_empty)
        refuse_over_quota(plan, session.settings.api.requests_per_day)
        _refuse_implicit_state(session, create=options["create_state"])
        reports = asyncio.run(_send(approved, session, console, options))
    if options["output"] == "json":
        console.answer(run_json(reports))
    else:
        console.show(run_view(reports, most=rows(options["whole"])))
    return exit_code(reports)


def _plan(
    target: Path, manifests: Path | None, console: Console, options: Mapping[str, Any]
) -> tuple[Plan, Session, list[str]]:
    """The plan, the manifests as they are now, and what else there is to say."""
    if target.is_file():
        return (*open_saved(target, manifests, options), [])
    session = open_session(target, options)
    with open_reader(session.settings.state) as reader:
        present = asyncio.run(look(session, reader, options, console))
        left = strays(session, reader, options)
    return make_plan(session, present, options), session, left


def _ask(auto_approve: bool) -> None:
    if auto_approve:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "apply asks before it sends, and there is no terminal to ask on",
            hint="review the plan, then add --auto-approve",
        )
    if not click.confirm("Send this?", err=True):
        raise ReconcilerError("not approved: nothing was sent")


def _refuse_implicit_state(session: Session, *, create: bool) -> None:
    """In CI a missing default state is more likely forgotten than meant: every run would be a first run."""
    if create or not os.environ.get("CI") or session.settings.origin("state").kind is not OriginKind.DEFAULT:
        return
    with open_reader(session.settings.state) as reader:
        if not reader.locations():
            raise UsageError(
                f"there is no state at the default {session.settings.state}, and in CI none is made unasked",
                hint="name the state with --state or in reconciler.yaml, or add --create-state for the first run",
            )


async def _send(
    approved: ApprovedPlan, session: Session, console: Console, options: Mapping[str, Any]
) -> tuple[LocationReport, ...]:
    locations = [each.location for each in approved.plan.locations]
    async with AsyncExitStack() as stack:
        apis = {each: await stack.enter_async_context(open_api(session, each)) for each in locations}
        store = stack.enter_context(open_store(session.settings.state))
        mission = Mission(
            desired=session.desired,
            options={
                each.location: options_of(each, approved.plan, session, options) for each in approved.plan.locations
            },
            holder=current_holder("apply"),
            commit=git_commit(session.directory),
            lock_timeout_ms=round(1000 * options["lock_timeout"]),
            history_keep=session.settings.history_keep,
        )
        return await apply(approved, mission, World(apis.__getitem__, store, SystemClock(), console))
