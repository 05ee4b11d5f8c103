"""From files to manifests and settings; the home of yaml, pydantic and duckdb. Law: sees core only.

The door: `load(directory)` → `Loaded(settings, manifests, problems)`, or InvalidInput with every problem at once;
`load_files` reads any tree of files, such as a `FileTree` of another revision; `load_settings` only `reconciler.yaml`.
Import it lazily: pydantic is slow to start.
"""

from reconciler.loading.file_tree import FileTree
from reconciler.loading.files import Directory, Files
from reconciler.loading.manifests import Loaded, load, load_files, load_settings, settings_of_files

__all__ = ["Directory", "FileTree", "Files", "Loaded", "load", "load_files", "load_settings", "settings_of_files"]
