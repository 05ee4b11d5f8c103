"""`reconciler show`"""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.console import print_document
from reconciler.cli.options import FORMATS, Invocation, OutputFormat, common, manifests_option, output
from reconciler.core.model.errors import PlanFileError
from reconciler.operations.runs import LAST, find_log
from reconciler.output.log import LogDocument
from reconciler.output.plan import PlanDocument
from reconciler.planfile import load_plan, no_plan_file

LONGEST = 12


@click.command(epilog="Example: reconciler show plan.json --all   or   reconciler show 3f0c9e1b2a4d")
@click.argument("what", metavar="PLAN | RUN")
@manifests_option
@output(*FORMATS)
@common
def command(what: str, manifests: Path, form: OutputFormat, invocation: Invocation) -> int:
    """Render a saved plan again, or tell what a run changed.

    PLAN is a file that `plan --out` wrote. RUN is an id that `history` lists, or `last`: per tag and per contact what
    became of it, who ran it, when, and from which change digest and commit.
    """
    console, workspace = invocation.console, invocation.workspace(manifests)
    if Path(what).is_file():
        plan = load_plan(Path(what))
        # a file is shown without valid manifests too: names are a courtesy
        workspace.find_names()
        print_document(PlanDocument(plan), console, form)
        return 0
    if not _is_run(what):
        raise _explain_neither(what)
    print_document(LogDocument(find_log(workspace, what)), console, form)
    return 0


def _explain_neither(what: str) -> PlanFileError:
    if Path(what).suffix and not Path(what).exists():
        return no_plan_file(Path(what), f"no plan file {what}")
    return PlanFileError(f"there is no plan {what}, and it is no run", hint="`reconciler history` lists the runs")


def _is_run(text: str) -> bool:
    return text == LAST or (0 < len(text) <= LONGEST and all(char in "0123456789abcdef" for char in text))
