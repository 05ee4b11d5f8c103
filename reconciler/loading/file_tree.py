"""Files held in memory, such as those of another Git revision: read as a directory with the same files would be."""

from __future__ import annotations

import io
import posixpath
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from reconciler.loading.links import CIRCLE, NOTHING, OUTSIDE, CannotRead, EntryKind, manifest_names

MAX_LINKS = 40
"""As many as Linux follows for one name."""


@dataclass(frozen=True, slots=True)
class FileTree:
    """`content`: of each file by its name.

    `links`: the text of each link; `beyond`: what a link leads to that leaves, where that is known. `opaque`: what
    cannot be looked into, and why. `top`: where the files lie in their repository, by names from its root.
    """

    content: Mapping[str, bytes]
    label: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    beyond: Mapping[str, EntryKind] = field(default_factory=dict)
    opaque: Mapping[str, str] = field(default_factory=dict)
    top: str = ""

    def names(self) -> list[str]:
        return manifest_names(_Tree(self))

    def open(self, name: str) -> BinaryIO:
        real = self.resolve(name)
        if real in self.content:
            return io.BytesIO(self.content[real])
        opaque = next((place for place in self.opaque if f"{real}/".startswith(f"{place}/")), None)
        if opaque is not None:
            raise CannotRead(self.opaque[opaque])
        _Tree(self).follow(name)
        raise CannotRead("not a regular file")

    def resolve(self, name: str) -> str:
        """The name without links; raises CannotRead where a link leaves or they do not end."""
        base = self.top.split("/") if self.top else []
        done, waiting, followed = list(base), deque(name.split("/")), 0
        while waiting:
            part = waiting.popleft()
            if part in ("", "."):
                continue
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


class _Tree:
    """A snapshot with its folders: the entries of each."""

    def __init__(self, snapshot: FileTree) -> None:
        self._snapshot = snapshot
        self._folders: dict[str, set[str]] = {"": set()}
        for name in (*snapshot.content, *snapshot.links, *snapshot.opaque):
            while name:
                folder, _, entry = name.rpartition("/")
                self._folders.setdefault(folder, set()).add(entry)
                name = folder

    def entries(self, folder: str) -> Iterable[tuple[str, EntryKind]]:
        return [(entry, self._kind(posixpath.join(folder, entry))) for entry in self._folders[folder]]

    def follow(self, name: str) -> tuple[str, EntryKind]:
        real, lies_in = self._snapshot.resolve(name), self._snapshot.resolve(posixpath.dirname(name))
        if real in self._folders:
            if not real or f"{lies_in}/".startswith(f"{real}/"):
                raise CannotRead(CIRCLE)
        elif real not in self._snapshot.content and real not in self._snapshot.opaque:
            is_link = posixpath.join(lies_in, posixpath.basename(name)) in self._snapshot.links
            raise CannotRead(NOTHING if is_link else "no such file")
        return real, self._kind(real)

    def kind_beyond(self, name: str) -> EntryKind | None:
        return self._snapshot.beyond.get(name)

    def _kind(self, name: str) -> EntryKind:
        if name in self._snapshot.links:
            return EntryKind.LINK
        return (
            EntryKind.FOLDER
            if name in self._folders
            else EntryKind.OPAQUE
            if name in self._snapshot.opaque
            else EntryKind.FILE
        )
