"""Git, asked for the objects of a checkout at another revision. Law: the only module that starts Git.

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

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.model.errors import UsageError

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
                f"{revision!r} names no commit in the Git repository {self.top} ({error.message})",
                hint=error.hint or (lacking if self.shallow else "fetch it first, or name another revision"),
            ) from None


def find_repository(place: Path) -> Repository:
    """The checkout that a file or directory lies in; raises NoRepository, or GitRefused with Git's reason."""
    start = place.resolve()
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
