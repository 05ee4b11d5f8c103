"""`reconciler show`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console, rows
from reconciler.cli.options import FORMATS, common, output
from reconciler.core.view.plan import plan_view
from reconciler.planfile import load_plan
from reconciler.render.json import plan_json


@click.command(epilog="Example: reconciler show plan.json --all")
@click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN")
@output(*FORMATS)
@common
def command(plan: Path, output: str, whole: bool, **options: Any) -> int:
    """Render a saved plan again, in any format."""
    console = Console.of(options)
    saved = load_plan(plan)
    if output == "json":
        console.answer(plan_json(saved))
    else:
        console.show(plan_view(saved, most=rows(whole)))
    return 0
