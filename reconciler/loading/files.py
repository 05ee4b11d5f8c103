"""Where manifests and contact files are read from: a directory, or a snapshot of one (another Git revision).

Rules
1. A name is a path relative to the manifests directory, with `/`. Nothing outside the directory is ever opened, by
   `..`, by an absolute path or through a symbolic link.
2. Only regular files are opened: no pipes, devices or directories.
3. Hidden files and directories are not looked at.
"""

from __future__ import annotations

import io
import os
import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

SETTINGS_NAME = "reconciler.yaml"
MANIFEST_ENDINGS = (".yaml", ".yml")

_OUTSIDE = "leaves the manifests directory"


class CannotRead(Exception):
    """A file that is not there, not a regular file, or not inside; the message says which."""


class Files(Protocol):
    """A tree of files. `label`: how a person names its top."""

    @property
    def label(self) -> str: ...

    def names(self) -> list[str]:
        """All files that end like a manifest, sorted; raises CannotRead when there is no such directory."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file for reading; raises CannotRead."""
        ...


def inside(manifest: str, written: str) -> str:
    """The name of the file that a manifest means by a path; raises CannotRead where it means none inside."""
    if not written.strip() or not written.isprintable():
        raise CannotRead("expected the path of a file")
    if "\\" in written:
        raise CannotRead("the path has a backslash: write / between directories")
    if written.startswith(("/", "~")) or written[1:2] == ":":
        raise CannotRead(f"the path is not relative: it {_OUTSIDE}")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(manifest), written))
    if name == ".." or name.startswith(("../", "/")):
        raise CannotRead(f"the path {_OUTSIDE}")
    return name


def shown(files: Files, name: str) -> str:
    """The path as a person would type it."""
    return posixpath.normpath(posixpath.join(files.label, name)) if files.label else name


@dataclass(frozen=True, slots=True)
class Directory:
    """Files of a directory on disk."""

    root: Path

    @property
    def label(self) -> str:
        return self.root.as_posix()

    def names(self) -> list[str]:
        if not self.root.is_dir():
            raise CannotRead("not a directory" if self.root.exists() else "no such directory")
        found: list[str] = []
        for folder, folders, names in os.walk(self.root, onerror=_cannot_list):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            base = Path(folder).relative_to(self.root).as_posix()
            found += [
                posixpath.normpath(posixpath.join(base, name))
                for name in names
                if name.lower().endswith(MANIFEST_ENDINGS) and not name.startswith(".")
            ]
        return sorted(found)

    def open(self, name: str) -> BinaryIO:
        path = self.root / name
        try:
            resolved = path.resolve()
            if not resolved.is_relative_to(self.root.resolve()):
                raise CannotRead(f"a link that {_OUTSIDE}")
            if not stat.S_ISREG(resolved.stat().st_mode):
                raise CannotRead("not a regular file")
            return resolved.open("rb")
        except FileNotFoundError:
            raise CannotRead("no such file") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise CannotRead(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _cannot_list(error: OSError) -> None:
    raise CannotRead(f"cannot be listed: {error.strerror}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files held in memory: name → content."""

    content: Mapping[str, bytes]
    label: str = ""

    def names(self) -> list[str]:
        return sorted(
            name
            for name in self.content
            if name.lower().endswith(MANIFEST_ENDINGS) and not any(part.startswith(".") for part in name.split("/"))
        )

    def open(self, name: str) -> BinaryIO:
        if name not in self.content:
            raise CannotRead("no such file")
        return io.BytesIO(self.content[name])
