"""Files that a command is told to write: `refuse_files_read(workspace, targets)`, before all else.

Rules
1. No target is a file that the run reads: a manifest, the settings, a file that these name (contacts, people, a table
   of SQL, a word of a command), a snapshot, the state with the files beside it, or a path of the command line.
2. Neither is a file that begins as a database, a key or a certificate does, wherever it is named. Another file of that
   name is replaced: it is mostly an earlier one of the same kind.
3. Where the manifests cannot be read, a file among them that may be one of contacts is taken for one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from reconciler.core.model.errors import InvalidInput, ReconcilerError, UsageError
from reconciler.core.model.settings import Settings
from reconciler.loading import load_settings
from reconciler.loading.file_tree import ENDINGS, MANIFEST_ENDINGS, CannotRead
from reconciler.loading.files import Directory
from reconciler.loading.manifest_files import read_manifest_files
from reconciler.loading.snapshot_files import find_folder
from reconciler.operations.workspace import Workspace
from reconciler.store import is_state_file

_NO_PATHS: Mapping[str, Path] = {}
_STARTS = {
    b"SQLite format 3\0": "a database",
    b"-----BEGIN ": "a key or a certificate",
    b"PAR1": "a table in Parquet",
}
"""How files begin that are no output of ours, and their kinds."""


def refuse_files_read(workspace: Workspace, targets: Mapping[str, Path], named: Mapping[str, Path] = _NO_PATHS) -> None:
    """Raises UsageError where a target is a file that the run reads.

    `targets`: by the options that name them; `named`: other paths of the command line, by the words for their place.
    """
    if not targets:
        return
    runs = [_RunFiles.of(workspace, directory) for directory in _list_directories(workspace, named)]
    for option, target in targets.items():
        others = {f"the file that {name} names": path for name, path in {**named, **targets}.items() if name != option}
        use = next((use for use, path in others.items() if _is_same(target, path)), "")
        use = use or _describe_name(target) or next(filter(None, (run.describe(target) for run in runs)), "")
        if use := use or _describe_content(target):
            raise UsageError(
                f"{option} {target} is {use}, and would be written over it", hint=f"give {option} another file"
            )


def _list_directories(workspace: Workspace, named: Mapping[str, Path]) -> list[Path]:
    # of `apply` the argument may be the directory
    return list(dict.fromkeys([workspace.directory, *(path for path in named.values() if path.is_dir())]))


@dataclass(frozen=True, slots=True)
class _RunFiles:
    """The files that a run on a directory of manifests reads."""

    directory: Path
    settings: Settings

    @classmethod
    def of(cls, workspace: Workspace, directory: Path) -> _RunFiles:
        settings = Settings()
        # the command tells what is wrong with them
        with suppress(ReconcilerError, OSError):
            settings = load_settings(
                directory, environment=workspace.environment, flags=workspace.overrides, begins=True
            )
        return cls(directory, settings)

    def describe(self, target: Path) -> str:
        """The use that the run has for the file; empty where it has none."""
        if is_state_file(self.settings.state, target):
            return "the state, or a file beside it"
        if not target.exists():
            return ""
        if self._is_snapshot(target):
            return "a snapshot of a contact set"
        if any(_is_same(target, place / word) for word in self._list_words() for place in (Path(), self.directory)):
            return "a file that a command of the settings names"
        return self._describe_read(target) if _lies_in(target, self.directory) else ""

    def _is_snapshot(self, target: Path) -> bool:
        folder: Path | None = None
        with suppress(CannotRead):
            folder = find_folder(self.settings, self.directory)
        return folder is not None and _is_same(target.parent.parent, folder) and target.suffix in (".txt", ".json")

    def _list_words(self) -> Iterator[str]:
        for query in self.settings.sources.values():
            yield from query.command
        for place in self.settings.locations.values():
            with suppress(ValueError):
                yield from shlex.split(place.token_command)

    def _describe_read(self, target: Path) -> str:
        """The use that manifests and sources have for a file among them."""
        tables = (table for query in self.settings.sources.values() for table in query.files)
        try:
            manifests = read_manifest_files(Directory(self.directory), whole=True)
        except InvalidInput as error:
            if target.suffix.lower() in ENDINGS:
                return f"among the manifests, perhaps a file of contacts (they cannot be told: {error.lines[0]})"
            manifests = ()
        names = (*tables, *(name for manifest in manifests for name in manifest.reads))
        return (
            "a file that the manifests name" if any(_is_same(target, self.directory / name) for name in names) else ""
        )


def _describe_name(target: Path) -> str:
    return "called like a manifest" if target.suffix.lower() in MANIFEST_ENDINGS else ""


def _describe_content(target: Path) -> str:
    try:
        # to open a pipe would wait for its writer
        with target.open("rb") if target.is_file() else BytesIO() as file:
            start = file.read(32)
    except OSError:
        return ""
    return next((kind for sign, kind in _STARTS.items() if start.startswith(sign)), "")


def _is_same(path: Path, other: Path) -> bool:
    # names of one file may differ in case, or through links
    with suppress(OSError):
        return path.samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


def _lies_in(path: Path, directory: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))
