"""Reads manifests and contact files from a directory on disk, and decodes their text.

Rules
1. A name is a path relative to the manifests directory, with `/`. Nothing outside the directory is ever opened, by
   `..`, by an absolute path or through a symbolic link. A link to a file or a directory inside is followed.
2. Only regular files are opened: no pipes, devices or directories.
3. Hidden files and directories are skipped.
4. A submodule of Git that is not checked out is an error: its empty directory would prune all that it declares.

Rules of the text
5. UTF-8, with or without a byte order mark; everything else is refused where it stops being UTF-8.
6. No control character but tab and line end; no line end but LF and CRLF, so that our lines are those of an editor.
7. At most `MAX_BYTES` and `MAX_LINES`: larger contact sets belong in contact files.
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

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source
from reconciler.loading.file_tree import (
    CIRCLE,
    NO_FILE,
    NOTHING,
    OUTSIDE,
    CannotRead,
    EntryKind,
    manifest_names,
    misnamed_files,
)


class Files(Protocol):
    """A tree of files. `label`: how a person names its top; `place`: the directory that it is, or was, of."""

    @property
    def label(self) -> str: ...

    @property
    def place(self) -> str: ...

    def names(self) -> list[str]:
        """All files that end like a manifest, and links that cannot be followed, sorted.

        Raises CannotRead when there is no such directory.
        """
        ...

    def misnamed(self) -> list[str]:
        """The files that may be manifests by another ending, sorted."""
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

    @property
    def place(self) -> str:
        return self.label

    def names(self) -> list[str]:
        if not self.root.is_dir():
            raise CannotRead("not a directory" if self.root.exists() else "no such directory")
        return manifest_names(self)

    def misnamed(self) -> list[str]:
        return misnamed_files(self)

    def open(self, name: str) -> BinaryIO:
        _, real, kind = self._find(name)
        if kind is EntryKind.OPAQUE:
            raise CannotRead(NOT_CHECKED_OUT)
        if kind is not EntryKind.FILE:
            raise CannotRead("not a regular file")
        with _as_cannot_read():
            return real.open("rb")

    def entries(self, folder: str) -> Iterable[tuple[str, EntryKind]]:
        try:
            with os.scandir(self.root / folder) as entries:
                return [(entry.name, _kind_of(entry)) for entry in entries]
        except OSError as error:
            raise CannotRead(f"cannot be listed: {error.strerror}") from None

    def follow(self, name: str) -> tuple[str, EntryKind]:
        top, real, kind = self._find(name)
        return real.relative_to(top).as_posix(), kind

    def _find(self, name: str) -> tuple[Path, Path, EntryKind]:
        """The real paths of the directory and of a file in it, and its kind; raises CannotRead."""
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
        return top, resolved, kind

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
        raise CannotRead(NO_FILE) from None
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


MAX_BYTES = 16_000_000
MAX_LINES = 300_000

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufdd0-\ufdef\ufffe\uffff]|\r(?!\n)")
_BOM = "\ufeff"
_UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|[\t\n\r -~]\x00[\t\n\r -~]\x00|\x00[\t\n\r -~]\x00[\t\n\r -~]")
"""How UTF-16 begins: with its byte order mark, or with two characters of ASCII."""

MOST_OF_A_POINTER = 1_024
_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/")

UTF_16 = "this is UTF-16, which some programs call Unicode"
LFS = "this is a Git LFS pointer; fetch it with `git lfs pull`"
LFS_ELSEWHERE = "of another revision Git itself holds only the pointer: `diff` cannot compare what the file said"
SAVE_AS_UTF_8 = "save the file as UTF-8"
OLD_LINE_ENDS = "lines that end as on old Macs: carriage returns without line feeds"
END_WITH_LF = "end lines with LF or CRLF"
_TOO_LARGE = "put the contacts into a file beside the manifest: contacts: {file: contacts.csv}"


def decode_text(data: bytes, path: str) -> str:
    """The text of a manifest or settings file, without its byte order mark; raises InvalidInput with the place."""
    if len(data) > MAX_BYTES:
        raise _text_error(Source(path), "size", f"larger than {MAX_BYTES:,} bytes, the limit of a manifest", _TOO_LARGE)
    # before the checks below, whose messages would not tell that the file is of another kind
    if is_lfs_pointer(data):
        raise _text_error(Source(path, 1, 1), "git-lfs", LFS, LFS_ELSEWHERE)
    if is_utf_16(data):
        raise _text_error(Source(path, 1, 1), "encoding", UTF_16, SAVE_AS_UTF_8)
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise _text_error(*_describe_not_utf8(data, error, path)) from None
    if (match := _FORBIDDEN.search(text)) is not None:
        raise _text_error(*_describe_forbidden(text, match, path))
    if text.count("\n") > MAX_LINES:
        raise _text_error(
            Source(path, MAX_LINES + 1, 1), "size", f"more than {MAX_LINES:,} lines in a manifest", _TOO_LARGE
        )
    return text


def is_sound(text: str) -> bool:
    """Whether the text has no character that is refused."""
    return _FORBIDDEN.search(text) is None


def is_utf_16(data: bytes) -> bool:
    """Whether the bytes begin as a text in UTF-16 does."""
    return _UTF_16.match(data) is not None


def is_lfs_pointer(data: bytes) -> bool:
    """Whether the bytes begin as the pointer that Git LFS leaves in place of a file that it did not fetch."""
    return _LFS.match(data) is not None


def place_at(text: str, index: int, path: str) -> Source:
    """Line and column of the character at `index`."""
    return Source(path, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _text_error(source: Source, check: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(source, message, check, hint=hint)])


def _describe_not_utf8(data: bytes, error: UnicodeDecodeError, path: str) -> tuple[Source, str, str, str]:
    # the place counts characters, not bytes: it is to be found in an editor
    before = data[: error.start].decode("utf-8").removeprefix(_BOM)
    source = place_at(before, len(before), path)
    return source, "encoding", f"not UTF-8: byte 0x{data[error.start]:02x}", SAVE_AS_UTF_8


def _describe_forbidden(text: str, match: re.Match[str], path: str) -> tuple[Source, str, str, str]:
    source = place_at(text, match.start(), path)
    if match.group() == "\r":
        message = "a carriage return without a line feed" if "\n" in text else OLD_LINE_ENDS
        return source, "encoding", message, END_WITH_LF
    return source, "encoding", f"control character U+{ord(match.group()):04X}", "remove it"
