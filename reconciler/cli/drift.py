"""`reconciler drift`"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.console import Console
from reconciler.cli.first_run import beginning, refuse_missing_state
from reconciler.cli.locks import lock_notes
from reconciler.cli.looking import Present, look
from reconciler.cli.options import FORMATS, common, manifests, milliseconds, narrowing, output, refreshing
from reconciler.cli.report_file import reported
from reconciler.cli.session import Session, open_session, selection, strays, warn_of_problems
from reconciler.cli.untrusted import refuse_unreviewed
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.model.names import Instant
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import find_drift
from reconciler.core.observing.drift_report import DriftReport, Evidence, attribute_drift, mark_expected
from reconciler.output.drift import DriftDocument
from reconciler.ports import StateReader
from reconciler.store import open_reader


@click.command(epilog="Example: reconciler drift --refresh auto --fail-on missing,unexpected --show foreign")
@manifests
@click.option("--fail-on", default="", metavar="CLASSES", help="Exit 2 where there is drift of these classes.")
@click.option("--show", default="", metavar="CLASSES", help="Tell these classes too: foreign.")
@beginning
@narrowing
@refreshing
@output(*FORMATS)
@reported
@common
def command(manifests: Path, fail_on: str, show: str, **options: Any) -> int:
    """Report what others changed.

    Read-only. Without --refresh it tells from what earlier runs were answered; with it, contacts are read first.
    --max-age names what is too old: it is stale, and --refresh reads nobody else.
    """
    console = Console.of(options)
    failing, shown = _classes("--fail-on", fail_on), _classes("--show", show)
    session = open_session(manifests, options)
    warn_of_problems(session, console)
    refuse_unreviewed(session, options)
    refuse_missing_state(session.settings, session.desired, options)
    with open_reader(session.settings.state) as reader:
        present = asyncio.run(look(session, reader, options, console))
        foreign = DriftClass.FOREIGN in (*failing, *shown)
        reports = [_report(session, each, reader, options, foreign=foreign) for each in present]
        left = [*lock_notes(session, reader), *strays(session, reader, options)]
    tell(
        DriftDocument(reports, notes=[*left, *(note for each in present for note in each.unread_notes())]),
        console,
        options,
    )
    return ExitCode.CHANGES if _fails(reports, failing) else ExitCode.DONE


def _report(
    session: Session, present: Present, reader: StateReader, options: Mapping[str, Any], *, foreign: bool
) -> DriftReport:
    state, desired = present.state, session.desired[present.state.location]
    age = milliseconds("max-age", options.get("max_age"))
    found = find_drift(
        desired,
        state,
        earlier=present.earlier,
        evidence=Evidence(present.searched, present.gone, present.incomplete),
        selection=selection(session, options),
        now=session.now,
        stale_before=None if age is None else Instant(session.now - age),
        foreign=foreign,
    )
    told = attribute_drift(
        found,
        state.observed,
        present.earlier or {},
        reader.at(state.location).read_runs(),
        lambda run: tuple(map(state.spelling.spell_record, reader.at(state.location).read_batches(run))),
    )
    return mark_expected(told, session.settings.expected_drift, desired, now=session.now, spelling=state.spelling)


def _fails(reports: Iterable[DriftReport], failing: Iterable[DriftClass]) -> bool:
    return any(report.count(drift) for report in reports for drift in failing)


def _classes(option: str, text: str) -> list[DriftClass]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(DriftClass):
            raise UsageError(
                f"{option}: no drift class is named {name!r}", hint=f"the classes are {', '.join(DriftClass)}"
            )
    return [DriftClass(name) for name in names]
