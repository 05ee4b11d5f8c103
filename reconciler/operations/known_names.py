"""The names of locations, contact sets and runs that a shell may complete.

Rules
1. No host is asked, no command is run, and nothing is written: a state elsewhere is left alone.
2. A file that cannot be read names nothing: a shell that completes has no place for an error.
3. Only a name that every shell takes for one plain word is listed: the completed line is executed next, and a manifest
   may come from a stranger.
4. Reading ends with a budget of bytes, files, locations and runs: a person waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import Settings
from reconciler.loading import Directory
from reconciler.loading.file_tree import SETTINGS_NAME, CannotRead
from reconciler.loading.files import decode_text
from reconciler.loading.manifest_files import HEAD, see_location
from reconciler.loading.nodes import Mapping, Node, Scalar, Sequence, parse_nodes
from reconciler.operations.workspace import Workspace
from reconciler.store import is_remote, open_reader

MOST_BYTES = 1_000_000
"""So much of all manifests is read; of a longer one the beginning, which names its location."""
MOST_FILES = 2_000
MOST_LOCATIONS = 50
MOST_RUNS = 50

_PLAIN = re.compile(r"[\w.@+][\w.@+/-]*")
_UNREADABLE = (ReconcilerError, CannotRead, OSError, ValueError)


def list_location_names(workspace: Workspace) -> list[str]:
    """The ids of locations with manifests or settings, and the names that the settings give them."""
    found: set[str] = set()
    with suppress(*_UNREADABLE):
        settings = workspace.load_settings()
        found |= {*settings.locations, *settings.names().values()}
    for head, root in _read_manifests(workspace.directory):
        found |= {*_location_scalars(root)} or {str(seen) for seen in [see_location(head)] if seen}
    return _keep_plain(found)


def list_set_names(workspace: Workspace) -> list[str]:
    """The names of the contact sets of all manifests."""
    roots = (root for _, root in _read_manifests(workspace.directory) if root is not None)
    sets = (root.get("contact_sets") for root in roots)
    return _keep_plain({name for node in sets if isinstance(node, Mapping) for name in node.items})


def list_run_ids(workspace: Workspace) -> list[str]:
    """The ids of the last runs of a state on this machine, the newest first."""
    with suppress(*_UNREADABLE):
        return _read_run_ids(workspace.load_state_settings())
    return []


def _read_run_ids(settings: Settings) -> list[str]:
    if is_remote(settings.state):
        return []
    with open_reader(settings.state) as reader:
        locations: Iterable[LocationId] = islice(reader.list_locations(), MOST_LOCATIONS)
        runs = [run for location in locations for run in reader.at(location).read_runs()]
    newest = sorted(runs, key=lambda run: run.header.started, reverse=True)
    return [run.id for run in newest[:MOST_RUNS]]


def _read_manifests(directory: Path) -> Iterator[tuple[bytes, Mapping | None]]:
    """The beginning of each manifest, and its outermost mapping where the budget has room for it."""
    files, budget = Directory(directory), MOST_BYTES
    names: list[str] = []
    with suppress(*_UNREADABLE):
        names = files.names()
    for name in islice(names, MOST_FILES):
        if name == SETTINGS_NAME or budget <= 0:
            continue
        with suppress(*_UNREADABLE), files.open(name) as stream:
            head = stream.read(HEAD)
            data = head + stream.read(max(0, budget - len(head)))
            budget -= len(data)
            is_whole = not stream.read(1)
            yield head, _parse(data) if is_whole else None


def _parse(data: bytes) -> Mapping | None:
    root = parse_nodes(decode_text(data, ""), "").root
    return root if isinstance(root, Mapping) else None


def _location_scalars(root: Mapping | None) -> Iterator[str]:
    """The locations that a manifest names itself; those of a file of locations are not read."""
    listed = None if root is None else root.get("locations")
    nodes: list[Node | None] = [*listed.items] if isinstance(listed, Sequence) else []
    nodes += [] if root is None else [root.get("location")]
    return (node.text for node in nodes if isinstance(node, Scalar))


def _keep_plain(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if _PLAIN.fullmatch(name))
