"""The state that the settings name: whether it is there, its locations, and the runs under way.

Rules
1. In CI a missing state is more likely lost or misnamed than new, wherever it is named: a plan on it gives every tag
   again, and a report on it observed nothing. Every operation that goes by state refuses it there, unless that creates
   it, the missing state of one location where each has its own, too; anywhere, it refuses to take none for the state
   of the manifests (`state_place.py`).
2. The first apply that is known of a location is measured by the guard `max_first_adds`, anywhere; creating the state
   on purpose lifts it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.errors import StateError, UsageError
from reconciler.core.model.journal import MOVED, RunRecord, list_moves
from reconciler.core.model.lease import Lease, describe_lease
from reconciler.core.model.names import Instant, LocationId, closest_name
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.core.planning.guards import CREATE_STATE
from reconciler.core.planning.plan import LocationState
from reconciler.operations.state_place import refuse_other_state
from reconciler.operations.workspace import Session
from reconciler.ports import StateReader
from reconciler.store import open_reader
from reconciler.store.per_location import LOCATION
from reconciler.system import without_cyclic_gc


def load_state(
    settings: Settings, reader: StateReader, location: LocationId, desired: Desired | None = None
) -> LocationState:
    """The state; raises StateError where it was migrated away, or is another than the one that the settings pin.

    `desired`: what it is to be held against.
    """
    with without_cyclic_gc():
        contacts = None if desired is None else desired.contacts.numbered
        return check_state(settings, reader.at(location).load_state(contacts))


def check_state(settings: Settings, state: LocationState) -> LocationState:
    """The state; raises StateError where it was migrated away, or is another than the one that the settings pin."""
    location, where = state.location, redacted(settings.state)
    if state.moved_to:
        raise StateError(explain_moved(location, where, state.moved_to), hint=MOVED_HINT)
    pin = settings.pin(location)
    # without a pin any state will do
    if pin in (None, state.lineage):
        return state
    there = f"lineage {state.lineage}" if state.lineage else "none there"
    raise StateError(
        f"the state of location {location} is pinned to lineage {pin}, and {where} has {there}",
        hint="see that `state` names the right one; the pin is `lineage` in reconciler.yaml",
    )


MOVED_HINT = (
    "name that one (--state, RECONCILER_STATE or `state` in reconciler.yaml), and put this one away; if that one was "
    "given up, migrate this one to a place of its own"
)


def explain_moved(location: LocationId, where: str, moved_to: str) -> str:
    """A line on a state that was copied to another place, where the runs since have written."""
    return f"the state of location {location} at {where} was migrated to {moved_to}: later runs are there"


def refuse_moved(settings: Settings, location: LocationId, runs: Iterable[RunRecord]) -> None:
    """Raises StateError where a state was migrated away, by its runs: for operations that need no more of it."""
    if moves := list_moves(runs):
        moved_to = moves[-1].header.operation.removeprefix(MOVED)
        raise StateError(explain_moved(location, redacted(settings.state), moved_to), hint=MOVED_HINT)


def refuse_stateless(settings: Settings, reader: StateReader, location: LocationId) -> None:
    """Raises UsageError where a location has no state: to change it would make one, and tell of a success."""
    # the settings may name one that has none yet, and `{location}` in the URL takes every id
    if reader.at(location).load_state().lineage is None:
        raise UsageError(
            f"there is no state of location {location} at {redacted(settings.state)}: nothing can be forgotten",
            hint="`reconciler history` lists the locations that have state",
        )


def refuse_missing_state(session: Session, *, create_state: bool) -> None:
    """Raises UsageError where the manifests have a state elsewhere, and in CI where one is missing.

    `create_state`: whether one is to be created.
    """
    refuse_other_state(session.settings, session.workspace.directory)
    if create_state or not session.workspace.in_ci:
        return
    with open_reader(session.settings.state) as reader:
        lost = _find_lost(reader, session.desired, session.workspace.clock.now())
    # one state of several locations is there, and a location that is new in it is nothing that was lost
    if lost.locations and (not lost.others or LOCATION in session.settings.state):
        raise _explain_lost(session.settings, lost)


def _explain_lost(settings: Settings, lost: _LostStates) -> UsageError:
    place, origin = redacted(settings.state), settings.origin("state")
    named = "the default" if origin.kind is OriginKind.DEFAULT else f"named by {origin}"
    first, more = lost.locations[0], len(lost.locations) - 1
    lacking = f"{first} and {more:,} more" if more else first
    message = (
        f"there is state at {place} ({named}) of other locations, and none of location {lacking}: in CI, where CI is "
        "set, that is taken for lost, since a run would be the first one there"
        if lost.others
        else f"there is no state at {place} ({named}): in CI, where CI is set, that is taken for lost or misnamed, "
        "since each run on it would be a first run"
    )
    new = (
        f"with --location {first} for its first run, where the location is new" if lost.others else "for the first run"
    )
    hint = "name the state that earlier runs wrote (--state, RECONCILER_STATE or `state` in reconciler.yaml), or add "
    return UsageError(message, hint=f"{hint}{CREATE_STATE} {new}")


@dataclass(frozen=True, slots=True)
class _LostStates:
    locations: Sequence[LocationId]
    """Those that have no state."""
    others: bool
    """Whether other locations have it."""


def _find_lost(reader: StateReader, desired: Mapping[LocationId, Desired], now: Instant) -> _LostStates:
    """The locations without state. Where it cannot be told, whoever reads the state of a location tells why."""
    listed: Sequence[LocationId] = ()
    try:
        listed = reader.list_locations()
        absent = desired.keys() - set(listed)
    except (StateError, UsageError):
        # a state of its own for each location may have no list of them
        absent = {location for location in desired if not _has_lineage(reader, location)}
    named = dict.fromkeys((*desired, *listed))
    if any(location not in absent and _is_readable(reader, location, now) for location in named):
        # an apply writes no state of a location without a set: each one would be the first
        return _LostStates(sorted(location for location in absent if desired[location].sets), others=True)
    return _LostStates(sorted(absent), others=False)


def _has_lineage(reader: StateReader, location: LocationId) -> bool:
    try:
        return bool(reader.at(location).load_state().lineage)
    except StateError:
        # broken is not lost
        return True


def _is_readable(reader: StateReader, location: LocationId, now: Instant) -> bool:
    """Whether there is a state behind the name: a list may be one of names alone."""
    try:
        # a look that takes little
        reader.at(location).read_lease(now)
    except StateError:
        return False
    return True


def choose_locations(reader: StateReader, names: Sequence[str], settings: Settings) -> list[LocationId]:
    """The locations with these ids or names; all that have state where none is named."""
    return [find_location(reader, name, settings) for name in names] or list(reader.list_locations())


def find_location(
    reader: StateReader, name: str, settings: Settings, declared: Collection[LocationId] = ()
) -> LocationId:
    """The location with this id or name; raises UsageError where neither settings nor state have it.

    `declared`: those of the manifests, where they count too.
    """
    location = settings.find_location(name)
    # a state of its own for each location may have no list of them: then every id is taken
    if location in settings.locations or LOCATION in settings.state:
        return location
    there = sorted({*settings.locations, *declared, *reader.list_locations()})
    if location in there:
        return location
    near = closest_name(name, [*there, *settings.names().values()])
    hint = f"did you mean {near!r}?" if near else "they have: " + (", ".join(map(settings.called, there)) or "none")
    where = "neither the manifests, the settings nor the state" if declared else "neither the settings nor the state"
    raise UsageError(f"{where} have a location {name!r}", hint=hint)


def list_leases(reader: StateReader, locations: Iterable[LocationId], now: Instant) -> tuple[Lease, ...]:
    """The leases that are held at `now`."""
    leases = (reader.at(location).read_lease(now) for location in locations)
    return tuple(lease for lease in leases if lease is not None)


def describe_leases(leases: Iterable[Lease]) -> list[str]:
    """A line for each run that is under way, for an operation that takes no lease."""
    return [f"{describe_lease(lease)}. What that run changes from now on is not known here." for lease in leases]
