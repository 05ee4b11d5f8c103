"""A disk that may lose what was not brought to it: file operations are recorded, and states that a crash may leave are
made of them.

Rules of the model, which grant a file system no more than POSIX does
1. The bytes that are written to a file, and the length that it is cut to, are there after `sync` of it; before, each of
   these operations may be there or not, whatever came later, and of a write the first sectors alone. It changes no byte
   beside its own.
2. A name (of a new file, a folder, a rename, a second name, a removal) is there after `sync folder` of its folder;
   before, each of them may be there or not, whatever came later.
3. A crash comes behind each operation. What it may leave grows until the next sync, so that it is enough to look before
   each of these, and where something is acknowledged.
4. Where the operations that may be there or not are few, all states are made; else a sample by a seed, with these in
   it: all of them, none, each alone missing, each alone there, and the first ones in their order.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random

from reconciler.system import FileCalls

Content = bytes | None
"""None: a folder."""
Tree = dict[Path, Content]
NAMES = ("name", "rename", "link", "folder", "remove")
SYNCS = ("sync", "sync folder")
SECTOR = 512
FEW = 32
"""So many states of one moment are made without a sample."""


@dataclass(frozen=True, slots=True)
class Op:
    """An operation. `file`: the name that the file came by, a number behind it where it was not the first."""

    kind: str
    file: str
    path: Path
    content: bytes = b""
    """What is written, or the old name of a rename."""
    offset: int = 0
    """Where it is written; of `cut`, the new length."""


ACKNOWLEDGED = Op("acknowledged", "", Path())


@dataclass
class Recorder:
    """Does what it is told, and writes it down."""

    ops: list[Op] = field(default_factory=list)
    _files: dict[str, str] = field(default_factory=dict)
    """Each file by its present name."""
    _open: dict[int, str] = field(default_factory=dict)

    @property
    def calls(self) -> FileCalls:
        return FileCalls(
            self._make, self._write, self._sync, self._replace, self._link, self._make_folder, self._sync_folder
        )

    def _note(self, kind: str, name: str | Path, content: bytes = b"", offset: int = 0) -> None:
        self.ops.append(Op(kind, self._files.get(str(name), ""), Path(name), content, offset))

    def _make(self, **where: object) -> tuple[int, str]:
        descriptor, name = tempfile.mkstemp(**where)  # type: ignore[call-overload]
        self._open[descriptor] = self._files[name] = name
        self._note("name", name)
        return descriptor, name

    def _write(self, descriptor: int, parts: Iterable[bytes]) -> None:
        content = b"".join(parts)
        self._note("write", self._open[descriptor], content, os.lseek(descriptor, 0, os.SEEK_CUR))
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
        self._files[str(folder)] = str(folder)
        self._note("folder", folder)

    def _sync_folder(self, folder: Path) -> None:
        self._note("sync folder", folder)


@dataclass
class Image:
    """What is on the disk. `names`: the file of each name, None for a folder."""

    names: dict[Path, str | None]
    files: dict[str, bytearray]

    @classmethod
    def of(cls, tree: Tree) -> Image:
        names = {path: None if content is None else str(path) for path, content in tree.items()}
        return cls(names, {str(path): bytearray(content) for path, content in tree.items() if content is not None})

    def copy(self) -> Image:
        return Image(dict(self.names), {file: bytearray(content) for file, content in self.files.items()})

    def do(self, op: Op, share: int | None = None) -> None:
        """`share`: so many bytes of a write; another operation is done, or not for 0. None: all of it."""
        if share == 0:
            return
        if op.kind in NAMES:
            self._name(op)
            return
        content = self.files.setdefault(op.file, bytearray())
        content.extend(bytes(max(0, op.offset - len(content))))
        if op.kind == "write":
            content[op.offset : op.offset + len(op.content[:share])] = op.content[:share]
        else:
            del content[op.offset :]

    def _name(self, op: Op) -> None:
        if op.kind == "rename":
            self.names.pop(Path(os.fsdecode(op.content)), None)
        if op.kind == "remove":
            self.names.pop(op.path, None)
        else:
            self.names[op.path] = None if op.kind == "folder" else op.file

    def tree(self, made: Iterable[Path] = ()) -> Tree:
        """`made`: folders that may be lost, and all that is in them with them."""
        gone = set(made) - self.names.keys()
        return {
            path: None if file is None else bytes(self.files.get(file, b""))
            for path, file in self.names.items()
            if not gone or gone.isdisjoint(path.parents)
        }


@dataclass(frozen=True)
class Crash:
    """A moment: what is on the disk for sure, what may be there too, and how often something was acknowledged."""

    durable: Image
    pending: Sequence[Op]
    acknowledged: int

    @property
    def possible(self) -> int:
        """The number of states, equal ones counted by themselves."""
        return math.prod(len(_shares(op)) for op in self.pending)

    def _mixes(self, chance: Random, more: int) -> Iterable[tuple[int, ...]]:
        if self.possible <= FEW:
            return product(*map(_shares, self.pending))
        return _sample(self.pending, chance, more)

    def trees(self, chance: Random, more: int) -> Iterator[Tree]:
        """All of them where they are few; else `more` by chance besides those that are always looked at."""
        made = [op.path for op in self.pending if op.kind == "folder"]
        for kept in self._mixes(chance, more):
            image = self.durable.copy()
            for op, share in zip(self.pending, kept, strict=True):
                image.do(op, share)
            yield image.tree(made)


def _shares(op: Op) -> tuple[int, ...]:
    """Nothing, the first and the last place where a write may be torn, all."""
    if op.kind != "write":
        return (0, 1)
    ends = _ends(op)
    return tuple(dict.fromkeys((0, ends[0], ends[-1], len(op.content))))


def _ends(op: Op) -> Sequence[int]:
    """Ends of its sectors; half of a write that is shorter than one."""
    size = len(op.content)
    return range(SECTOR, size, SECTOR) or (size // 2,)


def _sample(ops: Sequence[Op], chance: Random, more: int) -> Iterator[tuple[int, ...]]:
    whole, none = tuple(_shares(op)[-1] for op in ops), (0,) * len(ops)

    def any_share(nth: int) -> int:
        return chance.choice([0, whole[nth], *_ends(ops[nth])]) if ops[nth].kind == "write" else chance.choice([0, 1])

    yield whole
    for nth in range(len(ops)):
        yield (*whole[:nth], 0, *whole[nth + 1 :])
        yield (*none[:nth], whole[nth], *none[nth + 1 :])
        yield (*whole[:nth], *none[nth:])
    for _ in range(more):
        most = chance.random()
        yield tuple(whole[nth] if chance.random() < most else any_share(nth) for nth in range(len(ops)))


def crashes(before: Tree, ops: Iterable[Op]) -> Iterator[Crash]:
    """The moments to look at."""
    durable, pending, acknowledged = Image.of(before), list[Op](), 0
    for op in (*ops, None):
        if op is None or op.kind in SYNCS:
            yield Crash(durable.copy(), tuple(pending), acknowledged)
        if op is None:
            return
        if op.kind == "acknowledged":
            acknowledged += 1
            yield Crash(durable.copy(), tuple(pending), acknowledged)
        elif op.kind in SYNCS:
            for done in [each for each in pending if _brings(op, each)]:
                durable.do(done)
            pending = [each for each in pending if not _brings(op, each)]
        else:
            pending.append(op)


def crash_states(before: Tree, ops: Iterable[Op], chance: Random, more: int = 0) -> Iterator[tuple[Tree, int]]:
    """Trees that a crash may leave, and how often something was acknowledged by then; `more` as in `Crash.trees`."""
    for crash in crashes(before, ops):
        for tree in crash.trees(chance, more):
            yield tree, crash.acknowledged


def _brings(sync: Op, op: Op) -> bool:
    """Whether an operation is on the disk after this sync."""
    if op.kind in NAMES:
        return sync.kind == "sync folder" and op.path.parent == sync.path
    return sync.kind == "sync" and op.file == sync.file


def lay_out(tree: Tree, top: Path, instead: Path) -> None:
    """Makes the files of a tree below `top`, which was recorded below `instead`."""
    for path, content in sorted(tree.items(), key=lambda item: str(item[0])):
        target = top / path.relative_to(instead)
        if content is None:
            target.mkdir()
        else:
            target.write_bytes(content)


def tree_of(top: Path) -> Tree:
    return {path: path.read_bytes() if path.is_file() else None for path in top.rglob("*")}
