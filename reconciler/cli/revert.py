"""`reconciler revert`"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from reconciler.cli.apply import ask, note_locks, run_apply
from reconciler.cli.options import FORMATS, Invocation, OutputFormat, common, locking, output, spilling
from reconciler.cli.plan import find_exit_code, preview
from reconciler.cli.plan_flags import PlanFlags, revert_flags
from reconciler.cli.report_file import reported
from reconciler.core.planning.guard_sentences import approve
from reconciler.operations.apply import ApplyRequest
from reconciler.operations.runs import make_revert_plan
from reconciler.operations.workspace import MANIFESTS


@click.command(epilog="Example: reconciler revert 3f0c9e1b2a4d --dry-run")
@click.argument("run", metavar="RUN")
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    default=MANIFESTS,
    metavar="DIR",
    help="What is demanded now.  [default: manifests]",
)
@click.option("--dry-run", is_flag=True, help="Preview and send nothing.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@revert_flags
@locking
@spilling
@output(*FORMATS)
@reported
@common
def command(
    run: str,
    manifests: Path,
    dry_run: bool,
    auto_approve: bool,
    flags: PlanFlags,
    lock_timeout_ms: int,
    quota_spill: bool,
    form: OutputFormat,
    invocation: Invocation,
) -> int:
    """Undo what a run changed.

    The exact inverse of what RUN (an id that `history` lists, or `last`) really changed and nobody changed since,
    through the same guards, preview and approval as apply. What RUN put under management without changing it is
    nobody's again. What the manifests still demand is left out and listed: revert the commit first. Automations that a
    tag started are not called back.
    """
    console = invocation.console
    planned = asyncio.run(make_revert_plan(invocation.workspace(manifests), run, flags.request()))
    for note in planned.notes:
        console.note(note)
    note_locks(planned, console, lock_timeout_ms)
    if form.kind == "text" or dry_run:
        preview(planned, console, form)
    if dry_run:
        return find_exit_code(planned.plan, detailed=False)
    # guards first: a person is not asked about a plan that would be refused
    approve(planned.plan)
    (reversal,) = planned.reversals.values()
    if planned.plan.is_empty:
        console.note(f"nothing of run {reversal.run} is left to undo")
    elif not auto_approve:
        ask(planned)
    request = ApplyRequest(f"revert {reversal.run}", lock_timeout_ms=lock_timeout_ms, spill=quota_spill)
    return run_apply(planned, request, console, form)
