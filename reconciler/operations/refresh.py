"""Refreshing the state: contacts are read and stored, under the lease, as a run of the history.

Law: holds no writer of tags. Contacts are stored lot by lot: however a reading ends, the state has its contacts so far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial

from reconciler.beside import Places
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.errors import ReconcilerError, StateError
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.observing.refresh_rules import (
    Method,
    Refreshed,
    RefreshRequest,
    RefreshResult,
    record_observations,
)
from reconciler.core.planning.plan import LocationState
from reconciler.journalled_run import HeldLease, JournalledRun, acquire_lease, journalled_run
from reconciler.operations.api import LocationApi, find_api
from reconciler.operations.current_state import list_concerned, make_refresh_request, read_location
from reconciler.operations.identity import find_holder
from reconciler.operations.plan_options import Reading, Scope, make_selection
from reconciler.operations.quota import assume_sent_today
from reconciler.operations.stored_state import check_state, refuse_missing_state
from reconciler.operations.workspace import Session, Workspace, settle_ms_from
from reconciler.output.blocks import counted
from reconciler.ports import StateStore
from reconciler.store import open_store


@dataclass(frozen=True, slots=True)
class RefreshStateRequest:
    """A request to read contacts and store their tags."""

    scope: Scope = Scope()
    reading: Reading = Reading(Method.AUTO)
    lock_timeout_ms: int = 0
    """How long to wait for a location that another run holds."""
    create_state: bool = False
    """Whether this is meant to be the first run of all."""


@dataclass(frozen=True, slots=True, repr=False)
class RefreshStateResult:
    """How the reading of each location ended: one that fails does not stop the others."""

    reports: tuple[Refreshed, ...]
    errors: tuple[ReconcilerError, ...]


async def refresh_state(session: Session, request: RefreshStateRequest) -> RefreshStateResult:
    """Reads the contacts of a session's locations, and stores their tags.

    Cancelled, it keeps the contacts that it has read. Raises StateError and UsageError where nothing could begin.
    """
    refuse_missing_state(session, create_state=request.create_state)
    with open_store(session.settings.state) as store:
        places = session.make_places()
        # side by side: each location has a rate limit of its own
        endings = await asyncio.gather(
            *(_refresh_or_fail(session, store, location, request, places) for location in session.in_order())
        )
    return RefreshStateResult(
        tuple(ending for ending in endings if isinstance(ending, Refreshed)),
        tuple(ending for ending in endings if isinstance(ending, ReconcilerError)),
    )


async def _refresh_or_fail(
    session: Session, store: StateStore, location: LocationId, request: RefreshStateRequest, places: Places
) -> Refreshed | ReconcilerError:
    try:
        async with places.take(location):
            return await _refresh_location(session, store, location, request)
    except ReconcilerError as error:
        # a single location is named by the command line already
        if len(session.desired) > 1:
            error.reword(f"location {location}: {error.message}")
        return error


async def _refresh_location(
    session: Session, store: StateStore, location: LocationId, request: RefreshStateRequest
) -> Refreshed:
    stored = await read_and_store(
        find_api(session, location),
        store,
        partial(make_refresh_request, session, scope=request.scope, reading=request.reading),
        operation="refresh",
        lock_timeout_ms=request.lock_timeout_ms,
    )
    selection = make_selection(session, request.scope)
    declared = list_concerned(session.desired[location], stored.state, selection)
    result = stored.result
    return Refreshed(
        location=location,
        run=stored.run,
        read=stored.read,
        changed=stored.changed,
        since=stored.since,
        gone=result.unreachable(declared, stored.state.observed),
        incomplete=result.incomplete,
        unread=result.unread,
        older_rows=result.searched.older_rows,
    )


@dataclass(slots=True)
class StoredReading:
    """A reading of one location that is stored lot by lot, one transaction a lot."""

    held: HeldLease
    state: LocationState
    """The state as it is by now."""
    settle_ms: int
    result: RefreshResult = RefreshResult()
    run: str = ""
    """Its id in the history; empty where nothing had to be read."""
    read: int = 0
    """The contacts that were read."""
    changed: int = 0
    """The contacts among them that had other tags before."""
    since: Instant | None = None
    """The oldest time of an observation."""

    async def keep(self, lot: tuple[ObservedContacts, ...]) -> None:
        """Stores observations, and counts them."""
        observed = self.state.observed
        # before they are recorded: a tag that was known already is no news
        before = {contact: observed[contact].observed for observation in lot for contact in observation.contacts}
        self.read += sum(len(observation.contacts) for observation in lot)
        times = [observation.at for observation in lot]
        self.since = min(times if self.since is None else [*times, self.since], default=None)
        spelt = tuple(map(self.state.spelling.spell_observed, lot))
        changed = record_observations(observed, spelt, settle_ms=self.settle_ms)
        self.changed += sum(after.observed != before[contact] for contact, after in changed.items())
        if changed:
            await self.held.call(self.held.store.save_states, self.held.lease, changed)


async def read_and_store(
    api: LocationApi,
    store: StateStore,
    make_request: Callable[[LocationState], RefreshRequest],
    *,
    operation: str,
    lock_timeout_ms: int,
) -> StoredReading:
    """Reads the contacts that `make_request` asks for, given the state, and stores their tags."""
    async with await hold_location(api.workspace, store, api.location, operation, lock_timeout_ms) as held:
        state = check_state(api.settings, await held.call(held.store.load_state))
        stored = StoredReading(held, state, settle_ms_from(api.settings))
        wanted = make_request(state)
        if not wanted.is_empty:
            await _read_journalled(api, wanted, stored)
        await held.call(api.workspace.listener.on_state, stored.state, held.store)
        return stored


async def _read_journalled(api: LocationApi, wanted: RefreshRequest, stored: StoredReading) -> None:
    held = stored.held
    async with begin_run(held) as run:
        stored.run = run.id
        await held.call(assume_sent_today, api.pace, api.workspace.clock, held.store)
        try:
            stored.result = await read_location(api, wanted, keep=stored.keep, heartbeat=held)
        except ReconcilerError as error:
            if stored.read:
                read = counted(stored.read, "contact")
                error.reword(f"{error.message}; what was read of {read} until then is kept")
            raise
        # all that was read is stored: a reader of the state need not know that the run could not be ended
        with suppress(StateError):
            await run.end(RunStatus.COMPLETE)


async def hold_location(
    workspace: Workspace, store: StateStore, location: LocationId, operation: str, lock_timeout_ms: int
) -> HeldLease:
    """The lease of an operation on a location; raises LockHeld."""
    holder, start_worker, clock = find_holder(operation, workspace), workspace.start_worker, workspace.clock
    taken = partial(acquire_lease, location, holder, store=store, start_worker=start_worker, clock=clock)
    return await taken(report=workspace.listener, lock_timeout_ms=lock_timeout_ms)


def begin_run(
    held: HeldLease, operation: str = "", *, cancelled: RunStatus = RunStatus.INTERRUPTED
) -> AbstractAsyncContextManager[JournalledRun]:
    """A run of the history, under the name of an operation: by default that of the lease."""
    holder = held.lease.holder
    header = RunHeader(held.lease.location, operation or holder.operation, holder.who, held.clock.now())
    return journalled_run(held, header, cancelled=cancelled)
