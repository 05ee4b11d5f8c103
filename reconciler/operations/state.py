"""Looking at the state: contacts, locations, locks, and whether all of it hangs together. Law: changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.core.formats.integrity import verify
from reconciler.core.formats.state_json import Portable
from reconciler.core.manifests.wants import NOTHING, Want
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet
from reconciler.core.planning.plan import LocationState
from reconciler.operations.runs import read_log
from reconciler.operations.stored_state import choose_locations, list_leases
from reconciler.operations.workspace import Workspace, open_session
from reconciler.output.contact import ContactStory
from reconciler.ports import StateReader
from reconciler.store import open_reader


class Status(StrEnum):
    OBSERVED = "observed"
    UNOBSERVED = "unobserved"
    MANAGED = "managed"
    IN_DOUBT = "in-doubt"
    UNCONFIRMED = "unconfirmed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class StateFilter:
    """Contacts with any of the tags, of any of the statuses, not observed since `before`; an empty field takes all."""

    tags: TagSet = frozenset()
    statuses: frozenset[Status] = frozenset()
    before: Instant | None = None

    def filter_state(self, state: LocationState) -> LocationState:
        """The state with the contacts that the filter takes."""
        if self == StateFilter():
            return state
        observed, spelt = state.observed, replace(self, tags=state.spelling.read(self.tags))
        taken = {index for index, contact in enumerate(observed.patterns) if spelt._takes_state(contact)}
        contacts = {contact: index for contact, index in observed.contacts.items() if index in taken}
        return replace(state, observed=ContactStates(contacts, observed.patterns))

    def _takes_state(self, contact: ContactState) -> bool:
        if self.tags and self.tags.isdisjoint((contact.observed or frozenset()) | contact.ledger.tags):
            return False
        if self.before is not None and contact.observed_at is not None and contact.observed_at >= self.before:
            return False
        return not self.statuses or not self.statuses.isdisjoint(find_statuses(contact))


def find_statuses(contact: ContactState) -> frozenset[Status]:
    """The statuses of a contact, which may be several."""
    holding = {
        Status.OBSERVED: contact.observed is not None,
        Status.UNOBSERVED: contact.observed is None,
        Status.MANAGED: bool(contact.ledger.tags),
        Status.IN_DOUBT: bool(contact.doubtful),
        Status.UNCONFIRMED: bool(contact.ledger.unconfirmed - contact.doubtful),
        Status.QUARANTINED: contact.quarantine is not None,
    }
    return frozenset(status for status, holds in holding.items() if holds)


@dataclass(frozen=True, slots=True, repr=False)
class StatesResult:
    """The states of locations, and where they are kept."""

    states: tuple[LocationState, ...]
    url: str


def load_states(
    workspace: Workspace, locations: Sequence[str] = (), state_filter: StateFilter | None = None
) -> StatesResult:
    """The states of these locations (empty: all), with the contacts that a filter takes."""
    settings = workspace.load_state_settings()
    with open_reader(settings.state) as reader:
        states = [reader.at(location).load_state() for location in choose_locations(reader, locations, settings)]
    return StatesResult(
        tuple(states if state_filter is None else map(state_filter.filter_state, states)),
        settings.state,
    )


@dataclass(frozen=True, slots=True, repr=False)
class ContactResult:
    """All that the state has of a contact, by location; `notes`: lines for a person."""

    stories: tuple[ContactStory, ...]
    notes: tuple[str, ...]


def find_contact(workspace: Workspace, contact: ContactId, locations: Sequence[str] = ()) -> ContactResult:
    """The contact's tags, the sets that declare them, since when, from which run, and its rows in the journal."""
    settings = workspace.load_state_settings()
    stories, notes = [], list[str]()
    with open_reader(settings.state) as reader:
        for location in choose_locations(reader, locations, settings):
            state = reader.at(location)
            observed = state.load_state().observed
            if contact in observed.contacts:
                stories.append(
                    ContactStory(
                        location=location,
                        contact=contact,
                        known=observed[contact],
                        want=_find_want(workspace, location, contact, notes),
                        trail=tuple(state.read_trail(contact)),
                        runs=tuple(state.read_runs()),
                    )
                )
    return ContactResult(tuple(stories), tuple(notes))


def _find_want(workspace: Workspace, location: LocationId, contact: ContactId, notes: list[str]) -> Want | None:
    """The declarations of the manifests; None, with a note, where they cannot be asked."""
    if not workspace.directory.is_dir():
        return None
    try:
        session = open_session(workspace, unpulled=True)
    except ReconcilerError as error:
        notes.append(f"the manifests cannot be asked: {error.lines[0]}")
        return None
    return session.desired[location].want(contact) if location in session.desired else NOTHING


def pull_states(workspace: Workspace, locations: Sequence[str] = ()) -> tuple[Portable, ...]:
    """The whole states of these locations (empty: all), journal included."""
    settings = workspace.load_state_settings()
    with open_reader(settings.state) as reader:
        return tuple(pull_location(reader, location) for location in choose_locations(reader, locations, settings))


def pull_location(reader: StateReader, location: LocationId) -> Portable:
    runs = tuple(read_log(reader, run) for run in reader.at(location).read_runs())
    return Portable(reader.at(location).load_state(), runs, reader.at(location).read_snapshots())


@dataclass(frozen=True, slots=True, repr=False)
class VerifyResult:
    """The broken laws of a state, a line each."""

    faults: tuple[str, ...]
    locations: int
    url: str
    copied: tuple[str, ...] = ()
    """A line for each location with a state that is a backup put back, which is no fault."""


def verify_state(workspace: Workspace) -> VerifyResult:
    """Checks every law that the state obeys: how it is stored, and that all of it hangs together."""
    settings, now = workspace.load_state_settings(), workspace.clock.now()
    with open_reader(settings.state) as reader:
        faults = list(reader.find_faults())
        # a damaged file cannot be looked at more closely
        locations = [] if faults else list(reader.list_locations())
        copied = list[str]()
        for location in locations:
            portable = pull_location(reader, location)
            faults += [f"location {location}: {line}" for line in verify(portable, now=now)]
            if (copy := portable.state.copied) is not None:
                copied.append(copy.describe(location))
    return VerifyResult(tuple(faults), len(locations), settings.state, tuple(copied))


@dataclass(frozen=True, slots=True, repr=False)
class LocksResult:
    """The leases that are held, in all locations or in `location`."""

    leases: tuple[Lease, ...]
    location: LocationId | None
    url: str


def list_locks(workspace: Workspace, location: str | None = None) -> LocksResult:
    """The leases on one location, or on all."""
    settings = workspace.load_state_settings()
    with open_reader(settings.state) as reader:
        locations = choose_locations(reader, (location,) if location else (), settings)
        leases = list_leases(reader, locations, workspace.clock.now())
    return LocksResult(leases, settings.find_location(location) if location else None, settings.state)
