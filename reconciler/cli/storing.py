"""Reading that is stored: under the lease, as a run of the history, lot by lot. Holds no writer of tags."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from reconciler.cli.connecting import reckon_today
from reconciler.cli.console import Console
from reconciler.cli.looking import read
from reconciler.cli.session import load_state, rate_of, settle_ms_of
from reconciler.cli.signals import listening
from reconciler.clock import SystemClock
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.errors import Interrupted, ReconcilerError, StateError
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.settings import Settings
from reconciler.core.observing.refresh_rules import RefreshRequest, RefreshResult, record_observations
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.pace import Pace
from reconciler.journalled_run import HeldLease, acquire_lease, journalled_run
from reconciler.operations.identity import current_holder
from reconciler.output.blocks import counted
from reconciler.ports import StateStore

KEPT = "what was read until then is kept: with --max-age the next one goes on from there"


@dataclass(slots=True)
class Stored:
    """A reading that was stored: the state as it is now, what was found, and how much of it was news.

    `run`: its id in the history, empty where nothing had to be read. `since`: the oldest of what was read.
    """

    state: LocationState
    found: RefreshResult = RefreshResult()
    run: str = ""
    read: int = 0
    changed: int = 0
    since: Instant | None = None


async def read_and_store(
    settings: Settings,
    store: StateStore,
    location: LocationId,
    wanted_of: Callable[[LocationState], RefreshRequest],
    console: Console,
    options: Mapping[str, Any],
    *,
    operation: str,
) -> Stored:
    """Reads what `wanted_of` asks for, given the state; whatever was read is kept, however it ends.

    Within `ended_by_signals` a signal ends it in order.
    """
    with await acquire_lease(
        location,
        current_holder(operation),
        store=store,
        clock=SystemClock(),
        report=console,
        lock_timeout_ms=round(1000 * options["lock_timeout"]),
    ) as held:
        diary = Stored(load_state(settings, store, location))
        wanted = wanted_of(diary.state)
        if not wanted.is_empty:
            await _read_journalled(settings, wanted, _Diary(held, diary, settle_ms_of(settings)), console)
        return diary


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A signal ends the reading in order: what was read is kept. Raises Interrupted."""
    task, asked = asyncio.current_task(), list[int]()

    def ask(signum: int) -> None:
        asked.append(signum)
        if task is not None:
            task.cancel()

    try:
        with listening(ask):
            yield
    except asyncio.CancelledError:
        if asked:
            raise Interrupted(asked[0], hint=KEPT) from None
        raise


async def _read_journalled(settings: Settings, wanted: RefreshRequest, diary: _Diary, console: Console) -> None:
    held, stored = diary.held, diary.stored
    holder, location = held.lease.holder, stored.state.location
    header = RunHeader(location, holder.operation, holder.who, held.clock.now())
    with journalled_run(held, header) as run:
        stored.run = run.id
        pace = reckon_today(Pace(rate_of(settings)), held.store)
        try:
            stored.found = await read(settings, location, wanted, console, pace=pace, keep=diary.keep, heartbeat=held)
        except ReconcilerError as error:
            if stored.read:
                error.message += f"; what was read of {counted(stored.read, 'contact')} until then is kept"
            raise
        # all that was read is stored: whoever reads the state need not know that the run could not be ended
        with suppress(StateError):
            run.end(RunStatus.COMPLETE)


@dataclass(slots=True)
class _Diary:
    """Stores what is read, lot by lot, and counts it."""

    held: HeldLease
    stored: Stored
    settle_ms: int

    def keep(self, lot: tuple[ObservedContacts, ...]) -> None:
        """One transaction a lot."""
        stored, observed = self.stored, self.stored.state.observed
        before = {contact: observed[contact].observed for seen in lot for contact in seen.contacts}
        stored.read += sum(len(seen.contacts) for seen in lot)
        times = [seen.at for seen in lot]
        stored.since = min(times if stored.since is None else [*times, stored.since], default=None)
        spelt = tuple(map(stored.state.spelling.spell_observed, lot))
        changed = record_observations(observed, spelt, settle_ms=self.settle_ms)
        stored.changed += sum(after.observed != before[contact] for contact, after in changed.items())
        if changed:
            self.held.store.save_states(self.held.lease, changed)
