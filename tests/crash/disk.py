"""A disk that may lose what was not brought to it: file operations are recorded, and every state that a crash may leave
is made of them.

Rules of the model, which grant a file system no more than POSIX does
1. The bytes of a file are there after `sync` of it; before, none, half or all of them are.
2. A name (of a new file, a folder, a rename, a second name, a removal) is there after `sync_folder` of its folder;
   before, each of them may be there or not, whatever came later.
3. A crash comes behind each operation. Until the last one nothing was acknowledged.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from reconciler.system import FileCalls

Content = bytes | None
"""None: a folder."""
Tree = dict[Path, Content]
NAMES = ("name", "rename", "link", "folder")


@dataclass(frozen=True, slots=True)
class Op:
    """An operation. `file`: the number of the file that it is about; folders are files too."""

    kind: str
    file: int
    path: Path
    content: bytes = b""


@dataclass
class Recorder:
    """Does what it is told, and writes it down."""

    ops: list[Op] = field(default_factory=list)
    _files: dict[str, int] = field(default_factory=dict)
    """The number of each file by its name."""
    _open: dict[int, str] = field(default_factory=dict)

    @property
    def calls(self) -> FileCalls:
        return FileCalls(
            self._make, self._write, self._sync, self._replace, self._link, self._make_folder, self._sync_folder
        )

    def _note(self, kind: str, name: str | Path, content: bytes = b"") -> None:
        self.ops.append(Op(kind, self._files.get(str(name), -1), Path(name), content))

    def _make(self, **where: object) -> tuple[int, str]:
        descriptor, name = tempfile.mkstemp(**where)  # type: ignore[call-overload]
        self._open[descriptor] = name
        self._files[name] = len(self._files)
        self._note("name", name)
        return descriptor, name

    def _write(self, descriptor: int, parts: Iterable[bytes]) -> None:
        content = b"".join(parts)
        self._note("write", self._open[descriptor], content)
        os.write(descriptor, content)

    def _sync(self, descriptor: int) -> None:
        self._note("sync", self._open[descriptor])
        os.fsync(descriptor)

    def _replace(self, source: str, target: Path) -> None:
        self._files[str(target)] = self._files[source]
        self._note("rename", target, source.encode())
        Path(source).replace(target)

    def _link(self, source: str, target: Path) -> None:
        os.link(source, target)
        self._files[str(target)] = self._files[source]
        self._note("link", target)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir()
        self._files[str(folder)] = len(self._files)
        self._note("folder", folder)

    def _sync_folder(self, folder: Path) -> None:
        self._note("sync folder", folder)


def crash_states(before: Tree, ops: list[Op]) -> Iterator[tuple[Tree, bool]]:
    """Every tree that a crash may leave, and whether all was acknowledged by then."""
    seen: set[tuple[tuple[Path, Content], ...]] = set()
    for after in range(len(ops) + 1):
        acknowledged = after == len(ops)
        for tree in _trees(before, ops[:after]):
            key = tuple(sorted(tree.items(), key=lambda item: str(item[0])))
            if acknowledged or key not in seen:
                seen.add(key)
                yield tree, acknowledged


def _trees(before: Tree, ops: list[Op]) -> Iterator[Tree]:
    written = {nth: op for nth, op in enumerate(ops) if op.kind == "write"}
    loose = [nth for nth, op in written.items() if not _is_synced(ops[nth:], op)]
    names = [nth for nth, op in enumerate(ops) if op.kind in NAMES]
    unsure = [nth for nth in names if not _is_durable(ops[nth:], ops[nth])]
    for kept in product([True, False], repeat=len(unsure)):
        lost = {nth for nth, stays in zip(unsure, kept, strict=True) if not stays}
        for parts in product([0.0, 0.5, 1.0], repeat=len(loose)):
            shares = dict(zip(loose, parts, strict=True))
            contents = {
                op.file: op.content[: int(len(op.content) * shares.get(nth, 1.0))] for nth, op in written.items()
            }
            yield _replayed(before, ops, lost, contents)


def _is_synced(later: list[Op], write: Op) -> bool:
    return any(op.kind == "sync" and op.file == write.file for op in later)


def _is_durable(later: list[Op], name: Op) -> bool:
    return any(op.kind == "sync folder" and op.path == name.path.parent for op in later)


def _replayed(before: Tree, ops: list[Op], lost: set[int], contents: dict[int, bytes]) -> Tree:
    tree = dict(before)
    for nth, op in enumerate(ops):
        if op.kind not in NAMES or nth in lost:
            continue
        if op.kind == "rename":
            tree.pop(Path(os.fsdecode(op.content)), None)
        tree[op.path] = None if op.kind == "folder" else contents.get(op.file, b"")
    # what is in a folder that was lost is lost with it
    made = {op.path for op in ops if op.kind == "folder"}
    gone = made - tree.keys()
    return {path: content for path, content in tree.items() if gone.isdisjoint(path.parents)}


def lay_out(tree: Tree, top: Path, instead: Path) -> None:
    """Makes the files of a tree below `top`, which was recorded below `instead`."""
    for path, content in sorted(tree.items(), key=lambda item: str(item[0])):
        target = top / path.relative_to(instead)
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(content)


def tree_of(top: Path) -> Tree:
    return {path: path.read_bytes() if path.is_file() else None for path in top.rglob("*")}
