"""`reconciler plan` and `drift`: what would change, and what others changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from reconciler.cli.command_record import find_record, print_error, run_to_end, set_notice
from reconciler.cli.console import Console
from reconciler.cli.options import (
    Invocation,
    common,
    create_state_option,
    list_setting_flags,
    manifests_argument,
    output,
)
from reconciler.cli.plan_flags import PlanFlags, drift_flags, plan_flags
from reconciler.cli.report_file import reported
from reconciler.core.model.errors import ExitCode, ReconcilerError, UsageError, worst_code
from reconciler.core.model.journal import UnknownLocation
from reconciler.core.model.names import LocationId
from reconciler.core.model.notice import Notice, begin_notice
from reconciler.core.model.safe_text import path_word
from reconciler.core.model.settings import DriftClass
from reconciler.core.planning.plan import Plan
from reconciler.operations.plan import LOOP_HINT, PlanResult, describe_errors, find_filter_loops, make_plan
from reconciler.operations.rollout import find_waiting
from reconciler.operations.stored_state import describe_leases
from reconciler.operations.unreviewed import refuse_unreviewed
from reconciler.operations.workspace import open_session
from reconciler.output.blocks import counted
from reconciler.output.plan import PlanDocument
from reconciler.planfile import begin_digest, write_plan


@click.command(epilog="Example: reconciler plan manifests/ --out plan.json")
@manifests_argument
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Save the plan for apply.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where there are changes.")
@click.option("--explain-batches", is_flag=True, help="Show pairs of which no two can share a request.")
@create_state_option
@plan_flags
@output()
@reported
@common
def plan_command(
    out: Path | None,
    detailed_exitcode: bool,
    explain_batches: bool,
    flags: PlanFlags,
    invocation: Invocation,
) -> int:
    """Preview what would change, and what it costs.

    Reads the manifests below MANIFESTS (default: manifests) and what earlier runs observed. Writes nothing, takes no
    lease, and needs no token unless --refresh reads contacts first.
    """
    request = flags.request()
    session = open_session(flags.override(invocation.workspace), flags.locations)
    # before anything is asked or run that a pull request's files name
    refuse_unreviewed(session, reads=request.reading.method is not None)
    planned = run_to_end(make_plan(session, request), waits=request.reading.method is not None)
    loops = find_filter_loops(planned)
    notes = [*describe_leases(planned.leases), *planned.notes, *describe_errors(loops | find_waiting(planned))]
    # under way while the plan is shown
    find_digest = str if out is None else begin_digest(planned.plan)
    preview(planned, invocation, notes, explain=explain_batches)
    # of the forms for programs only the exit code would tell
    if loops and invocation.form.kind != "text":
        invocation.console.warn(*describe_errors(loops), f"hint: {LOOP_HINT}")
    if out is not None:
        write_plan(planned.plan, out, find_digest=find_digest)
        words = [*flags.list_leave(), *list_setting_flags(invocation.workspace.overrides)]
        command = " ".join(["reconciler apply", path_word(out), *map(shlex.quote, words)])
        invocation.console.note(f"saved: `{command}` {_explain_saved(planned.plan)}")
    unknown = print_errors(planned.unknown, invocation.console)
    refused = [error.exit_code for error in loops.values()]
    return worst_code([find_exit_code(planned.plan, detailed=detailed_exitcode), *refused, *unknown])


def _explain_saved(plan: Plan) -> str:
    """What an apply of the saved plan does."""
    refused = sum(1 for location in plan.locations if location.refused)
    if refused and all(location.refused or location.is_empty for location in plan.locations):
        return "refuses it as this plan does"
    kept = f", and nothing to {counted(refused, 'location')} that guards refuse" if refused else ""
    return f"sends what of it is still called for then{kept}"


def print_errors(unknown: Mapping[LocationId, ReconcilerError], console: Console) -> list[int]:
    """Tells why locations are not known, below the board; the exit code of each."""
    console.progress.close()
    for location, error in unknown.items():
        error.reword(f"location {location} is not known: {error.message}")
    return [print_error(error, find_record()) for error in unknown.values()]


def preview(
    planned: PlanResult,
    invocation: Invocation,
    notes: Sequence[str] = (),
    *,
    explain: bool = False,
    is_last: bool = True,
) -> None:
    """Shows a plan, with notes on it, in the form that was asked for; `is_last`: whether it is the command's answer."""
    invocation.console.warn_of_problems(planned.session)
    lines = [*planned.session.list_timed_sets(), *notes, *planned.list_quota_notes()]
    undoes = next((reversal.run for reversal in planned.reversals.values()), "")
    document = PlanDocument(planned.plan, notes=lines, explain=explain, undoes=undoes)
    invocation.print_document(document, is_last=is_last)


def find_exit_code(plan: Plan, *, detailed: bool) -> int:
    if plan.refused:
        return ExitCode.GUARD
    return ExitCode.CHANGES if detailed and not plan.is_settled else ExitCode.DONE


@click.command(epilog="Example: reconciler drift --refresh auto --fail-on missing,unexpected,flapping --show foreign")
@manifests_argument
@click.option("--fail-on", default="", metavar="CLASSES", help="Exit 2 where there is drift of these classes.")
@click.option("--show", default="", metavar="CLASSES", help="Tell these classes too: foreign.")
@create_state_option
@drift_flags
@output()
@reported
@common
def drift_command(
    fail_on: str,
    show: str,
    flags: PlanFlags,
    invocation: Invocation,
) -> int:
    """Report what others changed, and what is pending.

    Read-only. Without --refresh it tells from what earlier runs were answered; with it, contacts are read first.
    --max-age names what is too old: it is stale, and --refresh reads nobody else.
    """
    # `plan` begins without them
    from reconciler.operations.drift import DriftRequest, find_drift
    from reconciler.output.drift import DriftDocument
    from reconciler.output.notice import make_drift_notice

    set_notice(Notice("drift"))
    failing, shown = parse_classes("--fail-on", fail_on), parse_classes("--show", show)
    session = open_session(invocation.workspace, flags.locations)
    set_notice(begin_notice("drift", session.in_order()))
    invocation.console.warn_of_problems(session)
    # before anything is asked or run that a pull request's files name
    refuse_unreviewed(session, reads=flags.refresh is not None)
    foreign = DriftClass.FOREIGN in (*failing, *shown)
    request = DriftRequest(flags.scope, flags.reading, foreign, flags.create_state)
    result = run_to_end(find_drift(session, request), waits=flags.refresh is not None)
    notes = [*describe_leases(result.leases), *result.notes, *result.explain_uncounted(failing)]
    unknown = UnknownLocation.list_from(result.unknown)
    set_notice(make_drift_notice(result.reports, unknown, failing))
    invocation.print_document(DriftDocument(result.reports, unknown, notes, session.now))
    codes = print_errors(result.unknown, invocation.console)
    return worst_code([ExitCode.CHANGES if result.has_any(failing) else ExitCode.DONE, *codes])


def parse_classes(option: str, text: str) -> list[DriftClass]:
    """The classes of drift that an option names; raises UsageError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(DriftClass):
            raise UsageError(
                f"{option}: no drift class is named {name!r}", hint=f"the classes are {', '.join(DriftClass)}"
            )
    return [DriftClass(name) for name in names]
