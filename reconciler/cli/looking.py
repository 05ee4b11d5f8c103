"""What is known of each location now: state, refreshed where asked for. Law: holds no writer, stores nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from reconciler.cli.command_record import command_record
from reconciler.cli.connecting import open_reading, reckon_today, token_held_in
from reconciler.cli.options import milliseconds
from reconciler.cli.session import Session, load_pinned, plan_options, selection, settle_ms_of
from reconciler.clock import SystemClock
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet, did_you_mean
from reconciler.core.model.outcome import called
from reconciler.core.model.settings import Settings
from reconciler.core.observing.refresh_rules import (
    Method,
    RefreshRequest,
    RefreshResult,
    UnreachableReason,
    contradicted_by,
    list_doubtful,
    list_outdated,
    may_search,
    record_observations,
)
from reconciler.core.planning.changes import HeldContacts, Selection
from reconciler.core.planning.diff import select_contacts
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, PlanOptions, combine_plans
from reconciler.core.planning.situation import NOT_SEARCHED, Searched, exclusive_tags
from reconciler.core.running.pace import Pace
from reconciler.output.blocks import counted
from reconciler.ports import Reporter, StateReader
from reconciler.refresh import Keep, ReadServices, keep_nothing, refresh
from reconciler.request_gate import Heartbeat, NoLease, RequestGate

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Present:
    """What is known of a location now.

    `observations` were read just now; `earlier`: what they replaced, None where nothing was read. `gone`: declared
    contacts that were looked for and are not there; `unread`: contacts that could not be read, and why. `incomplete`:
    why nothing follows from who was not shown. `respelt`: tags of the manifests that the location keeps otherwise.
    """

    state: LocationState
    observations: tuple[ObservedContacts, ...] = ()
    earlier: Mapping[ContactId, ContactState] | None = None
    searched: Searched = NOT_SEARCHED
    gone: Mapping[ContactId, UnreachableReason] = field(default_factory=dict)
    unread: Mapping[ContactId, str] = field(default_factory=dict)
    incomplete: str = ""
    respelt: tuple[Alias, ...] = ()

    def bears_on(self, options: PlanOptions) -> PlanOptions:
        """The options of a plan that is made on this."""
        whys = sorted(set(self.gone.values()))
        away = ((why, tuple(sorted(each for each in self.gone if self.gone[each] is why))) for why in whys)
        return replace(
            options, searched=self.searched, gone=tuple(HeldContacts(why, (), contacts) for why, contacts in away)
        )

    def notes(self) -> list[str]:
        """What a person should know of the reading."""
        where = f"location {self.state.location}"
        found = [f"{where} keeps the tag {tag!r} as {kept!r}: it is told by that name" for tag, kept in self.respelt]
        found += [f"{where}: {counted(len(self.gone), 'declared contact')} not there: see drift"] if self.gone else []
        found += self.unread_notes()
        if self.incomplete:
            found.append(
                f"{where}: the search was not complete ({self.incomplete}): nothing follows from who is missing"
            )
        return found

    def unread_notes(self) -> list[str]:
        """Whose reading came to nothing."""
        why = next(iter(self.unread.values()), "")
        told = f"{counted(len(self.unread), 'contact')} could not be read ({why}), and known as before"
        return [f"location {self.state.location}: {told}"] if self.unread else []


async def look(
    session: Session,
    reader: StateReader,
    options: Mapping[str, Any],
    report: Reporter,
    *,
    contacts: Sequence[ContactId] | None = None,
) -> list[Present]:
    """The state of every location, refreshed where --refresh asks for it.

    `contacts`: whom to read, where it is not whom the manifests declare; an index that lags does not do for them.
    """
    states = {location: load_pinned(session, reader, location) for location in session.desired}
    present = [Present(state, respelt=_respelt(session, state)) for state in states.values()]
    if options.get("refresh"):
        wanted = {each: wanted_of(session, state, options, contacts=contacts) for each, state in states.items()}
        for each in states:
            reckon_today(session.pace(each), reader.at(each))
        present = await side_by_side(
            _present(session, state, wanted[each], options, report) for each, state in states.items()
        )
    _refuse_unknown_tags(session, states.values(), options)
    return present


async def side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first error ends them all: of a part of the locations nothing can be told."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _present(
    session: Session, state: LocationState, wanted: RefreshRequest, options: Mapping[str, Any], report: Reporter
) -> Present:
    pace = session.pace(state.location)
    found = await read(session.settings, state.location, wanted, report, pace=pace)
    declared = concerned(session.desired[state.location], state, selection(session, options))
    earlier = absorbed(state, found.seen, settle_ms_of(session.settings))
    return Present(
        state=state,
        observations=found.seen,
        earlier=earlier,
        searched=found.searched,
        gone=found.unreachable(declared, state.observed),
        unread=found.unread,
        incomplete=found.incomplete,
        respelt=_respelt(session, state),
    )


def _respelt(session: Session, state: LocationState) -> tuple[Alias, ...]:
    """The tags of the manifests that the location keeps in another spelling, and how."""
    return tuple(
        (tag, state.spelling.of(tag))
        for tag in sorted(session.desired[state.location].owned & state.spelling.names.keys())
    )


async def read(
    settings: Settings,
    location: LocationId,
    wanted: RefreshRequest,
    report: Reporter,
    *,
    pace: Pace,
    keep: Keep = keep_nothing,
    heartbeat: Heartbeat | None = None,
) -> RefreshResult:
    """Asks the API of a location. `heartbeat`: of the lease, where the reading is stored."""
    if wanted.is_empty:
        return RefreshResult()
    record = command_record()
    record.reads, record.keeps = True, keep is not keep_nothing
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_reading(settings, location, pace))
        clock = SystemClock()
        gate = RequestGate(location, pace, clock, report, heartbeat or NoLease(clock))
        reading = ReadServices(api, gate, token=called(token_held_in(settings, location)))
        return await refresh(wanted, reading, keep)


def wanted_of(
    session: Session,
    state: LocationState,
    options: Mapping[str, Any],
    *,
    contacts: Sequence[ContactId] | None = None,
) -> RefreshRequest:
    """What the options ask to be read in one location."""
    chosen = state.spelling.spell_selection(selection(session, options))
    desired = state.spelling.spell_desired(session.desired[state.location])
    whom = concerned(desired, state, chosen) if contacts is None else contacts
    age = milliseconds("max-age", options.get("max_age"))
    before = None if age is None else Instant(session.now - age)
    due = tuple(list_outdated(whom, state.observed, before))
    return RefreshRequest(
        method=Method(options["refresh"]),
        contacts=due,
        doubtful=tuple(list_doubtful(due, state.observed)),
        exclusive=frozenset() if contacts is not None else _sought(desired, chosen),
        known=len(desired.contacts.keys() | state.observed.contacts.keys()),
        lagging=may_search(max_age_ms=age, verifies=contacts is not None),
        contradicted=partial(contradicted_by, observed=state.observed, spelling=state.spelling),
    )


def _sought(desired: Desired, chosen: Selection) -> TagSet:
    """The exclusive tags whose other holders are looked for: a chosen set has no others."""
    return frozenset() if chosen.sets else frozenset(filter(chosen.takes, exclusive_tags(desired)))


def _refuse_unknown_tags(session: Session, states: Collection[LocationState], options: Mapping[str, Any]) -> None:
    """A --tag that nothing names is a slip of the finger. Exact authority removes tags that only contacts know."""
    chosen = selection(session, options).tags
    if not chosen:
        return
    known = {tag for desired in session.desired.values() for tag in desired.owned}
    known |= {tag for state in states for tag in state.spelling.names}
    for pattern in (pattern for state in states for pattern in state.observed.patterns):
        known |= pattern.ledger | pattern.doubt | (pattern.observed or frozenset())
    if unknown := sorted(chosen - known):
        near = did_you_mean(unknown[0], sorted(known))
        raise UsageError(f"no manifest, no ledger and no observation has the tag {unknown[0]!r}", hint=near)


def concerned(desired: Desired, state: LocationState, chosen: Selection) -> list[ContactId]:
    """The contacts that matter: those that are declared, and those that the ledger still holds."""
    declared = set(select_contacts(desired, chosen))
    if chosen.sets:
        return sorted(declared)
    return sorted(declared | {contact for contact, known in state.observed.items() if known.ledger})


def absorbed(state: LocationState, seen: Sequence[ObservedContacts], settle_ms: int) -> dict[ContactId, ContactState]:
    """Takes what was read into the state, in memory only; what was known before of those that were read."""
    earlier = {contact: state.observed[contact] for each in seen for contact in each.contacts}
    record_observations(state.observed, tuple(map(state.spelling.spell_observed, seen)), settle_ms=settle_ms)
    return earlier


def make_plan(session: Session, present: Iterable[Present], options: Mapping[str, Any]) -> Plan:
    plans = [
        plan_location(
            session.desired[each.state.location],
            each.state,
            each.bears_on(plan_options(session, each.state.location, options)),
            observations=each.observations,
        )
        for each in present
    ]
    chosen = selection(session, options)
    return combine_plans(plans, as_of=session.now, manifests=str(session.directory), selection=chosen)
