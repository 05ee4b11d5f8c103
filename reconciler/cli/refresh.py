"""`reconciler refresh`"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console, rows
from reconciler.cli.holder import current_holder
from reconciler.cli.looking import concerned, read, wanted_of
from reconciler.cli.options import FORMATS, REFRESHES, common, locking, manifests, max_age, narrowed, output
from reconciler.cli.session import Session, load_pinned, open_session, selection, settle_ms_of
from reconciler.clock import SystemClock
from reconciler.core.errors import ExitCode, StateError
from reconciler.core.journal import RunHeader, RunStatus
from reconciler.core.names import ContactId, Instant, LocationId
from reconciler.core.observed import Known, Seen
from reconciler.core.plan import Snapshot
from reconciler.core.refreshing import Found, Refreshed, Wanted
from reconciler.core.view.refresh import refresh_view
from reconciler.ports import StateStore
from reconciler.render.json import refresh_json
from reconciler.store import open_store
from reconciler.tenure import Tenure, take

OPERATION = "refresh"


@click.command(epilog="Example: reconciler refresh manifests/ --method search --max-age 24h")
@manifests
@click.option(
    "--method",
    "refresh",
    type=click.Choice(REFRESHES),
    default="auto",
    show_default=True,
    help="get, one request a contact; search, 500 a request, a few minutes old; auto, the cheaper one.",
)
@max_age
@narrowed
@locking
@output(*FORMATS)
@common
def command(manifests: Path, **options: Any) -> int:
    """Read what contacts carry now, and store it.

    Reads the declared contacts and those that are still managed, and the holders of exclusive tags. Changes no
    contact. Whatever was read is kept when it is interrupted: with --max-age the next one goes on from there.
    """
    console = Console.of(options)
    session = open_session(manifests, options)
    with open_store(session.settings.state) as store:
        reports = [asyncio.run(_refresh(session, store, each, console, options)) for each in session.desired]
    if options["output"] == "json":
        console.answer(refresh_json(reports))
    else:
        console.show(refresh_view(reports, most=rows(options["whole"])))
    return ExitCode.DONE


async def _refresh(
    session: Session, store: StateStore, location: LocationId, console: Console, options: Mapping[str, Any]
) -> Refreshed:
    tenure = await take(
        location,
        current_holder(OPERATION),
        store=store,
        clock=SystemClock(),
        report=console,
        lock_timeout_ms=round(1000 * options["lock_timeout"]),
    )
    try:
        state = load_pinned(session, store, location)
        wanted = wanted_of(session, state, options)
        if not wanted.contacts and not wanted.exclusive:
            return Refreshed(location, "", 0, 0, None, {}, "")
        diary = _Diary(tenure, state, settle_ms_of(session.settings))
        found, run = await _journalled(session, wanted, diary, console)
        declared = concerned(session.desired[location], state, selection(session, options))
        gone = found.unreachable(declared, state.observed)
        return Refreshed(location, run, diary.read, diary.changed, diary.since, gone, found.incomplete)
    finally:
        tenure.release()


async def _journalled(session: Session, wanted: Wanted, diary: _Diary, console: Console) -> tuple[Found, str]:
    """The reading as a run of the history, and its id."""
    tenure, clock, location = diary.tenure, SystemClock(), diary.state.location
    header = RunHeader(location, OPERATION, tenure.lease.holder.who, clock.now())
    run = tenure.store.begin_run(tenure.lease, header)
    status = RunStatus.INTERRUPTED
    try:
        found = await tenure.during(read(session, location, wanted, console, diary.keep))
        status = RunStatus.COMPLETE
        return found, run
    except Exception:
        status = RunStatus.STOPPED
        raise
    finally:
        with suppress(StateError):
            tenure.store.end_run(tenure.lease, run, status, clock.now(), set_sizes=None)


@dataclass(slots=True)
class _Diary:
    """Stores what is read, lot by lot, and counts it."""

    tenure: Tenure
    state: Snapshot
    settle_ms: int
    read: int = 0
    changed: int = 0
    since: Instant | None = None

    def keep(self, lot: tuple[Seen, ...]) -> None:
        """One transaction a lot."""
        changed = {contact: known for seen in lot for contact, known in self._news(seen)}
        if changed:
            self.tenure.store.learn(self.tenure.lease, changed)
            self.state.observed.update(changed)

    def _news(self, seen: Seen) -> Iterator[tuple[ContactId, Known]]:
        self.read += len(seen.contacts)
        self.since = seen.at if self.since is None else min(self.since, seen.at)
        for contact, after in seen.absorb(self.state.observed, settle_ms=self.settle_ms):
            before = self.state.observed[contact]
            if after != before:
                self.changed += after.observed != before.observed
                yield contact, after
