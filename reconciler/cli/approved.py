"""`apply --approved CHANGE_DIGEST`: what a reviewer approved, held against what there is to do now.

Rules
1. A digest covers one set of changes: the very same, or nothing is sent. What was approved cannot be told from it.
2. Where nothing is left to do, there is nothing that needed approval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.cli.console import Console
from reconciler.cli.plan import preview
from reconciler.cli.session import Session
from reconciler.core.model.errors import StalePlan, UsageError
from reconciler.core.model.journal import RunStatus
from reconciler.core.planning.plan import Plan
from reconciler.ports import StateReader
from reconciler.store import open_reader

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def refuse_odd_approval(digest: str, target: Path) -> None:
    """A plan file proves nothing: whoever can write it can write what it claims to be."""
    if target.is_file():
        raise UsageError(
            "--approved does not go with a plan file: it plans anew",
            hint="name the directory of manifests; a file of your own is applied without --approved",
        )
    if not _DIGEST.fullmatch(digest):
        raise UsageError(
            f"--approved {digest[:80]!r} is no change digest", hint="plan prints it: sha256: and 64 hexadecimal digits"
        )


def refuse_unapproved(
    digest: str, plan: Plan, session: Session, console: Console, options: Mapping[str, Any], notes: Sequence[str]
) -> None:
    """Shows what there is to do now and raises StalePlan where it is not what was approved."""
    if plan.is_empty or plan.change_digest == digest:
        return
    preview(plan, session, console, options, notes)
    with open_reader(session.settings.state) as reader:
        hint = _what_became_of(digest, plan, reader)
    raise StalePlan(
        f"what there is to do now has the change digest {plan.change_digest}, approved was {digest}: nothing was sent",
        hint=hint,
    )


def _what_became_of(digest: str, plan: Plan, reader: StateReader) -> str:
    runs = [
        run
        for each in plan.locations
        for run in reader.at(each.location).read_runs()
        if run.header.change_digest == digest
    ]
    if not runs:
        return "manifests or state have moved since it was approved: review what is to do now, and approve that"
    last = max(runs, key=lambda run: run.header.started)
    did = "carried it out" if last.status is RunStatus.COMPLETE else "did a part of it"
    return f"run {last.id} {did}: review what is left, and approve that"
