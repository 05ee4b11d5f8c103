"""Who we are, for the lease and the journal."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from pathlib import Path

from reconciler import __version__
from reconciler.clock import SystemClock
from reconciler.core.model.lease import Holder
from reconciler.operations.ci_job import actor, run_url
from reconciler.operations.git import GitRefused, find_repository
from reconciler.store.leases import origin_of_this_process


def current_holder(operation: str) -> Holder:
    origin = origin_of_this_process()
    return Holder(
        id=uuid.uuid4().hex,
        who=_user(),
        operation=operation,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        created=SystemClock().now(),
        run_url=run_url(os.environ),
        boot_id=origin.boot_id,
        pid_namespace=origin.pid_namespace,
        process_start=origin.process_start,
    )


def _user() -> str:
    """The CI's actor, else the account."""
    if person := actor(os.environ):
        return person
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def git_commit(directory: Path) -> str:
    """The commit that the manifests are checked out at; empty where Git tells none."""
    try:
        return find_repository(directory).commit("HEAD")
    except GitRefused:
        return ""
