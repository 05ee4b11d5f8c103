"""`reconciler apply` and `revert`: the commands that change tags, by one question and one run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import click

from reconciler.cli.command_record import set_notice
from reconciler.cli.complete import complete_run
from reconciler.cli.console import Console, read_line, stop_by_signals
from reconciler.cli.options import Invocation, common, create_state_option, group_options, locking, output
from reconciler.cli.plan import find_exit_code, preview
from reconciler.cli.plan_flags import PlanFlags, plan_flags, revert_flags
from reconciler.cli.report_file import reported
from reconciler.cli.streams import can_ask
from reconciler.core.model.errors import ReconcilerError, StalePlan, UsageError
from reconciler.core.model.lease import describe_lease
from reconciler.core.model.notice import Notice, begin_notice
from reconciler.core.model.safe_text import visible
from reconciler.core.running.stop_conditions import Canary
from reconciler.operations.apply import (
    ApplyRequest,
    ApplyResult,
    Judgement,
    apply_judged,
    judge_approval,
    judge_plan,
    refuse_missing_reason,
    refuse_odd_digest,
)
from reconciler.operations.plan import PlanResult, describe_errors, make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.runs import make_revert_plan
from reconciler.operations.saved_plan import remake_plan
from reconciler.operations.workspace import MANIFESTS, Workspace, open_session
from reconciler.output.notice import make_run_notice
from reconciler.output.plan import WORD, has_nothing_left, question
from reconciler.output.run import RunDocument
from reconciler.planfile import no_plan_file

RATES = ("error_rate", "surprise_rate")
NO_RATES: Mapping[str, float] = MappingProxyType({})


def _parse_number(text: str) -> float:
    """-1 where it is none."""
    return float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else -1.0


def _parse_canary(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Canary | None:
    if value is None:
        return None
    number, percent = value.removesuffix("%"), value.endswith("%")
    size = _parse_number(number)
    if not 0 < size <= (100 if percent else 1e9) or (not percent and size != int(size)):
        raise click.BadParameter(f"{value!r} is neither a number of contacts nor a share such as 5%")
    return Canary(size, percent)


def _parse_rates(_context: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, float]:
    rates = {}
    for part in value.split(",") if value else ():
        name, _, limit = part.strip().partition("=")
        share = _parse_number(limit.removesuffix("%"))
        if name not in RATES or not 0 <= share <= 100:
            raise click.BadParameter(f"{part.strip()!r} is none of {', '.join(f'{rate}=PERCENT' for rate in RATES)}")
        rates[name] = share
    return rates


def _make_request(
    *,
    lock_timeout_ms: int,
    spill: bool,
    wait: bool,
    fail_fast: bool = False,
    canary: Canary | None = None,
    stop_on: Mapping[str, float] = NO_RATES,
) -> ApplyRequest:
    return ApplyRequest(
        lock_timeout_ms=lock_timeout_ms,
        canary=canary,
        max_error_pct=stop_on.get("error_rate"),
        max_surprise_pct=stop_on.get("surprise_rate"),
        spill=spill,
        wait=wait,
        fail_fast=fail_fast,
    )


_sending = group_options(
    "sending",
    _make_request,
    ("canary", "stop_on", "fail_fast"),
    lock_timeout_ms=locking,
    spill=click.option(
        "--quota-spill",
        "spill",
        is_flag=True,
        help="Where today's quota does not suffice: send what fits, and wait for the next day to go on.",
    ),
    wait=click.option(
        "--wait",
        is_flag=True,
        help="Where tags are given slowly (pace, window): send what fits, and wait until the others may go.",
    ),
)
"""The flags of a run that sends."""
_dry_run = click.option("--dry-run", is_flag=True, help="Preview and send nothing.")
_auto_approve = click.option("--auto-approve", is_flag=True, help="Do not ask.")


@click.command(epilog="Example: reconciler apply plan.json   or   reconciler apply manifests/ --auto-approve")
@click.argument("target", type=click.Path(path_type=Path), default=MANIFESTS, metavar="[PLAN | MANIFESTS]")
@click.option(
    "--manifests",
    "named",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With PLAN: its manifests, whose settings and tokens are used. Needed where they are not in `manifests`.",
)
@_dry_run
@_auto_approve
@click.option(
    "--approved",
    multiple=True,
    metavar="DIGEST",
    help="Send without asking what has this change digest only, the plan or a location; repeatable.",
)
@create_state_option
@click.option(
    "--fail-fast", is_flag=True, help="Send nothing where one location is refused, and stop all where one fails."
)
@click.option(
    "--canary",
    callback=_parse_canary,
    metavar="N|N%",
    help="Begin with N contacts, then go on in steps, each ten times as large. After each a run stops where more than "
    "10 % of the rows end badly or 20 % of the contacts surprise us; --stop-on says otherwise.",
)
@click.option(
    "--stop-on",
    callback=_parse_rates,
    metavar="RATE=P[,RATE=P]",
    help="Stop where more than P percent end badly (error_rate), or surprise us (surprise_rate).",
)
@plan_flags
@_sending
@output()
@reported
@common
def apply_command(
    target: Path,
    named: Path | None,
    dry_run: bool,
    auto_approve: bool,
    approved: tuple[str, ...],
    flags: PlanFlags,
    sending: ApplyRequest,
    invocation: Invocation,
) -> int:
    """Send the fewest requests that do what was planned.

    With a directory of MANIFESTS (default: manifests): plan, preview, ask, apply. With a saved PLAN: plan anew, and
    send what is in both; the rest is listed. With --approved: plan anew, and send it if a reviewer approved these very
    changes. Needs the token of each location, by default in HIGHLEVEL_TOKEN. Where one location is refused, the others
    go on.
    """
    request = flags.request()
    if not dry_run:
        set_notice(Notice("apply"))
    refuse_missing_reason(request)
    # before planning: reading contacts may take long
    for digest in approved:
        refuse_odd_digest(digest, target)
    planned = _plan_target(target, named, flags.override(invocation.workspace), flags.locations, request)
    sending = replace(sending, approved=approved)
    if not dry_run:
        set_notice(begin_notice("apply", planned.session.in_order()))
    judgement = judge_approval(planned, sending)
    if isinstance(judgement.error, StalePlan):
        preview(planned, invocation, planned.notes, is_last=False)
        raise judgement.error
    _note_locks(planned, invocation.console, sending.lock_timeout_ms)
    if dry_run:
        _note_refusals(judgement, invocation.console)
        preview(planned, invocation, planned.notes)
        return judgement.exit_code
    # tokens before the preview: all that is missing is told with it
    judgement = asyncio.run(judge_plan(planned, sending))
    _note_refusals(judgement, invocation.console)
    # a file was previewed when it was saved
    reviewed = planned.proposal is not None and auto_approve
    if invocation.form.kind == "text" and not reviewed:
        preview(planned, invocation, planned.notes, is_last=False)
    else:
        for note in planned.notes:
            invocation.console.note(note)
    # a person is not asked about a plan that would be refused
    if judgement.error is not None:
        raise judgement.error
    if not (auto_approve or approved or judgement.approved.plan.is_empty):
        _ask(judgement, "apply")
    return _send(judgement, replace(sending, recovery_beside=target) if planned.proposal else sending, invocation)


def _note_refusals(judgement: Judgement, console: Console) -> None:
    """A line for each reason not to send to a location; none for the only one, whose refusal is the command's error."""
    if judgement.error is not None:
        return
    for line in describe_errors(judgement.refused):
        console.note(line)


def _plan_target(
    target: Path, named: Path | None, workspace: Workspace, locations: tuple[str, ...], request: PlanRequest
) -> PlanResult:
    """The plan of a directory, or of a plan file."""
    if target.is_file():
        workspace = replace(workspace, directory=named or MANIFESTS)
        return asyncio.run(remake_plan(workspace, target, request, locations=locations, is_default=named is None))
    if target.suffix and not target.exists():
        raise no_plan_file(target, f"no plan file {target}")
    workspace = replace(workspace, directory=_choose_directory(target, named))
    return asyncio.run(make_plan(open_session(workspace, locations), request))


def _choose_directory(target: Path, named: Path | None) -> Path:
    if named is None or target == named:
        return target
    if target != MANIFESTS:
        raise UsageError(
            f"{target} and --manifests {named} name two directories", hint="name the one whose manifests to apply"
        )
    return named


def _note_locks(planned: PlanResult, console: Console, lock_timeout_ms: int) -> None:
    """Notes the runs under way, before a preview that may be long."""
    then = "While it is, a run here is refused."
    if lock_timeout_ms:
        then = f"This run will wait for it, at most {lock_timeout_ms / 1000:g} s."
    for lease in planned.leases:
        console.note(f"{describe_lease(lease)}. {then}")


def _ask(judgement: Judgement, command: str) -> None:
    """Goes on only where a person types the word."""
    # a job would wait for ever
    if not can_ask():
        raise UsageError(
            f"{command} asks before it sends, and there is no terminal to ask on",
            hint="review the plan, then add --auto-approve",
        )
    names, plan = judgement.planned.session.settings.names(), judgement.approved.plan
    click.echo(visible(question(plan, names, refused=sorted(judgement.refused))), nl=False, err=True)
    if read_line().strip().lower() != WORD:
        raise ReconcilerError("not approved: nothing was sent", hint=f"only the word {WORD} approves")


def _send(judgement: Judgement, request: ApplyRequest, invocation: Invocation) -> int:
    """Carries a plan out and answers with its report; returns the exit code."""
    result = asyncio.run(_apply_until_signal(judgement, request, invocation.console))
    set_notice(make_run_notice(request.operation.partition(" ")[0], result.reports))
    invocation.print_document(RunDocument(result.reports))
    return result.exit_code


async def _apply_until_signal(judgement: Judgement, request: ApplyRequest, console: Console) -> ApplyResult:
    with stop_by_signals(console) as stop:
        return await apply_judged(judgement, replace(request, stop=stop))


@click.command(epilog="Example: reconciler revert 3f0c9e1b2a4d --dry-run")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    default=MANIFESTS,
    metavar="DIR",
    help="What is demanded now.  [default: manifests]",
)
@_dry_run
@_auto_approve
@revert_flags
@_sending
@output()
@reported
@common
def revert_command(
    run: str,
    dry_run: bool,
    auto_approve: bool,
    flags: PlanFlags,
    sending: ApplyRequest,
    invocation: Invocation,
) -> int:
    """Undo what a run changed.

    The exact inverse of what RUN (an id that `history` lists, or `last`) really changed and nobody changed since,
    through the same guards, preview and approval as apply. What RUN put under management without changing it is
    nobody's again. What the manifests still demand is left out and listed: revert the commit first. Automations that a
    tag started are not called back.
    """
    console = invocation.console
    if not dry_run:
        set_notice(Notice("revert"))
    planned = asyncio.run(make_revert_plan(invocation.workspace, run, flags.request()))
    if not dry_run:
        set_notice(begin_notice("revert", planned.session.in_order()))
    for note in planned.notes:
        console.note(note)
    _note_locks(planned, console, sending.lock_timeout_ms)
    if invocation.form.kind == "text" or dry_run:
        preview(planned, invocation, is_last=dry_run)
    if dry_run:
        return find_exit_code(planned.plan, detailed=False)
    (reversal,) = planned.reversals.values()
    sending = replace(sending, operation=f"revert {reversal.run}")
    judgement = asyncio.run(judge_plan(planned, sending))
    # a person is not asked about a plan that would be refused
    if judgement.error is not None:
        raise judgement.error
    if planned.plan.is_empty:
        if all(map(has_nothing_left, planned.plan.locations)):
            console.note(f"nothing of run {reversal.run} is left to undo")
    elif not auto_approve:
        _ask(judgement, "revert")
    return _send(judgement, sending, invocation)
