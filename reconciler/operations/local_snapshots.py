"""The snapshots of matched sets, for commands that look at manifests and ask no host: `LocalSnapshots(workspace)`.

Law: reads a state on this machine alone. Of a location with its state elsewhere, or one that cannot be read, nothing is
known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import LocationId, SetName
from reconciler.core.model.people import Snapshot
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import Settings
from reconciler.operations.workspace import Workspace
from reconciler.store import is_remote


@dataclass(frozen=True, slots=True, repr=False)
class LocalSnapshots:
    """Finds the snapshots of a location, as `load` wants them; each location is read once."""

    workspace: Workspace
    unread: dict[LocationId, str] = field(default_factory=dict)
    """Why those of a location are not known."""
    _loaded: list[Settings] = field(default_factory=list)
    """Those of the workspace, once they are loaded: there may be a thousand locations."""
    _known: dict[LocationId, Mapping[SetName, Snapshot] | None] = field(default_factory=dict)

    def __call__(self, _: Settings, location: LocationId) -> Mapping[SetName, Snapshot] | None:
        if location not in self._known:
            self._known[location] = self._find(location)
        return self._known[location]

    def _find(self, location: LocationId) -> Mapping[SetName, Snapshot] | None:
        try:
            settings = self._load_settings()
            if not is_remote(settings.state):
                return self.workspace.find_snapshots(settings, location)
            reason = f"they are in the state {redacted(settings.state)}, and no host is asked"
        except ReconcilerError as error:
            reason = error.lines[0]
        self.unread[location] = reason
        return None

    def _load_settings(self) -> Settings:
        # a variable or a flag may say where the state is, which those of a revision do not tell
        if not self._loaded:
            self._loaded.append(self.workspace.load_settings(begins=True))
        return self._loaded[0]
