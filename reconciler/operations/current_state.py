"""The current state of each location: as it is stored, with contacts read first where a request asks for that.

Law: holds no writer, and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.journal import BatchRecord
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet, did_you_mean
from reconciler.core.model.outcome import called
from reconciler.core.observing.refresh_rules import (
    Method,
    RefreshRequest,
    RefreshResult,
    UnreachableReason,
    contradicted_by,
    list_outdated,
    may_search,
    record_observations,
)
from reconciler.core.observing.trial_rows import list_deviations
from reconciler.core.planning.changes import HeldContacts, Selection
from reconciler.core.planning.diff import select_contacts
from reconciler.core.planning.plan import LocationState, PlanOptions
from reconciler.core.planning.situation import NOT_SEARCHED, Searched, exclusive_tags
from reconciler.core.planning.slow_release import SentAdds, find_sent, list_release_rules
from reconciler.measure import Measure
from reconciler.operations.plan_options import Reading, Scope, make_selection
from reconciler.operations.stored_state import load_state
from reconciler.operations.workspace import Session, settle_ms_from
from reconciler.output.blocks import counted, moment
from reconciler.ports import Heartbeat, StateReader

if TYPE_CHECKING:
    from reconciler.operations.api import LocationApi
    from reconciler.refresh import Keep

T = TypeVar("T")
Errors = dict[LocationId, ReconcilerError]


@dataclass(frozen=True, slots=True, repr=False)
class CurrentState:
    """The state of a location, with the observations of a reading just now."""

    state: LocationState
    observations: tuple[ObservedContacts, ...] = ()
    earlier: Mapping[ContactId, ContactState] | None = None
    """The states that the observations replaced; None where nothing was read."""
    searched: Searched = NOT_SEARCHED
    gone: Mapping[ContactId, UnreachableReason] = field(default_factory=dict)
    """Declared contacts that were looked for and are not there."""
    unread: Mapping[ContactId, str] = field(default_factory=dict)
    """Contacts that could not be read, and why."""
    incomplete: str = ""
    """Why nothing follows from a contact's not being shown; empty where it does."""
    sent: SentAdds = field(default_factory=dict)
    """The additions of slowly given tags that count still."""
    respelt: tuple[Alias, ...] = ()
    """Tags of the manifests that the location keeps in another spelling."""

    def add_to(self, options: PlanOptions) -> PlanOptions:
        """The options of a plan that is made on this state."""
        # sorted: the same state makes the same plan
        reasons = sorted(set(self.gone.values()))
        unreachable = (
            HeldContacts(reason, (), tuple(sorted(contact for contact in self.gone if self.gone[contact] is reason)))
            for reason in reasons
        )
        return replace(options, searched=self.searched, gone=tuple(unreachable), sent=self.sent)

    def list_notes(self) -> list[str]:
        """A line for each fact of the reading that a person should know."""
        where = f"location {self.state.location}"
        notes = self.explain_copy()
        notes += [f"{where} keeps the tag {tag!r} as {kept!r}: it is told by that name" for tag, kept in self.respelt]
        notes += [
            f"{where} is other than assumed ({row.found}; doctor --try, {moment(row.at)}): {question.deviation}"
            for row, question in list_deviations(self.state.facts)
        ]
        if self.gone:
            notes.append(f"{where}: {counted(len(self.gone), 'declared contact')} not there: see drift")
        notes += self.list_unread()
        if self.incomplete:
            notes.append(
                f"{where}: the search was not complete ({self.incomplete}): nothing follows from who is missing"
            )
        return notes

    def explain_copy(self) -> list[str]:
        """One line where the state is a backup that was put back."""
        state = self.state
        return [] if state.copied is None else [state.copied.describe(state.location)]

    def list_unread(self) -> list[str]:
        """One line on the contacts that could not be read; none where all were."""
        if not self.unread:
            return []
        reason = next(iter(self.unread.values()))
        count = counted(len(self.unread), "contact")
        return [f"location {self.state.location}: {count} could not be read ({reason}), and known as before"]


async def find_current(
    session: Session,
    reader: StateReader,
    scope: Scope,
    reading: Reading,
    *,
    contacts: Sequence[ContactId] | None = None,
) -> tuple[list[CurrentState], Errors]:
    """The current state of every location of a session, and why that of a location is not known.

    `contacts`: those to read instead of the declared ones; an index that lags is not asked for them. Raises the error
    of the only location.
    """
    states, errors = load_each(session, reader)
    current = [CurrentState(state, respelt=_find_respelt(session, state)) for state in states.values()]
    if reading.method is not None:
        from reconciler.operations.quota import assume_sent_today

        wanted = {
            location: make_refresh_request(session, state, scope, reading, contacts=contacts)
            for location, state in states.items()
        }
        clock = session.workspace.clock
        # the quota counts today's runs before the first reading asks for room in it
        _, unusable = work_each(
            session, states, lambda location: assume_sent_today(session.pace(location), clock, reader.at(location))
        )
        readable = {location: state for location, state in states.items() if location not in unusable}
        current, failed = await run_each(
            session,
            {location: _read_current(session, state, scope, wanted[location]) for location, state in readable.items()},
        )
        errors |= {**unusable, **failed}
    _refuse_unknown_tags(session, states.values(), make_selection(session, scope).tags)
    current, unusable = count_sent(session, reader, current)
    return current, errors | unusable


def count_sent(
    session: Session, reader: StateReader, current: Iterable[CurrentState]
) -> tuple[list[CurrentState], Errors]:
    """The states, with the additions of slowly given tags that the journal tells of; why that of a location cannot."""
    known = {each.state.location: each for each in current}

    def count(location: LocationId) -> CurrentState:
        return replace(known[location], sent=_find_sent(session, reader, known[location].state))

    counted, errors = work_each(session, known, count)
    return list(counted.values()), errors


def _find_sent(session: Session, reader: StateReader, state: LocationState) -> SentAdds:
    rules = list_release_rules(state.spelling.spell_desired(session.desired[state.location]))
    if not rules:
        return {}
    journal = reader.at(state.location)

    def read_batches(run: str) -> Iterable[BatchRecord]:
        return map(state.spelling.spell_record, journal.read_batches(run))

    return find_sent(journal.read_runs(), read_batches, rules, session.now, settle_ms=settle_ms_from(session.settings))


def load_each(session: Session, reader: StateReader) -> tuple[dict[LocationId, LocationState], Errors]:
    """The state of each location, and why that of a location cannot be used; raises the error of the only one."""
    workspace = session.workspace
    measure = Measure(workspace.clock, workspace.listener)

    def load(location: LocationId) -> LocationState:
        # without its snapshots the location would be planned as if it had left its sets
        if location in session.unread:
            raise session.unread[location]
        state = measure.call(location, load_state, session.settings, reader, location, session.desired[location])
        workspace.listener.on_state(state, reader.at(location))
        return state

    return work_each(session, session.desired, load)


def work_each(
    session: Session, locations: Iterable[LocationId], work: Callable[[LocationId], T]
) -> tuple[dict[LocationId, T], Errors]:
    """The result of each location, and why a location has none; raises the error of the only one."""
    results: dict[LocationId, T] = {}
    errors: Errors = {}
    for location in locations:
        try:
            results[location] = work(location)
        except ReconcilerError as error:
            if len(session.desired) == 1:
                raise
            errors[location] = error
    return results, errors


def find_leases(
    session: Session, reader: StateReader, locations: Iterable[LocationId]
) -> tuple[tuple[Lease, ...], Errors]:
    """The leases that are held in these locations now, and why that of a location cannot be told."""
    now = session.workspace.clock.now()
    found, errors = work_each(session, locations, lambda location: reader.at(location).read_lease(now))
    return tuple(lease for lease in found.values() if lease is not None), errors


async def run_each(session: Session, works: Mapping[LocationId, Coroutine[Any, Any, T]]) -> tuple[list[T], Errors]:
    """The results in order, so many locations at once as the settings say, and the errors, none of which ends another.

    Raises the error of the only location.
    """
    places, order = session.make_places(), session.settings.in_order(works)

    async def end(location: LocationId) -> T | ReconcilerError:
        try:
            async with places.take(location):
                return await works[location]
        except ReconcilerError as error:
            if len(session.desired) == 1:
                raise
            return error
        finally:
            # one that waited for its place when all were ended has not begun
            works[location].close()

    ended = dict(zip(order, await run_side_by_side(map(end, order)), strict=True))
    endings = [ended[location] for location in works]
    errors = {
        location: ending for location, ending in zip(works, endings, strict=True) if isinstance(ending, ReconcilerError)
    }
    return [ending for ending in endings if not isinstance(ending, ReconcilerError)], errors


async def run_side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first error ends them all: a part of the locations makes no answer."""
    import asyncio

    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        # gather leaves the others running: their requests would outlive the error
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_current(session: Session, state: LocationState, scope: Scope, wanted: RefreshRequest) -> CurrentState:
    from reconciler.operations.api import find_api

    result = await read_location(find_api(session, state.location), wanted)
    declared = list_concerned(session.desired[state.location], state, make_selection(session, scope))
    return replace(take_in_reading(session, state, result, declared), respelt=_find_respelt(session, state))


def _find_respelt(session: Session, state: LocationState) -> tuple[Alias, ...]:
    return tuple(
        (tag, state.spelling.of(tag))
        for tag in sorted(session.desired[state.location].owned & state.spelling.names.keys())
    )


async def read_location(
    api: LocationApi, wanted: RefreshRequest, *, keep: Keep | None = None, heartbeat: Heartbeat | None = None
) -> RefreshResult:
    """Reads contacts from a location's API; without a request where nothing is wanted.

    `keep`: takes what is read, as it comes. `heartbeat`: of the lease, where the reading is stored.
    """
    if wanted.is_empty:
        return RefreshResult()
    # what asks a host is loaded where one is asked
    from reconciler.refresh import ReadServices, keep_nothing, refresh
    from reconciler.request_gate import NoLease, RequestGate

    listener, clock = api.workspace.listener, api.workspace.clock
    listener.on_reading(keep is not None)
    gate = RequestGate(api.location, api.pace, clock, listener, heartbeat or NoLease(clock))
    await api.fetch_token()
    async with api.connect_reader() as reader:
        # a 401 names the variable that the token came from
        return await refresh(wanted, ReadServices(reader, gate, token=called(api.token_place)), keep or keep_nothing)


def make_refresh_request(
    session: Session,
    state: LocationState,
    scope: Scope,
    reading: Reading,
    *,
    contacts: Sequence[ContactId] | None = None,
) -> RefreshRequest:
    """The contacts of one location that are read, and how; `contacts` as in `find_current`."""
    selection = state.spelling.spell_selection(make_selection(session, scope))
    desired = state.spelling.spell_desired(session.desired[state.location])
    concerned = list_concerned(desired, state, selection) if contacts is None else contacts
    age = reading.max_age_ms
    before = None if age is None else Instant(session.now - age)
    due = tuple(list_outdated(concerned, state.observed, before))
    return RefreshRequest(
        method=reading.method or Method.AUTO,
        contacts=due,
        doubtful=tuple(contact for contact in due if state.observed[contact].doubt),
        # contacts of a run that is undone: other holders of a tag do not bear on them
        exclusive=frozenset() if contacts is not None else _find_sought(desired, selection),
        # by so many contacts `auto` compares a search with single readings
        known=len(desired.contacts.keys() | state.observed.contacts.keys()),
        lagging=may_search(max_age_ms=age, verifies=contacts is not None),
        contradicted=partial(contradicted_by, observed=state.observed, spelling=state.spelling),
    )


def _find_sought(desired: Desired, selection: Selection) -> TagSet:
    """The exclusive tags that are looked for on other contacts."""
    # a chosen set has no holders outside of it
    return frozenset() if selection.sets else frozenset(filter(selection.takes, exclusive_tags(desired)))


def _refuse_unknown_tags(session: Session, states: Collection[LocationState], tags: TagSet) -> None:
    """Raises UsageError for a --tag that neither manifests nor state have: it is mistyped."""
    if not tags:
        return
    tags_there = {tag for desired in session.desired.values() for tag in desired.owned}
    tags_there |= {tag for state in states for tag in state.spelling.names}
    # exact authority removes tags that only contacts have
    for pattern in (pattern for state in states for pattern in state.observed.patterns):
        tags_there |= pattern.ledger.tags | pattern.doubtful | (pattern.observed or frozenset())
    if unknown := sorted(tags - tags_there):
        near = did_you_mean(unknown[0], sorted(tags_there))
        raise UsageError(f"no manifest, no ledger and no observation has the tag {unknown[0]!r}", hint=near)


def list_concerned(desired: Desired, state: LocationState, selection: Selection) -> list[ContactId]:
    """The contacts that are declared, and those that the ledger still holds."""
    declared = set(select_contacts(desired, selection))
    if selection.sets:
        return sorted(declared)
    return sorted(
        declared | {contact for contact, contact_state in state.observed.items() if contact_state.ledger.tags}
    )


def take_in_reading(
    session: Session, state: LocationState, result: RefreshResult, sought: Sequence[ContactId]
) -> CurrentState:
    """Takes a reading into the state, in memory only; `sought`: contacts that are gone where it lacks them."""
    # before they are taken in: drift compares with the states that they replace
    earlier = {contact: state.observed[contact] for observed in result.seen for contact in observed.contacts}
    spelt = tuple(map(state.spelling.spell_observed, result.seen))
    record_observations(state.observed, spelt, settle_ms=settle_ms_from(session.settings))
    return CurrentState(
        state=state,
        observations=result.seen,
        earlier=earlier,
        searched=result.searched,
        gone=result.unreachable(sought, state.observed),
        unread=result.unread,
        incomplete=result.incomplete,
    )
