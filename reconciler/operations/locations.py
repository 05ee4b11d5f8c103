"""The locations of a directory of manifests: for a person, and for jobs that take one each. Law: asks no API.

Rules of `changed_since`
1. It names too many rather than too few: what cannot be told of a location names it, what cannot be told of any, or
   concerns all, names all.
2. Files are compared as they are in the working directory and were committed, byte by byte; settings by what they say.
3. Contacts that a pull found are compared where their snapshots are files. In a state they have no revision: their
   locations are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from reconciler.core.formats.json_forms import Count
from reconciler.core.model.errors import InvalidInput, ReconcilerError
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import Allowed, ExpectedDrift, Settings
from reconciler.loading import Directory, Files, load_settings
from reconciler.loading.file_tree import CannotRead
from reconciler.loading.files import display_path
from reconciler.loading.manifest_files import ManifestFile, digest_files, read_manifest_files
from reconciler.loading.snapshot_files import locate_folder, snapshot_paths
from reconciler.operations.git import read_files_at
from reconciler.operations.state_place import refuse_other_state
from reconciler.operations.unreviewed import refuse_unreviewed_state
from reconciler.operations.workspace import Workspace
from reconciler.output.locations import ChangedPart, ListedLocation
from reconciler.store import open_reader


@dataclass(frozen=True, slots=True, repr=False)
class LocationsResult:
    """The locations with manifests, which can be planned, and the others; each sorted by id."""

    locations: tuple[ListedLocation, ...]
    others: tuple[ListedLocation, ...]
    """Known by a deleted manifest, by the settings or by the state alone."""
    notes: tuple[str, ...] = ()


def list_locations(workspace: Workspace, *, changed_since: str = "") -> LocationsResult:
    """The locations, those that changed since a revision of Git where one is named.

    Raises InvalidInput where a file cannot be told to be of a location, and GitRefused for an unknown revision.
    """
    workspace.listener.on_manifests(workspace.directory)
    settings = workspace.load_settings()
    present = _Side.read(Directory(workspace.directory), whole=bool(changed_since))
    notes: list[str] = []
    with_state = _find_with_state(workspace, settings, notes)
    changes = _find_changes(workspace, changed_since, present, notes) if changed_since else None
    ids = {*present.manifests, *settings.locations, *(with_state or ()), *(changes or ())}
    listed = [
        ListedLocation(
            None,
            location,
            settings.location(location).name,
            tuple(display_path(present.files, each.name) for each in present.manifests.get(location, ())),
            None if with_state is None else location in with_state,
            deleted=changes is not None
            and location not in present.manifests
            and ChangedPart.MANIFESTS in changes[location],
            changed=() if changes is None else changes[location],
        )
        for location in sorted(ids)
        if changes is None or location in changes
    ]
    planned = (location for location in listed if location.manifests)
    return LocationsResult(
        tuple(replace(location, index=Count(index)) for index, location in enumerate(planned)),
        tuple(location for location in listed if not location.manifests),
        tuple(notes),
    )


def _find_with_state(workspace: Workspace, settings: Settings, notes: list[str]) -> frozenset[LocationId] | None:
    """The locations that have state; None, with a note, where that cannot be told, or only a pull request names it."""
    try:
        refuse_unreviewed_state(settings, workspace.environment, workspace.directory)
    except InvalidInput:
        state = redacted(settings.state)
        notes.append(f"which locations have state is not known: only the pull request names {state}, it is not asked")
        return None
    try:
        refuse_other_state(settings, workspace.directory)
        with open_reader(settings.state) as reader:
            return frozenset(reader.list_locations())
    except ReconcilerError as error:
        notes.append(f"which locations have state is not known: {error.lines[0]}")
        return None


@dataclass(frozen=True, slots=True)
class _Side:
    """The manifests of a tree by location, and its settings as its files have them."""

    files: Files
    settings: Settings
    manifests: Mapping[LocationId, tuple[ManifestFile, ...]]

    @classmethod
    def read(cls, files: Files, *, whole: bool = True) -> _Side:
        grouped: dict[LocationId, tuple[ManifestFile, ...]] = {}
        for manifest in read_manifest_files(files, whole=whole):
            grouped[manifest.location] = (*grouped.get(manifest.location, ()), manifest)
        return cls(files, load_settings(files), grouped)

    def digest(self, location: LocationId) -> dict[ChangedPart, Mapping[str, str]]:
        """The contents of the files that concern a location, by what a change of them is."""
        manifests = self.manifests.get(location, ())
        reads = {name for manifest in manifests for name in manifest.reads}
        return {
            ChangedPart.MANIFESTS: digest_files(self.files, (manifest.name for manifest in manifests)),
            ChangedPart.FILES: digest_files(self.files, reads),
            ChangedPart.SNAPSHOTS: digest_files(self.files, self._list_snapshots(location)),
        }

    def has_pulled(self, location: LocationId) -> bool:
        """Whether contacts of it are snapshots in a state."""
        matched = any(manifest.matched for manifest in self.manifests.get(location, ()))
        return matched and not self.settings.snapshots

    def _list_snapshots(self, location: LocationId) -> Iterable[str]:
        matched = [name for manifest in self.manifests.get(location, ()) for name in manifest.matched]
        if not matched or not self.settings.snapshots:
            return ()
        try:
            folder = locate_folder(self.settings.snapshots, self.files.place)
        except CannotRead:
            # `validate` and `plan` refuse the setting: it has no file of this tree
            return ()
        return [path for name in matched for path in snapshot_paths(folder, location, name)]


def _find_changes(
    workspace: Workspace, revision: str, present: _Side, notes: list[str]
) -> dict[LocationId, tuple[ChangedPart, ...]]:
    """Why each location changed; those that did not are left out."""
    # what a forge names as the commit before the first one of a branch
    if not revision.strip("0"):
        return _name_all(present, "there is no revision before", notes)
    try:
        before = _Side.read(read_files_at(revision, workspace.directory))
    except InvalidInput as error:
        return _name_all(present, f"what {revision} had cannot be told: {error.lines[0]}", notes)
    shared, own = _compare_settings(before.settings, present.settings)
    changes = {}
    for location in sorted({*before.manifests, *present.manifests, *own}):
        try:
            causes = list(_list_causes(location, before, present))
        except CannotRead as error:
            return _name_all(present, f"their snapshots cannot be compared: {error}", notes)
        causes += [ChangedPart.SETTINGS] if location in own else []
        causes += [ChangedPart.SHARED] if shared else []
        if causes:
            changes[location] = tuple(causes)
    return changes


def _name_all(present: _Side, why: str, notes: list[str]) -> dict[LocationId, tuple[ChangedPart, ...]]:
    notes.append(f"all locations with manifests are named: {why}")
    return dict.fromkeys(present.manifests, (ChangedPart.UNKNOWN,))


def _list_causes(location: LocationId, before: _Side, present: _Side) -> Iterable[ChangedPart]:
    old, new = before.digest(location), present.digest(location)
    yield from (cause for cause in new if old[cause] != new[cause])
    if before.has_pulled(location) or present.has_pulled(location):
        yield ChangedPart.PULLED


def _compare_settings(before: Settings, after: Settings) -> tuple[bool, frozenset[LocationId]]:
    """Whether settings changed that concern all locations, and the locations whose own settings changed."""
    old, new = _split_settings(before), _split_settings(after)
    own = {location for location in {*old[1], *new[1]} if old[1].get(location) != new[1].get(location)}
    return old[0] != new[0], frozenset(own)


def _split_settings(settings: Settings) -> tuple[object, dict[LocationId, list[object]]]:
    """The settings of all locations, and those of single ones, without the places where they are written."""
    own: dict[LocationId, list[object]] = {
        location: [_without_places(asdict(place))] for location, place in settings.locations.items()
    }
    shared = replace(
        settings,
        locations={},
        origins={},
        allow=tuple(entry for entry in settings.allow if entry.location is None),
        expected_drift=tuple(entry for entry in settings.expected_drift if entry.location is None),
    )
    exceptions: tuple[Allowed | ExpectedDrift, ...] = (*settings.allow, *settings.expected_drift)
    for entry in exceptions:
        if entry.location is not None:
            own.setdefault(entry.location, []).append(_without_places(asdict(entry)))
    return _without_places(asdict(shared)), own


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key != "source"}
    return [_without_places(item) for item in value] if isinstance(value, list | tuple) else value
