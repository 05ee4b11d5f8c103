"""The manifests as they were at another revision, straight from Git's objects: no checkout, no worktree left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.git import GitRefused, Repository, find_repository
from reconciler.loading import Snapshot

_FOLDER, _LINK, _SUBMODULE = "040000", "120000", "160000"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a tree: a file, a link, a folder or a submodule. `id`: of its object."""

    mode: str
    id: str
    name: str


def files_at(revision: str, directory: Path) -> Snapshot:
    """The files below `directory` at `revision`; none where the directory was not there yet.

    Raises GitRefused with Git's reason, and where it was no directory.
    """
    repository = find_repository(directory)
    commit = repository.commit(revision)
    below = directory.resolve().relative_to(repository.top).as_posix()
    tree = commit if below == "." else _tree(repository, commit, below)
    if tree is None:
        return Snapshot({}, label=f"{revision}:{directory}")
    entries = [each for each in _entries(repository, "-r", tree) if each.mode != _SUBMODULE]
    content = dict(zip((each.name for each in entries), _contents(repository, entries), strict=True))
    return Snapshot(content, label=f"{revision}:{directory}")


def _tree(repository: Repository, commit: str, below: str) -> str | None:
    """The tree of a directory, None where nothing is there."""
    entry = next(_entries(repository, commit, "--", below), None)
    if entry is not None and entry.mode != _FOLDER:
        raise GitRefused(f"{below} is no directory at commit {commit}", hint="name another revision")
    return None if entry is None else entry.id


def _entries(repository: Repository, *arguments: str) -> Iterator[_Entry]:
    for line in repository.ask("ls-tree", "-z", *arguments).split(b"\0"):
        if line:
            told, _, name = line.partition(b"\t")
            mode, _, identity = told.decode().split(" ")
            yield _Entry(mode, identity, name.decode(errors="surrogateescape"))


def _contents(repository: Repository, entries: list[_Entry]) -> Iterator[bytes]:
    """The content of each blob, in order: as it was committed, without any filter."""
    wanted = "".join(f"{each.id}\n" for each in entries).encode()
    told = repository.ask("cat-file", "--batch", stdin=wanted)
    at = 0
    for entry in entries:
        head, _, _ = told[at : at + 200].partition(b"\n")
        if not head.startswith(f"{entry.id} blob ".encode()):
            raise GitRefused(f"Git: {head.decode(errors='replace')}, the object of {entry.name}", hint=_MISSING)
        start = at + len(head) + 1
        at = start + int(head.split(b" ")[2]) + 1
        yield told[start : at - 1]


_MISSING = "the clone is partial or damaged, and nothing is fetched here: fetch what is missing first"
