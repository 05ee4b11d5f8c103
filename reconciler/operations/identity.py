"""The identity of this process, for the lease and the journal: the person, the machine, the CI job and the commit."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from reconciler import __version__
from reconciler.core.model.lease import Holder
from reconciler.operations.git import GitRefused, find_repository
from reconciler.operations.workspace import Workspace
from reconciler.store.leases import origin_of_this_process

Environment = Mapping[str, str]


def find_holder(operation: str, workspace: Workspace) -> Holder:
    origin = origin_of_this_process()
    return Holder(
        id=uuid.uuid4().hex,
        who=_find_user(workspace.environment),
        operation=operation,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        created=workspace.clock.now(),
        run_url=find_run_url(workspace.environment),
        boot_id=origin.boot_id,
        pid_namespace=origin.pid_namespace,
        process_start=origin.process_start,
    )


def _find_user(environment: Environment) -> str:
    """The CI's actor, else the account."""
    if person := find_actor(environment):
        return person
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # an account without a name, as in some containers
        return "unknown"


def find_commit(directory: Path) -> str:
    """The commit that the manifests are checked out at; empty where Git names none."""
    try:
        return find_repository(directory).commit("HEAD")
    except GitRefused:
        return ""


_ACTORS = (
    "GITHUB_ACTOR",
    "GITLAB_USER_LOGIN",
    "BUILD_REQUESTEDFOR",
    "CIRCLE_USERNAME",
    "BUILDKITE_BUILD_CREATOR",
    "BUILD_USER_ID",
)


def find_run_url(environment: Environment) -> str:
    """The page of the CI job that this process is part of; empty outside CI. Never with a password in it."""
    pages = (page(environment) for page in _PAGES)
    return next((url for url in map(_clean_url, pages) if url), "")


def find_actor(environment: Environment) -> str:
    """The person who started the job; empty where the CI names none."""
    return next((environment[name] for name in _ACTORS if environment.get(name)), "")


def _clean_url(url: str) -> str:
    """The address without user and password; empty for any text that is no web address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        return ""
    # a server's address in CI may carry a token, and the lease is shown to others
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _make_github_url(environment: Environment) -> str:
    number, repository = environment.get("GITHUB_RUN_ID"), environment.get("GITHUB_REPOSITORY")
    if not number or not repository:
        return ""
    url = f"{environment.get('GITHUB_SERVER_URL') or 'https://github.com'}/{repository}/actions/runs/{number}"
    attempt = environment.get("GITHUB_RUN_ATTEMPT", "1")
    return url if attempt == "1" else f"{url}/attempts/{attempt}"


def _make_azure_url(environment: Environment) -> str:
    organisation, project = environment.get("SYSTEM_COLLECTIONURI"), environment.get("SYSTEM_TEAMPROJECTID")
    number = environment.get("BUILD_BUILDID")
    if not organisation or not project or not number:
        return ""
    return f"{organisation.rstrip('/')}/{project}/_build/results?buildId={number}"


def _make_bitbucket_url(environment: Environment) -> str:
    origin, number = environment.get("BITBUCKET_GIT_HTTP_ORIGIN"), environment.get("BITBUCKET_BUILD_NUMBER")
    if not origin or not number:
        return ""
    return f"{origin.rstrip('/')}/pipelines/results/{number}"


def _read_variable(name: str) -> Callable[[Environment], str]:
    return lambda environment: environment.get(name, "")


_PAGES: tuple[Callable[[Environment], str], ...] = (
    _make_github_url,
    _read_variable("CI_JOB_URL"),
    _make_azure_url,
    _read_variable("BUILDKITE_BUILD_URL"),
    _read_variable("CIRCLE_BUILD_URL"),
    _make_bitbucket_url,
    _read_variable("BUILD_URL"),
)
"""GitHub, GitLab, Azure Pipelines, Buildkite, CircleCI, Bitbucket, Jenkins."""
