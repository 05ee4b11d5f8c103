"""Who we are, for the lease and the journal."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import uuid
from pathlib import Path

from reconciler import __version__
from reconciler.clock import SystemClock
from reconciler.core.lease import Holder


def current_holder(operation: str) -> Holder:
    return Holder(
        id=uuid.uuid4().hex,
        who=_user(),
        operation=operation,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        created=SystemClock().now(),
        run_url=_run_url(),
    )


def _user() -> str:
    """The CI's actor, else the account."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    if actor:
        return actor
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _run_url() -> str:
    """The page of the CI job, where the CI tells it."""
    environment = os.environ
    if environment.get("GITHUB_RUN_ID"):
        server, repository = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_REPOSITORY", "")
        return f"{server}/{repository}/actions/runs/{environment['GITHUB_RUN_ID']}"
    return environment.get("CI_JOB_URL") or environment.get("BUILD_URL") or environment.get("CIRCLE_BUILD_URL") or ""


def git_commit(directory: Path) -> str:
    """The commit that the manifests are checked out at; empty where there is no Git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), "rev-parse", "HEAD"],  # noqa: S607  the user's own Git
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace").strip() if done.returncode == 0 else ""
