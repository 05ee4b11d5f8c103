"""Snapshots of matched sets that are files, as they are now: they may have changed since they were loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.model.names import LocationId, SetName
from reconciler.core.model.people import Snapshot
from reconciler.core.model.settings import Settings
from reconciler.loading.files import Directory
from reconciler.loading.snapshot_files import (
    DamagedSnapshot,
    explain_damage,
    locate_folder,
    read_snapshot,
    snapshot_paths,
)


@dataclass(frozen=True, slots=True, repr=False)
class KeptSnapshots:
    """The snapshots of a location's matched sets; a set that was never pulled has none."""

    found: Mapping[SetName, Snapshot]
    damaged: Mapping[SetName, tuple[str, ...]] = field(default_factory=dict)
    """Why files of a set cannot be used, in lines."""


def read_snapshot_files(
    settings: Settings, directory: Path, location: LocationId, names: Iterable[SetName]
) -> KeptSnapshots:
    """The snapshots of these sets; `directory`: that of the manifests, below which the settings have them."""
    files = Directory(directory)
    folder = locate_folder(settings.snapshots, files.place)
    found, damaged = dict[SetName, Snapshot](), dict[SetName, tuple[str, ...]]()
    for name in names:
        try:
            snapshot = read_snapshot(files, folder, location, name)
        except DamagedSnapshot as error:
            damaged[name] = explain_damage(error, files, snapshot_paths(folder, location, name), name).lines
        else:
            if snapshot is not None:
                found[name] = snapshot
    return KeptSnapshots(found, damaged)
