"""Exporting a location: manifests that declare the tags which its contacts carry. Law: holds no writer of tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.manifests.export_sets import Export, GroupBy, export_sets
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import ContactId, LocationId, normalise_tag
from reconciler.core.model.settings import Settings
from reconciler.core.observing.refresh_rules import Method, RefreshRequest
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.pace import Pace
from reconciler.loading.export_files import contacts_text, manifest_text
from reconciler.operations.api import LocationApi
from reconciler.operations.refresh import read_and_store
from reconciler.operations.state_place import refuse_other_state
from reconciler.operations.stored_state import load_state
from reconciler.operations.workspace import Workspace, rate_from
from reconciler.store import open_reader, open_store

COMMENT = "written by reconciler export: what contacts carried; review it, then it is yours"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A request for manifests of one location."""

    group_by: GroupBy = GroupBy.ONE_SET_PER_TAG
    tags: tuple[str, ...] = ()
    """Only these tags, or patterns of tags; empty: all."""
    search: bool = False
    """Whether the whole location is read first, and stored."""
    lock_timeout_ms: int = 0
    """How long to wait for a location that another run holds."""


@dataclass(frozen=True, slots=True, repr=False)
class ExportResult:
    """The manifests of one location."""

    location: LocationId
    export: Export
    files: dict[Path, str]
    """Manifests and contact files, by their path below the directory that they are for."""
    incomplete: str
    """Why contacts may be missing; empty where none is."""


def choose_exported(
    workspace: Workspace, settings: Settings, locations: Sequence[str], *, search: bool
) -> list[LocationId]:
    """The named locations; else those that have state, and those in the settings where they are searched."""
    refuse_other_state(settings, workspace.directory)
    if locations:
        return [settings.find_location(location) for location in locations]
    with open_reader(settings.state) as reader:
        locations_there = set(reader.list_locations()) | (settings.locations.keys() if search else set())
    if not locations_there:
        raise UsageError("no location is known", hint="name one: --location L --refresh search")
    return sorted(locations_there)


async def export_location(
    workspace: Workspace, settings: Settings, location: LocationId, request: ExportRequest
) -> ExportResult:
    """The manifests of a location, from its state, which a search has made current where the request asks for that.

    Raises AuthRefused and other ApiErrors of a reading, LockHeld, and StateError.
    """
    state, present, incomplete = await _find_state(workspace, settings, location, request)
    export = export_sets(
        state.observed,
        group_by=request.group_by,
        called=location,
        patterns=[normalise_tag(tag) for tag in request.tags],
        present=present,
    )
    return ExportResult(location, export, _make_files(location, export, request.group_by), incomplete)


async def _find_state(
    workspace: Workspace, settings: Settings, location: LocationId, request: ExportRequest
) -> tuple[LocationState, frozenset[ContactId] | None, str]:
    """The state; the contacts that are there, where a search proved that; why contacts may be missing."""
    if not request.search:
        with open_reader(settings.state) as reader:
            return load_state(settings, reader, location), None, ""
    with open_store(settings.state) as store:
        api = LocationApi(workspace, settings, location, Pace(rate_from(settings)))
        stored = await read_and_store(
            api, store, _request_all, operation="export", lock_timeout_ms=request.lock_timeout_ms
        )
    # without a complete search no contact is known to be gone
    shown = stored.result.shown
    return stored.state, None if shown is None else frozenset(shown), stored.result.incomplete


def _request_all(state: LocationState) -> RefreshRequest:
    return RefreshRequest(Method.SEARCH, (), known=len(state.observed), everybody=True)


def _make_files(location: LocationId, export: Export, group_by: GroupBy) -> dict[Path, str]:
    """One manifest of the location's name, or a directory of that name with one for each tag."""
    # many manifests get a directory of their own, so that two locations do not mix
    apart = group_by is GroupBy.TAG
    home, folder = (Path(location), "contacts") if apart else (Path(), f"contacts/{location}")
    files: dict[Path, str] = {}
    for name, sets in export.manifests.items():
        files[home / f"{name}.yaml"] = manifest_text(location, sets, folder=folder, comment=COMMENT)
        for exported in sets:
            files[home / folder / f"{exported.name}.csv"] = contacts_text(exported)
    return files
