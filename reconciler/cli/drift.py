"""`reconciler drift`"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import drift_answer, tell
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, common, manifests, narrowing, output, refreshing
from reconciler.cli.session import look, open_session, selection
from reconciler.core.drift import DriftClass, find_drift
from reconciler.core.errors import ExitCode, UsageError
from reconciler.store import open_reader


@click.command(epilog="Example: reconciler drift --refresh search --fail-on missing,unexpected")
@manifests
@click.option("--fail-on", default="", metavar="CLASSES", help="Exit 2 where there is drift of these classes.")
@narrowing
@refreshing
@output(*FORMATS)
@common
def command(manifests: Path, fail_on: str, **options: Any) -> int:
    """Report what others changed.

    Read-only. Without --refresh it tells from what earlier runs were answered; with it, contacts are read first.
    """
    console = Console.of(options)
    classes = _classes(fail_on)
    session = open_session(manifests, options)
    with open_reader(session.settings.state) as reader:
        present = asyncio.run(look(session, reader, options, console))
    reports = [
        find_drift(
            session.desired[each.state.location],
            each.state.observed,
            serial=each.state.serial,
            earlier=each.earlier,
            selection=selection(session, options),
        )
        for each in present
    ]
    tell(drift_answer(reports), console, options)
    found = any(report.count(drift) for report in reports for drift in classes)
    return ExitCode.CHANGES if found else ExitCode.DONE


def _classes(text: str) -> list[DriftClass]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(DriftClass):
            raise UsageError(
                f"--fail-on: no drift class is named {name!r}", hint=f"the classes are {', '.join(DriftClass)}"
            )
    return [DriftClass(name) for name in names]
