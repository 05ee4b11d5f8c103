"""From an approved plan to what a person is told of the run: what `apply` and `revert` share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from reconciler.apply import ApplyOptions, Services, apply
from reconciler.cli import answers
from reconciler.cli.command_record import command_record
from reconciler.cli.connecting import arguments_of, token_held_in
from reconciler.cli.console import Console
from reconciler.cli.halting import stop_on, stopping
from reconciler.cli.session import Session, plan_options
from reconciler.cli.signals import next_line
from reconciler.clock import SystemClock
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.journal import LocationReport, exit_code
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import called
from reconciler.core.model.safe_text import visible
from reconciler.core.planning.approved_scope import Proposal
from reconciler.core.planning.guard_sentences import ApprovedPlan
from reconciler.core.planning.plan import LocationPlan, Plan, PlanOptions
from reconciler.core.planning.reversal import Reversal
from reconciler.core.running.doubt import may_have_work
from reconciler.highlevel.client import HighLevel
from reconciler.journalled_run import RecoveryJournal
from reconciler.operations.identity import current_holder, git_commit
from reconciler.output.plan_sentences import WORD, question
from reconciler.output.run import RunDocument
from reconciler.store import open_store


def open_api(session: Session, location: LocationId) -> HighLevel:
    """The API of a location, to read and to write; raises AuthRefused without a token."""
    pace = session.pace(location)
    return HighLevel(session.settings.api.base_url, **arguments_of(session.settings, location, pace))


def ask(plan: Plan, session: Session) -> None:
    """Goes on only where somebody types the word."""
    if not sys.stdin.isatty():
        raise UsageError(
            "apply asks before it sends, and there is no terminal to ask on",
            hint="review the plan, then add --auto-approve",
        )
    click.echo(visible(question(plan, session.settings.names())), nl=False, err=True)
    if next_line().strip().lower() != WORD:
        raise ReconcilerError("not approved: nothing was sent", hint=f"only the word {WORD} approves")


async def send(
    approved: ApprovedPlan,
    session: Session,
    console: Console,
    options: Mapping[str, Any],
    *,
    operation: str,
    reversals: Mapping[LocationId, Reversal] | None = None,
    plan: Path = Path("reconciler"),
    proposal: Proposal | None = None,
) -> tuple[LocationReport, ...]:
    """Carries it out. `plan`: the file beside which an emergency journal would be written. `proposal`: what is in that
    file, where it is a plan file."""
    settings = session.settings
    # where nothing but the sizes of sets is recorded, no token is needed
    locations = [each.location for each in approved.plan.locations if may_have_work(each)]
    async with AsyncExitStack() as stack:
        apis = {each: await stack.enter_async_context(open_api(session, each)) for each in locations}
        store = stack.enter_context(open_store(settings.state))
        stop = stack.enter_context(stopping(console))
        mission = ApplyOptions(
            desired=session.desired,
            options={
                each.location: _options_of(each, approved.plan, session, options) for each in approved.plan.locations
            },
            holder=current_holder(operation),
            commit=git_commit(session.directory),
            reversals=reversals or {},
            lock_timeout_ms=round(1000 * options["lock_timeout"]),
            history_keep=settings.history_keep,
            in_flight=settings.apply.max_in_flight,
            stop_on=stop_on(settings.apply, options),
            canary=options.get("canary"),
            spill=options["quota_spill"],
            proposal=proposal,
        )

        def token_called(location: LocationId) -> str:
            return called(token_held_in(settings, location))

        api, journal = apis.__getitem__, RecoveryJournal(plan)
        world = Services(
            api, store, SystemClock(), console, journal, reader=api, pace=session.pace, stop=stop, token=token_called
        )
        command_record().sends = bool(locations)
        return await apply(approved, mission, world)


def _options_of(location: LocationPlan, plan: Plan, session: Session, options: Mapping[str, Any]) -> PlanOptions:
    """As the plan was made: narrowed alike, with what was looked for and who was not there."""
    now = plan_options(session, location.location, options)
    return replace(now, selection=plan.selection, searched=location.searched, gone=location.gone)


def tell(reports: Sequence[LocationReport], console: Console, options: Mapping[str, Any]) -> int:
    """The answer of a run; its exit code."""
    answers.tell(RunDocument(reports), console, options)
    return exit_code(reports)
