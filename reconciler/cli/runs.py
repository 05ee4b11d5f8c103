"""`reconciler history` and `show`: the runs of the journal, and a saved plan once more."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import Invocation, common, locations_option, manifests_option, output
from reconciler.core.model.errors import PlanFileError
from reconciler.core.model.safe_text import redacted
from reconciler.operations.runs import LAST, find_log, list_history
from reconciler.output.history import HistoryDocument
from reconciler.output.log import LogDocument
from reconciler.output.plan import PlanDocument
from reconciler.planfile import load_plan, no_plan_file


@click.command(epilog="Example: reconciler history   then   reconciler show 3f0c9e1b2a4d")
@locations_option
@manifests_option
@output()
@common
def history_command(locations: tuple[str, ...], invocation: Invocation) -> int:
    """List what was run: when, by whom, how it ended.

    `show RUN` tells what a run changed, `revert RUN` undoes it, as far as its rows are kept (history_keep).
    """
    console = invocation.console
    # only a page draws
    result = list_history(invocation.workspace, locations, with_trends=invocation.form.kind == "html")
    invocation.print_document(HistoryDocument(result.runs, result.trends))
    if not any(result.runs.values()):
        console.note(f"no run yet in {redacted(result.state)}")
    return 0


LONGEST = 12


@click.command(epilog="Example: reconciler show plan.json --all   or   reconciler show 3f0c9e1b2a4d")
@click.argument("what", metavar="PLAN | RUN")
@manifests_option
@output()
@common
def show_command(what: str, invocation: Invocation) -> int:
    """Render a saved plan again, or tell what a run changed.

    PLAN is a file that `plan --out` wrote. RUN is an id that `history` lists, or `last`: per tag and per contact what
    became of it, who ran it, when, and from which change digest and commit.
    """
    if Path(what).is_file():
        plan = load_plan(Path(what))
        # a file is shown without valid manifests too: names are a courtesy
        invocation.workspace.find_names()
        invocation.print_document(PlanDocument(plan))
        return 0
    if not _is_run(what):
        raise _explain_neither(what)
    invocation.print_document(LogDocument(find_log(invocation.workspace, what)))
    return 0


def _explain_neither(what: str) -> PlanFileError:
    if Path(what).suffix and not Path(what).exists():
        return no_plan_file(Path(what), f"no plan file {what}")
    return PlanFileError(f"there is no plan {what}, and it is no run", hint="`reconciler history` lists the runs")


def _is_run(text: str) -> bool:
    return text == LAST or (0 < len(text) <= LONGEST and all(char in "0123456789abcdef" for char in text))
