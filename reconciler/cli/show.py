"""`reconciler show`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, common, output
from reconciler.cli.whose import learn_names_of, settings_of, whose_state
from reconciler.core.model.errors import PlanFileError
from reconciler.operations.runs import LAST, find_run, read_log
from reconciler.output.log import LogDocument
from reconciler.output.plan import PlanDocument
from reconciler.planfile import load_plan, no_plan_file
from reconciler.store import open_reader

LONGEST = 12


@click.command(epilog="Example: reconciler show plan.json --all   or   reconciler show 3f0c9e1b2a4d")
@click.argument("what", metavar="PLAN | RUN")
@whose_state
@output(*FORMATS)
@common
def command(what: str, manifests: Path, **options: Any) -> int:
    """Render a saved plan again, or tell what a run changed.

    PLAN is a file that `plan --out` wrote. RUN is an id that `history` lists, or `last`: per tag and per contact what
    became of it, who ran it, when, and from which change digest and commit.
    """
    console = Console.of(options)
    if not Path(what).is_file() and not _is_run(what):
        raise _neither(what)
    if Path(what).is_file():
        saved = load_plan(Path(what))
        learn_names_of(manifests, options)
        tell(PlanDocument(saved), console, options)
        return 0
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        log = read_log(reader, find_run(reader, what))
    tell(LogDocument(log), console, options)
    return 0


def _neither(what: str) -> PlanFileError:
    if Path(what).suffix and not Path(what).exists():
        return no_plan_file(Path(what), f"no plan file {what}")
    return PlanFileError(f"there is no plan {what}, and it is no run", hint="`reconciler history` lists the runs")


def _is_run(text: str) -> bool:
    return text == LAST or (0 < len(text) <= LONGEST and all(char in "0123456789abcdef" for char in text))
