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
from reconciler.core.errors import UsageError
from reconciler.core.names import Instant, LocationId, instant
from reconciler.core.observed import Origin, Seen
from reconciler.core.refreshing import take_in
from reconciler.core.view.blocks import counted, moment
from reconciler.loading.export import Exported, read_export
from reconciler.store import open_store

OPERATION = "state import"


@click.command("import", epilog="Example: reconciler state import contacts.csv --location asdrwHvLUxlfw5SqKVCN")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--location", required=True, metavar="L", help="The contacts' location.")
@click.option("--observed-at", default="", metavar="TIME", help="When FILE was exported.  [default: its last change]")
@whose_state
@locking
@common
def command(file: Path, location: str, observed_at: str, manifests: Path, **options: Any) -> int:
    """Learn what contacts carry from an export, without asking the API: adopt a location without a write.

    FILE is a CSV export with the columns contact_id (or Contact Id, id) and tags, or a JSON dump of search rows. What
    is known from later is kept. The next plan adopts what is declared and there already.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    now = SystemClock().now()
    at = _observed_at(observed_at, file, now)
    place = LocationId(location)
    exported = read_export(file, place)
    seen = [Seen(tags, at, Origin.IMPORT, contacts) for tags, contacts in exported.contacts.items()]
    with (
        open_store(settings.state) as store,
        locked(store, place, operation=OPERATION, console=console, options=options) as hands,
        journalled(hands, OPERATION),
    ):
        state = store.load(place)
        spelt = tuple(map(state.spelling.seen, seen))
        changed = take_in(state.observed, spelt, settle_ms=settings.api.settle_s * 1000)
        store.learn(hands.lease, changed)
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


def _observed_at(text: str, file: Path, now: Instant) -> Instant:
    """The time given, else that of the file; never one that is yet to come."""
    if not text:
        changed = Instant(file.stat().st_mtime_ns // 1_000_000) if file.exists() else now
        return min(changed, now)
    try:
        at = instant(text if "T" in text else f"{text}T00:00:00Z")
    except (ValueError, OverflowError) as error:
        today = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise UsageError(f"--observed-at {text!r} is no time", hint=f"write it like {today}") from error
    if at > now:
        raise UsageError(f"--observed-at {text} is yet to come", hint="say when the file was exported")
    return at
