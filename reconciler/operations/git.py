"""Git, asked for the objects of a checkout: its files as they were at another revision, and since when one is as it is.

Law: the only module that starts Git; no worktree is left behind.

Rules
1. Files of a checkout never choose the repository: it is the one with its `.git` in the directory or next above it; a
   folder below that looks like a bare repository is files. Variables that name another do not count.
2. No setting of a repository runs a command or asks a host: no hook, pager or file system monitor; no transport is
   allowed, so that an object that is not here stays missing.
3. Only commands that read objects are started (rev-parse, ls-tree, cat-file, rev-list). These use no filter, no
   textconv, no external diff and no signature program; attributes and settings do not change that.
4. Git's own reason is told.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import Instant
from reconciler.core.model.safe_text import quoted
from reconciler.loading import FileTree
from reconciler.loading.file_tree import EntryKind

TIMEOUT_S = 120

_SETTINGS = (
    # rule 1: files below the checkout that look like a repository are files
    "safe.bareRepository=explicit",
    # rule 2: no transport at all
    "protocol.allow=never",
    f"core.hooksPath={os.devnull}",
    # nothing: older versions take any word for the name of a command
    "core.fsmonitor=",
)
_VARIABLES = {
    # no protocol at all: rules over what a repository's own settings allow
    "GIT_ALLOW_PROTOCOL": "",
    # a partial clone fetches nothing
    "GIT_NO_LAZY_FETCH": "1",
    # no job waits for a password
    "GIT_TERMINAL_PROMPT": "0",
    # nothing is written into the repository
    "GIT_OPTIONAL_LOCKS": "0",
    # refs/replace would show other objects than were committed
    "GIT_NO_REPLACE_OBJECTS": "1",
    # a name with a star is a name
    "GIT_LITERAL_PATHSPECS": "1",
    # reasons are recognised by their English words
    "LC_ALL": "C",
}
_KEPT = ("GIT_CONFIG", "GIT_EXEC_PATH")
"""Variables of the person's own: their settings (such as safe.directory), and where Git is installed."""


class GitRefused(UsageError):
    """Git refused; the message holds its reason."""


class NoRepository(GitRefused):
    """The place lies in no checkout."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A checkout. `top`: the directory with its `.git`. `shallow`: it lacks history."""

    top: Path
    shallow: bool

    @property
    def is_linked(self) -> bool:
        """Whether its repository lies elsewhere, as that of a submodule does, and of a linked worktree."""
        return not (self.top / ".git").is_dir()

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """The output of Git; raises GitRefused with its reason."""
        return _ask(self.top, arguments, stdin)

    def commit(self, revision: str) -> str:
        """The commit's full id; raises GitRefused where the revision names none."""
        try:
            return self.ask("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
        except GitRefused as error:
            lacking = "the clone is shallow and lacks history: fetch it first (git fetch --unshallow)"
            raise GitRefused(
                f"{quoted(revision)} names no commit in the Git repository {self.top} ({error.message})",
                hint=error.hint or (lacking if self.shallow else "fetch it first, or name another revision"),
            ) from None


def find_repository(place: Path) -> Repository:
    """The checkout that a file or directory lies in; raises NoRepository, or GitRefused with Git's reason."""
    start = Path(os.path.realpath(place))
    top = next((folder for folder in (start, *start.parents) if os.path.lexists(folder / ".git")), None)
    if top is None:
        raise NoRepository(
            f"{place} lies in no Git repository", hint="clone the repository, or name a place in a clone"
        )
    described = _ask(top, ("rev-parse", "--absolute-git-dir", "--is-shallow-repository"), b"").decode()
    directory, _, shallow = described.rstrip("\n").rpartition("\n")
    # Git itself says where the repository is: a planted `.git` shows only in its answer
    _refuse_planted(Path(directory).resolve(), top)
    return Repository(top, shallow == "true")


def _refuse_planted(directory: Path, top: Path) -> None:
    """A `.git` that is a file or a link may lead to a repository elsewhere, but not to files of its own checkout."""
    # a `.git` file may lead elsewhere, as in a worktree, but not into the files that a pull request brings
    if directory != top / ".git" and directory.is_relative_to(top):
        raise GitRefused(
            f"{top / '.git'} leads to {directory}, which are files of the checkout and no repository",
            hint="remove it: whoever wrote these files would say what the repository holds",
        )


def _ask(top: Path, arguments: tuple[str, ...], stdin: bytes) -> bytes:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    # no shell, and a path that begins with a dash is no option
    line = ["git", "-C", str(top), "--no-pager", *settings, *arguments]
    try:
        done = subprocess.run(
            line, input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False, env=_environment(os.environ, top)
        )
    except FileNotFoundError:
        raise GitRefused("there is no git on this machine", hint="install Git") from None
    except OSError as error:
        raise GitRefused(f"git did not run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise GitRefused(f"git {arguments[0]} took longer than {TIMEOUT_S} s", hint="see the repository") from None
    if done.returncode:
        raise _make_refusal(done.stderr.decode(errors="replace"), top)
    return done.stdout


def _environment(environment: Mapping[str, str], top: Path) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    return kept | _VARIABLES | {"GIT_CEILING_DIRECTORIES": str(top.parent)}


def _make_refusal(errors: str, top: Path) -> GitRefused:
    lines = [line.removeprefix("fatal: ").removeprefix("error: ") for line in errors.splitlines() if line.strip()]
    reason = next((line for line in lines if any(mark in line for mark in _HINTS)), lines[0] if lines else "no reason")
    hint = next((hint for mark, hint in _HINTS.items() if mark in reason), "")
    return GitRefused(f"Git: {reason}", hint=hint.format(top=top))


_HINTS = {
    "dubious ownership": "if you trust whoever owns it: git config --global --add safe.directory {top}",
    "promisor": "the clone is partial, and nothing is fetched here: fetch what is missing first, or clone all of it",
}


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
    below = Path(os.path.realpath(directory)).relative_to(repository.top).as_posix()
    tree = commit if below == "." else _find_tree(repository, commit, below)
    if tree is None:
        return FileTree({}, label=f"{revision}:{directory}", place=directory.as_posix())
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
        place=directory.as_posix(),
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
