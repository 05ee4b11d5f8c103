"""The manifests as they were at another revision, straight from Git: no checkout, no worktree left behind."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from reconciler.core.errors import UsageError
from reconciler.loading import Snapshot

TIMEOUT_S = 120


def files_at(revision: str, directory: Path) -> Snapshot:
    """The files below `directory` at `revision`; none where the directory was not there yet."""
    top = directory.resolve()
    while not top.is_dir():
        top = top.parent
    commit = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise UsageError(
            f"{revision!r} names no commit in the Git repository of {directory}",
            hint="fetch it first (a shallow clone lacks history), or name another with --base",
        )
    root = Path((_git(top, "rev-parse", "--show-toplevel") or b"").decode().strip())
    below = directory.resolve().relative_to(root).as_posix()
    tree = commit.decode().strip() + (":" + below if below != "." else "")
    archive = _git(root, "archive", "--format=tar", tree)
    return Snapshot(_members(archive) if archive is not None else {}, label=f"{revision}:{directory}")


def _members(archive: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                found[member.name] = content.read()
    return found


def _git(directory: Path, *arguments: str) -> bytes | None:
    """What Git prints, None where it refuses."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise UsageError("there is no git on this machine", hint="install Git") from error
    return done.stdout if done.returncode == 0 else None
