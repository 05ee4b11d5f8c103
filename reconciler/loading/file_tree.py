"""Finds the files of a tree that are read: those that end like a manifest, through links too; and a tree in memory.

Rules
1. A link is followed inside the tree. One that leaves it, leads in a circle or to nothing is listed like a manifest,
   and opening it raises the reason: its target may declare tags, which would be pruned if the link were skipped.
2. A file is read once, however many links lead to it; by its own name, where no part of that is hidden.
3. A link to a file that does not end like a manifest is followed when a contact set asks for the file.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, Protocol

SETTINGS_NAME = "reconciler.yaml"
MANIFEST_ENDINGS = (".yaml", ".yml")
ENDINGS = (".csv", ".tsv", ".jsonl", ".txt", ".parquet")
"""Of the contact files."""
_MISNAMED = re.compile(r"(?:(?<=\.yaml)|(?<=\.yml))(?:~|\.(?:txt|bak|old|orig|save|tmp|rej))$|\.json$", re.IGNORECASE)
"""What editors, mail programs and people put behind the ending of a manifest, or in its place."""

OUTSIDE = "leaves the manifests directory"
CIRCLE = "a link that leads in a circle"
NO_FILE = "no such file"
NOTHING = "a link that leads to nothing"


class CannotRead(Exception):
    """A file that is not there, not a regular file, or not inside; the message tells the reason."""


class EntryKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OPAQUE = "opaque"
    """May hold manifests, and cannot be read: a submodule that is not checked out."""
    OTHER = "other"
    """A device or a pipe."""


class Tree(Protocol):
    """Files and folders below a top, which has the empty name. Names have `/` between their parts."""

    def entries(self, folder: str) -> Iterable[tuple[str, EntryKind]]:
        """The entries of a folder; links are not followed."""
        ...

    def follow(self, name: str) -> tuple[str, EntryKind]:
        """The real name behind a name, through links, and its kind; raises CannotRead."""
        ...

    def kind_beyond(self, name: str) -> EntryKind | None:
        """The kind of the target of a link that cannot be followed; None where there is none, or it is unknown."""
        ...


def manifest_names(tree: Tree) -> list[str]:
    """The names of all files that end like a manifest, and of all links that cannot be followed, sorted."""
    return _Walk(tree).names()


def misnamed_files(tree: Tree) -> list[str]:
    """The names of files that may be manifests with another ending, sorted; those beside a manifest are its copies."""
    walk = _Walk(tree)
    names = set(walk.names())
    return sorted(name for name in walk.others if _MISNAMED.search(name) and _MISNAMED.sub("", name) not in names)


@dataclass(slots=True)
class _Walk:
    """One walk over a tree, breadth first."""

    tree: Tree
    read: dict[str, str] = field(default_factory=dict)
    """The name of each file by its real one."""
    listed: list[str] = field(default_factory=list)
    """Names that are listed although they cannot be read: opening them raises the reason."""
    walked: set[str] = field(default_factory=lambda: {""})
    """Real names of folders, so that a link to a folder does not repeat it."""
    others: list[str] = field(default_factory=list)
    """The names of files that end otherwise."""
    folders: deque[tuple[str, str]] = field(default_factory=lambda: deque([("", "")]))
    """To be walked: name and real name."""
    links: deque[tuple[str, str]] = field(default_factory=deque)
    """To be followed: name and real name."""

    def names(self) -> list[str]:
        """All names, sorted."""
        # links come last, so that a file that has a name of its own is read by it
        while self.folders or self.links:
            if self.folders:
                self._list_folder(*self.folders.popleft())
            else:
                self._follow_link(*self.links.popleft())
        return sorted([*self.read.values(), *self.listed])

    def _list_folder(self, folder: str, real: str) -> None:
        for entry, kind in sorted(self.tree.entries(real)):
            name, real_name = posixpath.join(folder, entry), posixpath.join(real, entry)
            if entry.startswith("."):
                continue
            if kind is EntryKind.LINK:
                self.links.append((name, real_name))
            elif kind is EntryKind.FOLDER:
                self._enter_folder(name, real_name)
            elif kind is EntryKind.OPAQUE:
                self.listed.append(name)
            elif _is_manifest(name):
                self.read.setdefault(real_name, name)
            elif kind is EntryKind.FILE:
                self.others.append(name)

    def _enter_folder(self, name: str, real: str) -> None:
        if real not in self.walked:
            self.walked.add(real)
            self.folders.append((name, real))

    def _follow_link(self, name: str, link: str) -> None:
        try:
            real, kind = self.tree.follow(link)
        except CannotRead:
            if _is_manifest(name) or self._may_declare(name, link):
                self.listed.append(name)
            return
        if kind is EntryKind.FOLDER:
            self._enter_folder(name, real)
        elif kind is EntryKind.OPAQUE or name == SETTINGS_NAME:
            self.listed.append(name)
        elif _is_manifest(name):
            self.read.setdefault(real, name)

    def _may_declare(self, name: str, link: str) -> bool:
        """Whether a link that cannot be followed may lead to a folder with manifests."""
        kind = self.tree.kind_beyond(link)
        return kind is EntryKind.FOLDER or (kind is None and not name.lower().endswith(ENDINGS))


def _is_manifest(name: str) -> bool:
    return name.lower().endswith(MANIFEST_ENDINGS)


def directory_hint(given: str) -> str:
    """The directory that was probably meant by a path that is none."""
    folder, suffix = posixpath.split(given)[0], posixpath.splitext(given)[1]
    if suffix in MANIFEST_ENDINGS:
        return f"name the directory of the manifests, {folder or '.'}: a manifest holds together with the others"
    if suffix == ".json":
        return "a plan file is for `apply` and `show`; here, name the directory of the manifests"
    return "name the directory of the manifests, or write a first one with `reconciler init`"


MAX_LINKS = 40
"""As many as Linux follows for one name."""


@dataclass(frozen=True, slots=True)
class FileTree:
    """Files in memory, such as those of another Git revision: read as a directory with the same files would be."""

    content: Mapping[str, bytes]
    """Of each file by its name."""
    label: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    """The target of each link, as written."""
    beyond: Mapping[str, EntryKind] = field(default_factory=dict)
    """The kind of the target of each link that leaves the tree, where it is known."""
    opaque: Mapping[str, str] = field(default_factory=dict)
    """The folders that cannot be read, each with the reason."""
    top: str = ""
    """The path of the tree in its repository."""
    place: str = ""
    """The directory that the tree is of, as a person would type it; empty: the working directory."""

    def names(self) -> list[str]:
        return manifest_names(_FolderTree(self))

    def misnamed(self) -> list[str]:
        return misnamed_files(_FolderTree(self))

    def open(self, name: str) -> BinaryIO:
        real = self.resolve(name)
        if real in self.content:
            return io.BytesIO(self.content[real])
        opaque = next((place for place in self.opaque if f"{real}/".startswith(f"{place}/")), None)
        if opaque is not None:
            raise CannotRead(self.opaque[opaque])
        _FolderTree(self).follow(name)
        raise CannotRead("not a regular file")

    def resolve(self, name: str) -> str:
        """The name without links; raises CannotRead where a link leaves or they do not end."""
        # from the repository's root on, so that a link may go up and come back by the tree's own name
        base = self.top.split("/") if self.top else []
        done, waiting, followed = list(base), deque(name.split("/")), 0
        while waiting:
            part = waiting.popleft()
            if part in ("", "."):
                continue
            # a link is resolved before the `..` behind it, as the operating system does it
            if part == ".." and not done:
                raise CannotRead(f"a link that {OUTSIDE}")
            done = done[:-1] if part == ".." else [*done, part]
            text = self.links.get("/".join(done[len(base) :])) if done[: len(base)] == base else None
            if text is None:
                continue
            followed += 1
            if followed > MAX_LINKS or text.startswith("/"):
                raise CannotRead(f"a link that {OUTSIDE}" if text.startswith("/") else CIRCLE)
            done.pop()
            waiting.extendleft(reversed(text.split("/")))
        if done[: len(base)] != base:
            raise CannotRead(f"a link that {OUTSIDE}")
        return "/".join(done[len(base) :])


class _FolderTree:
    """A tree in memory with the entries of each folder."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._folders: dict[str, set[str]] = {"": set()}
        for name in (*tree.content, *tree.links, *tree.opaque):
            while name:
                folder, _, entry = name.rpartition("/")
                self._folders.setdefault(folder, set()).add(entry)
                name = folder

    def entries(self, folder: str) -> Iterable[tuple[str, EntryKind]]:
        return [(entry, self._kind_of_entry(posixpath.join(folder, entry))) for entry in self._folders[folder]]

    def follow(self, name: str) -> tuple[str, EntryKind]:
        # a link to a folder that holds it would be walked for ever
        real, lies_in = self._tree.resolve(name), self._tree.resolve(posixpath.dirname(name))
        if real in self._folders:
            if not real or f"{lies_in}/".startswith(f"{real}/"):
                raise CannotRead(CIRCLE)
        elif real not in self._tree.content and real not in self._tree.opaque:
            is_link = posixpath.join(lies_in, posixpath.basename(name)) in self._tree.links
            raise CannotRead(NOTHING if is_link else NO_FILE)
        return real, self._kind_of_entry(real)

    def kind_beyond(self, name: str) -> EntryKind | None:
        return self._tree.beyond.get(name)

    def _kind_of_entry(self, name: str) -> EntryKind:
        if name in self._tree.links:
            return EntryKind.LINK
        return (
            EntryKind.FOLDER
            if name in self._folders
            else EntryKind.OPAQUE
            if name in self._tree.opaque
            else EntryKind.FILE
        )
