"""`reconciler apply`"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from reconciler.cli.approved import refuse_odd_approval, refuse_unapproved
from reconciler.cli.connecting import refuse_over_quota
from reconciler.cli.console import Console
from reconciler.cli.first_run import beginning, refuse_missing_state
from reconciler.cli.halting import CANARY, STOP_ON
from reconciler.cli.locks import tell_locks
from reconciler.cli.looking import look, make_plan
from reconciler.cli.options import (
    FORMATS,
    allowing,
    batching,
    common,
    deferring,
    giving_again,
    locking,
    narrowing,
    output,
    refreshing,
    spilling,
)
from reconciler.cli.plan import preview
from reconciler.cli.report_file import reported
from reconciler.cli.saved import open_saved
from reconciler.cli.sending import ask, send, tell
from reconciler.cli.session import Session, open_session, strays
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.planning.approved_scope import NO_DIFFERENCE, Proposal
from reconciler.core.planning.guard_sentences import approve
from reconciler.core.planning.plan import Plan
from reconciler.core.running.doubt import may_have_work
from reconciler.core.running.shortfalls import report_nothing_sent
from reconciler.planfile import no_plan_file
from reconciler.store import open_reader

MANIFESTS = Path("manifests")
_Made = tuple[Plan, Session, list[str], Proposal | None, dict[str, Any]]


@click.command(epilog="Example: reconciler apply plan.json   or   reconciler apply manifests/ --auto-approve")
@click.argument("target", type=click.Path(path_type=Path), default=MANIFESTS, metavar="[PLAN | MANIFESTS]")
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With PLAN: its manifests, whose settings and tokens are used. Needed where they are not in `manifests`.",
)
@click.option("--dry-run", is_flag=True, help="Preview and send nothing.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--approved", default="", metavar="DIGEST", help="Send without asking what has this change digest only.")
@beginning
@CANARY
@STOP_ON
@narrowing
@deferring
@giving_again
@refreshing
@allowing
@batching
@locking
@spilling
@output(*FORMATS)
@reported
@common
def command(
    target: Path, manifests: Path | None, dry_run: bool, auto_approve: bool, approved: str, **options: Any
) -> int:
    """Send the fewest requests that do what was planned.

    With a directory of MANIFESTS (default: manifests): plan, preview, ask, apply. With a saved PLAN: plan anew, and
    send what is in both; the rest is listed. With --approved: plan anew, and send it if a reviewer approved these very
    changes. Needs the token of each location, by default in HIGHLEVEL_TOKEN.
    """
    console = Console.of(options)
    _refuse_without_reason(options)
    if approved:
        refuse_odd_approval(approved, target)
    plan, session, left, proposal, options = _plan(target, manifests, console, options)
    if approved:
        refuse_unapproved(approved, plan, session, console, options, left)
    tell_locks(plan, session, console, options)
    if dry_run:
        preview(plan, session, console, options, left)
        return ExitCode.GUARD if plan.refused else ExitCode.DONE
    reviewed = proposal is not None and auto_approve
    if options["output"] == "text" and not reviewed:
        preview(plan, session, console, options, left)
    else:
        for note in left:
            console.note(note)
    fit = approve(plan)
    if not _has_work(plan, proposal):
        rests = proposal.rests if proposal else {}
        reports = tuple(
            replace(report_nothing_sent(each), outside=rests.get(each.location, NO_DIFFERENCE).lacking)
            for each in plan.locations
        )
    else:
        if not (auto_approve or approved or plan.is_empty):
            ask(plan, session)
        refuse_over_quota(plan, session, options)
        beside = target if proposal else Path("reconciler")
        sending = send(fit, session, console, options, operation="apply", plan=beside, proposal=proposal)
        reports = asyncio.run(sending)
    return tell(reports, console, options)


def _has_work(plan: Plan, proposal: Proposal | None) -> bool:
    """Something to send, to record or to settle; of a plan file, to tell what became of it."""
    proposed = proposal.plan.locations if proposal else ()
    return any(may_have_work(each) or each.sizes_moved for each in (*plan.locations, *proposed))


def _refuse_without_reason(options: Mapping[str, Any]) -> None:
    if options["again"] and not options["reason"]:
        raise UsageError("--again needs a reason", hint='add --reason "why this is meant"; it goes into the journal')


def _plan(target: Path, manifests: Path | None, console: Console, options: dict[str, Any]) -> _Made:
    """The plan, the manifests as they are now, what else there is to say, the plan file, the options that hold."""
    if target.is_file():
        saved = open_saved(target, manifests, options, console)
        return saved.plan, saved.session, list(saved.notes), saved.proposal, saved.options
    if target.suffix and not target.exists():
        raise no_plan_file(target, f"no plan file {target}")
    session = open_session(_directory(target, manifests), options)
    refuse_missing_state(session.settings, session.desired, options)
    with open_reader(session.settings.state) as reader:
        present = asyncio.run(look(session, reader, options, console))
        left = strays(session, reader, options)
    notes = [note for each in present for note in each.notes()]
    return make_plan(session, present, options), session, [*left, *notes], None, options


def _directory(target: Path, manifests: Path | None) -> Path:
    if manifests is None or target == manifests:
        return target
    if target != MANIFESTS:
        raise UsageError(
            f"{target} and --manifests {manifests} name two directories", hint="name the one whose manifests to apply"
        )
    return manifests
