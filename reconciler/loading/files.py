"""Reads manifests and contact files from a directory on disk.

Rules
1. A name is a path relative to the manifests directory, with `/`. Nothing outside the directory is ever opened, by
   `..`, by an absolute path or through a symbolic link. A link to a file or a directory inside is followed.
2. Only regular files are opened: no pipes, devices or directories.
3. Hidden files and directories are skipped.
4. A submodule of Git that is not checked out is an error: its empty directory would prune all that it declares.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from reconciler.loading.file_tree import CIRCLE, NOTHING, OUTSIDE, CannotRead, EntryKind, manifest_names


class Files(Protocol):
    """A tree of files. `label`: how a person names its top."""

    @property
    def label(self) -> str: ...

    def names(self) -> list[str]:
        """All files that end like a manifest, and links that cannot be followed, sorted.

        Raises CannotRead when there is no such directory.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A file for reading; raises CannotRead."""
        ...


def name_inside(manifest: str, written: str) -> str:
    """The name of the file that a manifest means by a path; raises CannotRead where it means none inside."""
    if not written.strip() or not written.isprintable():
        raise CannotRead("expected the path of a file")
    # on Windows alone it would part directories: one manifest would name different files
    if "\\" in written:
        raise CannotRead("the path has a backslash: write / between directories")
    if written.startswith(("/", "~")) or written[1:2] == ":":
        raise CannotRead(f"the path is not relative: it {OUTSIDE}")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(manifest), written))
    if name == ".." or name.startswith(("../", "/")):
        raise CannotRead(f"the path {OUTSIDE}")
    return name


def display_path(files: Files, name: str) -> str:
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
        return manifest_names(self)

    def open(self, name: str) -> BinaryIO:
        real, kind = self.follow(name)
        if kind is EntryKind.OPAQUE:
            raise CannotRead(NOT_CHECKED_OUT)
        if kind is not EntryKind.FILE:
            raise CannotRead("not a regular file")
        with _as_cannot_read():
            return (self.root.resolve() / real).open("rb")

    def entries(self, folder: str) -> Iterable[tuple[str, EntryKind]]:
        try:
            with os.scandir(self.root / folder) as entries:
                return [(entry.name, _kind_of(entry)) for entry in entries]
        except OSError as error:
            raise CannotRead(f"cannot be listed: {error.strerror}") from None

    def follow(self, name: str) -> tuple[str, EntryKind]:
        with _as_cannot_read():
            # both ends resolved: the directory itself may be given through a link
            path, top = self.root / name, self.root.resolve()
            resolved = path.resolve()
            if not resolved.is_relative_to(top):
                raise CannotRead(f"a link that {OUTSIDE}")
            # only a link can lead to nothing; any other missing name is `no such file`
            if not resolved.exists() and path.is_symlink():
                raise CannotRead(NOTHING)
            mode = resolved.stat().st_mode
            if stat.S_ISDIR(mode) and path.parent.resolve().is_relative_to(resolved):
                raise CannotRead(CIRCLE)
        kind = (
            _kind_of_folder(resolved)
            if stat.S_ISDIR(mode)
            else EntryKind.FILE
            if stat.S_ISREG(mode)
            else EntryKind.OTHER
        )
        return resolved.relative_to(top).as_posix(), kind

    def kind_beyond(self, name: str) -> EntryKind | None:
        try:
            mode = (self.root / name).stat().st_mode
        except OSError:
            return None
        return EntryKind.FOLDER if stat.S_ISDIR(mode) else EntryKind.FILE


def _kind_of(entry: os.DirEntry[str]) -> EntryKind:
    """A device counts as a file: it is refused when it is opened."""
    if entry.is_symlink():
        return EntryKind.LINK
    return _kind_of_folder(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else EntryKind.FILE


def _kind_of_folder(folder: Path) -> EntryKind:
    return EntryKind.OPAQUE if is_missing_submodule(folder) else EntryKind.FOLDER


@contextmanager
def _as_cannot_read() -> Iterator[None]:
    """Raises the disk's errors as CannotRead."""
    try:
        yield
    except FileNotFoundError:
        raise CannotRead("no such file") from None
    except RuntimeError:
        # how pathlib reports a circle up to Python 3.12
        raise CannotRead(CIRCLE) from None
    except (OSError, ValueError) as error:
        reason = CIRCLE if getattr(error, "errno", None) == errno.ELOOP else getattr(error, "strerror", None) or error
        raise CannotRead(reason if reason == CIRCLE else f"cannot be read: {reason}") from None


NOT_CHECKED_OUT = "a submodule that is not checked out: git submodule update --init"
MOST_BYTES = 1_000_000

_PATH = re.compile(r'^\s*path\s*=\s*"?(.*?)"?\s*$', re.MULTILINE)


def is_missing_submodule(folder: Path) -> bool:
    """Whether a directory is empty, and its checkout's `.gitmodules` has a submodule there."""
    try:
        if any(folder.iterdir()):
            return False
        place = folder.resolve()
        top = next((above for above in place.parents if os.path.lexists(above / ".git")), None)
        return top is not None and place.relative_to(top).as_posix() in _PATH.findall(
            _read_regular(top / ".gitmodules")
        )
    except OSError:
        return False


def _read_regular(file: Path) -> str:
    """The text of a regular file; empty for a device, pipe or link in its place."""
    # a pull request may put a link or a pipe there
    if not stat.S_ISREG(file.lstat().st_mode):
        return ""
    with file.open("rb") as stream:
        return stream.read(MOST_BYTES).decode("utf-8", "replace")
