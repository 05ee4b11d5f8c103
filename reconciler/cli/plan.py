"""`reconciler plan`"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.connecting import quota_notes
from reconciler.cli.console import Console
from reconciler.cli.first_run import beginning, refuse_missing_state
from reconciler.cli.locks import lock_notes
from reconciler.cli.looking import look, make_plan
from reconciler.cli.options import (
    FORMATS,
    allowing,
    batching,
    common,
    deferring,
    giving_again,
    manifests,
    narrowing,
    output,
    refreshing,
)
from reconciler.cli.report_file import reported
from reconciler.cli.session import Session, open_session, strays, warn_of_problems
from reconciler.cli.untrusted import refuse_unreviewed
from reconciler.core.model.errors import ExitCode
from reconciler.core.planning.plan import Plan
from reconciler.output.plan import PlanDocument
from reconciler.planfile import write_plan
from reconciler.store import open_reader


@click.command(epilog="Example: reconciler plan manifests/ --out plan.json")
@manifests
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Save the plan for apply.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where there are changes.")
@click.option("--explain-batches", is_flag=True, help="Show why no plan needs fewer requests.")
@beginning
@narrowing
@deferring
@giving_again
@refreshing
@allowing
@batching
@output(*FORMATS)
@reported
@common
def command(manifests: Path, out: Path | None, detailed_exitcode: bool, **options: Any) -> int:
    """Preview what would change, and what it costs.

    Reads the manifests below MANIFESTS (default: manifests) and what earlier runs observed. Writes nothing, takes no
    lease, and needs no token unless --refresh reads contacts first.
    """
    console = Console.of(options)
    session = open_session(manifests, options)
    refuse_unreviewed(session, options)
    refuse_missing_state(session.settings, session.desired, options)
    with open_reader(session.settings.state) as reader:
        present = asyncio.run(look(session, reader, options, console))
        left = [*lock_notes(session, reader), *strays(session, reader, options)]
    plan = make_plan(session, present, options)
    preview(plan, session, console, options, [*left, *(note for each in present for note in each.notes())])
    if out is not None:
        write_plan(plan, out)
        where = "" if manifests == Path("manifests") else f" --manifests {shlex.quote(str(manifests))}"
        console.note(
            f"saved: reconciler apply {shlex.quote(str(out))}{where} sends what of it is still called for then"
        )
    return exit_code(plan, detailed=detailed_exitcode)


def preview(
    plan: Plan, session: Session, console: Console, options: Mapping[str, Any], notes: Sequence[str] = ()
) -> None:
    """Shows the plan in the format asked for. `notes`: what else there is to say."""
    warn_of_problems(session, console)
    document = PlanDocument(
        plan,
        notes=[*session.notes(), *notes, *quota_notes(plan, session)],
        explain=options.get("explain_batches", False),
    )
    tell(document, console, options)


def exit_code(plan: Plan, *, detailed: bool) -> int:
    if plan.refused:
        return ExitCode.GUARD
    return ExitCode.CHANGES if detailed and not plan.is_settled else ExitCode.DONE
