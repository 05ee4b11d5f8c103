"""Pull requests that want more than tags: files that Git takes for a repository whose settings run commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

COMMIT = "1" * 40
"""The commit that a planted repository is at: not in it, so that Git would fetch it."""


def git(*arguments: str) -> bytes:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, env=environment)
    return done.stdout


def plant_repository(place: Path, loot: Path) -> None:
    """Files that look like a bare repository: whatever its configuration can name runs `touch loot`."""
    command = f"touch {loot} #"
    place.mkdir(parents=True, exist_ok=True)
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    for branch in ("refs/heads/main", "refs/remotes/origin/main", "objects/info/x"):
        (place / branch).parent.mkdir(parents=True, exist_ok=True)
        (place / branch).write_text(f"{COMMIT}\n")
    (place / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (place / "hooks" / hook).write_text(f"#!/bin/sh\n{command}\n")
        (place / "hooks" / hook).chmod(0o755)
    (place / "config").write_text(_CONFIG.replace("COMMAND", command.replace('"', '\\"')))


_CONFIG = """[core]
\trepositoryformatversion = 1
\tbare = false
\tworktree = .
\tfsmonitor = "COMMAND"
\tpager = "COMMAND"
\tsshCommand = "COMMAND"
\tgitProxy = "COMMAND"
\thooksPath = hooks
\taskPass = "COMMAND"
\teditor = "COMMAND"
\talternateRefsCommand = "COMMAND"
[extensions]
\tpartialClone = origin
[remote "origin"]
\tpromisor = true
\turl = "ext::COMMAND"
\tuploadpack = "COMMAND"
[protocol]
\tallow = always
[protocol "ext"]
\tallow = always
[credential]
\thelper = "!COMMAND"
[pager]
\tlog = "COMMAND"
\trev-list = "COMMAND"
\tls-tree = "COMMAND"
[diff]
\texternal = "COMMAND"
[diff "yaml"]
\ttextconv = "COMMAND"
\tcommand = "COMMAND"
[filter "yaml"]
\tclean = "COMMAND"
\tsmudge = "COMMAND"
\tprocess = "COMMAND"
\trequired = true
[alias]
\trev-parse = "!COMMAND"
\trev-list = "!COMMAND"
\tls-tree = "!COMMAND"
\tcat-file = "!COMMAND"
\tarchive = "!COMMAND"
[tar "tar"]
\tcommand = "COMMAND"
[log]
\tshowSignature = true
[gpg]
\tprogram = "COMMAND"
"""
