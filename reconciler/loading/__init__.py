"""From files to manifests and settings; home of yaml, pydantic, duckdb, phonenumbers, deepdiff. Law: sees core, and
`system`, which replaces a file in one step.

The door: `load(place)` → `Loaded(settings, manifests, problems)`, or InvalidInput with every problem at once, and
`load_settings(place)`, which reads `reconciler.yaml` alone. A place is a directory or any tree of files, such as a
`FileTree` of another revision. Import it lazily: pydantic is slow to start.
"""

from reconciler.loading.file_tree import FileTree
from reconciler.loading.files import Directory, Files
from reconciler.loading.manifests import Loaded, load, load_settings
from reconciler.loading.snapshot_files import FindSnapshots

__all__ = ["Directory", "FileTree", "Files", "FindSnapshots", "Loaded", "load", "load_settings"]
