"""`reconciler state recover`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.state.working import locked
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.formats.recovery_file import UnrecordedAnswers, is_open
from reconciler.core.model.errors import StateError
from reconciler.journalled_run import HeldLease, load_unrecorded
from reconciler.output.blocks import counted
from reconciler.ports import LocationStore
from reconciler.store import open_store

OPERATION = "state recover"


@click.command("recover", epilog="Example: reconciler state recover plan.json.emergency-3f0c9e1b2a4d-7.json")
@click.argument("files", type=click.Path(path_type=Path), metavar="FILE...", nargs=-1, required=True)
@whose_state
@locking
@common
def command(files: tuple[Path, ...], manifests: Path, **options: Any) -> int:
    """Write down what a run learnt when the state could not be written.

    Each FILE is an emergency journal that the run named. Possible until the next run begins; after that, what is in
    doubt is settled by `--refresh get`.
    """
    console = Console.of(options)
    every_lost = [load_unrecorded(file) for file in files]
    with open_store(settings_of(manifests, options).state) as store:
        for lost in every_lost:
            with locked(store, lost.location, operation=OPERATION, console=console, options=options) as held:
                _take_in(lost, held)
            console.answer(f"run {lost.run}: recorded the answer of {counted(len(lost.verdicts), 'contact')}\n")
    return 0


def _take_in(lost: UnrecordedAnswers, held: HeldLease) -> None:
    _refuse_what_is_over(held.store, lost)
    if lost.had_no_effect:
        held.store.withdraw_batch(held.lease, lost.number, lost.learnt, lost.answered)
    else:
        held.store.record_answer(held.lease, lost.number, lost.verdicts, lost.learnt, lost.answered)


def _refuse_what_is_over(store: LocationStore, lost: UnrecordedAnswers) -> None:
    runs = store.read_runs()
    same = store.load_state().lineage == lost.lineage
    if not same or not is_open(lost, runs[-1] if runs else None, tuple(store.read_batches(lost.run))):
        raise StateError(
            f"the state does not wait for this answer of run {lost.run}: it has it, or a later run has begun",
            hint="plan with --refresh get to settle what is in doubt",
        )
