"""Files as they were at another revision, straight from Git's objects (no checkout, no worktree left behind), and since
when they are as they are.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.model.names import Instant
from reconciler.loading import FileTree
from reconciler.loading.file_tree import EntryKind
from reconciler.operations.git import GitRefused, NoRepository, Repository, find_repository

_FOLDER, _LINK, _SUBMODULE = "040000", "120000", "160000"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a tree: a file, a link, a folder or a submodule. `id`: of its object."""

    mode: str
    id: str
    name: str


def read_files_at(revision: str, directory: Path) -> FileTree:
    """The files below `directory` at `revision`; none where the directory was not there yet.

    Raises GitRefused with Git's reason, and where it was no directory.
    """
    repository = find_repository(directory)
    commit = repository.commit(revision)
    below = directory.resolve().relative_to(repository.top).as_posix()
    tree = commit if below == "." else _find_tree(repository, commit, below)
    if tree is None:
        return FileTree({}, label=f"{revision}:{directory}")
    entries = list(_list_entries(repository, "-r", tree))
    blobs = [entry for entry in entries if entry.mode != _SUBMODULE]
    content = dict(zip(blobs, _read_contents(repository, blobs), strict=True))
    links = [entry for entry in blobs if entry.mode == _LINK]
    return FileTree(
        {entry.name: text for entry, text in content.items() if entry.mode != _LINK},
        label=f"{revision}:{directory}",
        links={entry.name: content[entry].decode(errors="surrogateescape") for entry in links},
        beyond=_find_link_targets(repository, commit, below, links),
        opaque={entry.name: _SUBMODULES for entry in entries if entry.mode == _SUBMODULE},
        top="" if below == "." else below,
    )


def _find_link_targets(repository: Repository, commit: str, below: str, links: list[_Entry]) -> dict[str, EntryKind]:
    """The kinds of the links' targets within the repository; no entry for a target that is not there."""
    # a line break in a name would end its line of the request early
    asked = [entry.name for entry in links if "\n" not in entry.name]
    wanted = "".join(f"{commit}:{posixpath.normpath(f'{below}/{name}')}\n" for name in asked)
    answer = repository.ask(
        "cat-file", "--batch-check=%(objecttype)", "--follow-symlinks", stdin=wanted.encode(errors="surrogateescape")
    )
    kinds, at = {}, 0
    for name in asked:
        line = answer[at:].partition(b"\n")[0]
        at += len(line) + 1
        if line in _KINDS:
            kinds[name] = _KINDS[line]
        elif not line.endswith(b" missing"):
            # the target's path follows, in as many bytes as the line says
            at += int(line.rpartition(b" ")[2]) + 1
    return kinds


_KINDS = {b"blob": EntryKind.FILE, b"tree": EntryKind.FOLDER}
_SUBMODULES = "a submodule: its files at this revision are not in this repository"


def _find_tree(repository: Repository, commit: str, below: str) -> str | None:
    """The tree of a directory, None where nothing is there."""
    entry = next(_list_entries(repository, commit, "--", below), None)
    if entry is not None and entry.mode != _FOLDER:
        raise GitRefused(f"{below} is no directory at commit {commit}", hint="name another revision")
    return None if entry is None else entry.id


def _list_entries(repository: Repository, *arguments: str) -> Iterator[_Entry]:
    # names may hold any byte but NUL
    for line in repository.ask("ls-tree", "-z", *arguments).split(b"\0"):
        if line:
            head, _, name = line.partition(b"\t")
            mode, _, identity = head.decode().split(" ")
            yield _Entry(mode, identity, name.decode(errors="surrogateescape"))


def _read_contents(repository: Repository, entries: list[_Entry]) -> Iterator[bytes]:
    """The content of each blob, in order: as it was committed, without any filter."""
    wanted = "".join(f"{entry.id}\n" for entry in entries).encode()
    answer = repository.ask("cat-file", "--batch", stdin=wanted)
    at = 0
    for entry in entries:
        head, _, _ = answer[at : at + 200].partition(b"\n")
        if not head.startswith(f"{entry.id} blob ".encode()):
            raise GitRefused(f"Git: {head.decode(errors='replace')}, the object of {entry.name}", hint=_MISSING)
        start = at + len(head) + 1
        at = start + int(head.split(b" ")[2]) + 1
        yield answer[start : at - 1]


_MISSING = "the clone is partial or damaged, and nothing is fetched here: fetch what is missing first"


def find_commit_time(file: Path) -> Instant | None:
    """When a file was committed as it is: the time of its author or of the commit, whichever is earlier.

    None where Git does not track it; raises GitRefused where that cannot be told.
    """
    try:
        repository = find_repository(file)
    except NoRepository:
        return None
    # a repository without any commit tracks nothing
    if not repository.ask("rev-list", "--all", "--max-count=1"):
        return None
    commit, path = repository.commit("HEAD"), file.resolve().relative_to(repository.top).as_posix()
    entry = next(_list_entries(repository, commit, "--", path), None)
    if entry is None:
        return None
    if repository.shallow:
        raise GitRefused(f"when {file} was committed cannot be told: the clone is shallow")
    if _compute_object_id(file, len(entry.id)) != entry.id:
        raise GitRefused(f"{file} is not as it was committed")
    times = repository.ask("rev-list", "--max-count=1", "--format=%at %ct", commit, "--", path).split(b"\n")[1]
    # a rebase moves the commit's time, and an author's clock may be wrong: the earlier time claims less
    return Instant(1000 * min(map(int, times.split())))


def _compute_object_id(file: Path, length: int) -> str:
    """The id that Git gives to the content of a file."""
    content = file.read_bytes()
    digest = hashlib.new("sha1" if length == 40 else "sha256", usedforsecurity=False)
    # Git hashes this header before the content
    digest.update(b"blob %d\0" % len(content))
    digest.update(content)
    return digest.hexdigest()
