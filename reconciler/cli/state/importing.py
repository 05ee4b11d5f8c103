"""`reconciler state import`"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.state.working import journalled, locked
from reconciler.cli.whose import settings_of, whose_state
from reconciler.clock import SystemClock
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import Instant, parse_instant
from reconciler.core.observing.refresh_rules import record_observations
from reconciler.loading.export_files import Exported, read_export
from reconciler.operations.git import GitRefused
from reconciler.operations.git_revision import committed_at
from reconciler.output.blocks import counted, moment
from reconciler.store import open_store

OPERATION = "state import"


@click.command("import", epilog="Example: reconciler state import contacts.csv --location asdrwHvLUxlfw5SqKVCN")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--location", required=True, metavar="L", help="The contacts' location, by id or name.")
@click.option(
    "--observed-at",
    default="",
    metavar="TIME",
    help="When FILE was exported.  [default: its commit, or its last change]",
)
@whose_state
@locking
@common
def command(file: Path, location: str, observed_at: str, manifests: Path, **options: Any) -> int:
    """Learn what contacts carry from an export, without asking the API: adopt a location without a write.

    FILE is a CSV export with the columns contact_id (or Contact Id, id) and tags, or a JSON dump of search rows. What
    is known from later is kept. The next plan adopts what is declared and there already.

    Without --observed-at a file that Git tracks is of the time of its commit, since a checkout makes every file new;
    where that cannot be told (changed since, a shallow clone) the time has to be given.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    now = SystemClock().now()
    at = _given(observed_at, now) if observed_at else _found(file, now, console)
    place = settings.find_location(location)
    exported = read_export(file, place)
    seen = [
        ObservedContacts(tags, at, ObservationOrigin.IMPORT, contacts) for tags, contacts in exported.contacts.items()
    ]
    with (
        open_store(settings.state) as store,
        locked(store, place, operation=OPERATION, console=console, options=options) as held,
        journalled(held, OPERATION),
    ):
        state = held.store.load_state()
        spelt = tuple(map(state.spelling.spell_observed, seen))
        changed = record_observations(state.observed, spelt, settle_ms=settings.api.settle_s * 1000)
        held.store.save_states(held.lease, changed)
    _tell(exported, len(changed), at, console)
    return 0


def _tell(exported: Exported, learnt: int, at: Instant, console: Console) -> None:
    total = sum(map(len, exported.contacts.values()))
    if exported.elsewhere:
        console.note(f"left out {counted(exported.elsewhere, 'contact')} of other locations")
    if exported.without_tags:
        console.note(f"left out {counted(exported.without_tags, 'row')} that do not tell the tags")
    if total > learnt:
        console.note(f"kept what is known from later, or the same, of {counted(total - learnt, 'contact')}")
    console.answer(f"learnt the tags of {counted(learnt, 'contact')} as of {moment(at)}\n")


def _given(text: str, now: Instant) -> Instant:
    """The time given; never one that is yet to come."""
    try:
        at = parse_instant(text if "T" in text else f"{text}T00:00:00Z")
    except (ValueError, OverflowError) as error:
        today = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise UsageError(f"--observed-at {text!r} is no time", hint=f"write it like {today}") from error
    if at > now:
        raise UsageError(f"--observed-at {text} is yet to come", hint="say when the file was exported")
    return at


def _found(file: Path, now: Instant, console: Console) -> Instant:
    """The time of the file's commit, of its last change where Git does not track it; at most now."""
    if not file.is_file():
        return now
    try:
        committed = committed_at(file)
    except GitRefused as error:
        hint = "say when the file was exported: --observed-at TIME"
        raise UsageError(error.message, hint=f"{hint}; or {error.hint}" if error.hint else hint) from None
    if committed is None:
        return min(Instant(file.stat().st_mtime_ns // 1_000_000), now)
    console.note(f"{file} is as it was committed: its tags are of that time, or earlier (--observed-at tells when)")
    return min(committed, now)
