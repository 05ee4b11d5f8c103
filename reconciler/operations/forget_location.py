"""A location forgotten as a whole: one that was mistyped, or is no more."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import LocationId
from reconciler.core.model.people import IndexStatus, PeopleLot
from reconciler.core.planning.plan import LocationState
from reconciler.operations.refresh import hold_location
from reconciler.operations.stored_state import find_location, refuse_stateless
from reconciler.operations.workspace import Workspace
from reconciler.output.blocks import counted
from reconciler.ports import LocationReader
from reconciler.store import open_reader, open_store


@dataclass(frozen=True, slots=True)
class LocationContent:
    """The size of what a state knows of a location."""

    location: LocationId
    contacts: int
    managed: int
    """The contacts with a tag under management."""
    runs: int


def count_content(workspace: Workspace, name: str) -> LocationContent:
    """What would be forgotten of the location with this id or name; raises UsageError where there is none."""
    settings = workspace.load_state_settings()
    # a reader: a mistyped location must not make a state
    with open_reader(settings.state) as reader:
        location = find_location(reader, name, settings)
        refuse_stateless(settings, reader, location)
        return _count(reader.at(location))


async def forget_location(workspace: Workspace, location: LocationId, *, lock_timeout_ms: int = 0) -> LocationContent:
    """Forgets all that is known of a location, history, snapshots and index of people included. Sends nothing.

    Raises LockHeld while a run works there, and UsageError while it is not known what a request of one did.
    """
    with open_store(workspace.load_state_settings().state) as store:
        async with await hold_location(workspace, store, location, "state forget", lock_timeout_ms) as held:
            state, content = await held.call(held.store.load_state), await held.call(_count, held.store)
            _refuse_doubts(state)
            # the lineage stays, as a location has it for ever; without content it is not listed any more
            empty = LocationState(location, state.lineage)
            # first, since it makes a copy of what was there
            await held.call(held.store.replace_state, held.lease, empty, (), {})
            await held.call(held.store.save_people, held.lease, PeopleLot(IndexStatus(), anew=True))
    return content


def _refuse_doubts(state: LocationState) -> None:
    if doubts := sum(bool(known.doubtful) for _, known in state.observed.items()):
        raise UsageError(
            f"it is not known what a request did to {counted(doubts, 'contact')} of location {state.location}: nothing "
            "was forgotten",
            hint="apply settles that; or forget these contacts first: `reconciler state list --status in-doubt`",
        )


def _count(reader: LocationReader) -> LocationContent:
    state = reader.load_state()
    managed = sum(bool(known.ledger.tags) for _, known in state.observed.items())
    return LocationContent(state.location, len(state.observed), managed, len(reader.read_runs()))
