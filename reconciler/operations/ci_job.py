"""What a CI system tells of a job in its environment: its page, who started it, for which pull request. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

Environment = Mapping[str, str]

_ACTORS = (
    "GITHUB_ACTOR",
    "GITLAB_USER_LOGIN",
    "BUILD_REQUESTEDFOR",
    "CIRCLE_USERNAME",
    "BUILDKITE_BUILD_CREATOR",
    "BUILD_USER_ID",
)


def run_url(environment: Environment) -> str:
    """The page of the CI job that this process is part of; empty outside CI. Never with a password in it."""
    found = (page(environment) for page in _PAGES)
    return next((url for url in map(_clean, found) if url), "")


def actor(environment: Environment) -> str:
    """Who started the job; empty where the CI does not tell."""
    return next((environment[name] for name in _ACTORS if environment.get(name)), "")


def _clean(url: str) -> str:
    """The address without user and password; empty for anything that is no web address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _github(environment: Environment) -> str:
    number, repository = environment.get("GITHUB_RUN_ID"), environment.get("GITHUB_REPOSITORY")
    if not number or not repository:
        return ""
    url = f"{environment.get('GITHUB_SERVER_URL') or 'https://github.com'}/{repository}/actions/runs/{number}"
    attempt = environment.get("GITHUB_RUN_ATTEMPT", "1")
    return url if attempt == "1" else f"{url}/attempts/{attempt}"


def _azure(environment: Environment) -> str:
    organisation, project = environment.get("SYSTEM_COLLECTIONURI"), environment.get("SYSTEM_TEAMPROJECTID")
    number = environment.get("BUILD_BUILDID")
    if not organisation or not project or not number:
        return ""
    return f"{organisation.rstrip('/')}/{project}/_build/results?buildId={number}"


def _bitbucket(environment: Environment) -> str:
    origin, number = environment.get("BITBUCKET_GIT_HTTP_ORIGIN"), environment.get("BITBUCKET_BUILD_NUMBER")
    if not origin or not number:
        return ""
    return f"{origin.rstrip('/')}/pipelines/results/{number}"


def _variable(name: str) -> Callable[[Environment], str]:
    return lambda environment: environment.get(name, "")


_PAGES: tuple[Callable[[Environment], str], ...] = (
    _github,
    _variable("CI_JOB_URL"),
    _azure,
    _variable("BUILDKITE_BUILD_URL"),
    _variable("CIRCLE_BUILD_URL"),
    _bitbucket,
    _variable("BUILD_URL"),
)
"""GitHub, GitLab, Azure Pipelines, Buildkite, CircleCI, Bitbucket, Jenkins."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What a job for a pull request knows of its target: `base`, a revision of Git; empty where the CI tells none."""

    base: str


@dataclass(frozen=True, slots=True)
class _Forge:
    """The variables of a CI: `number` is set for a pull request; `commit` and `branch` are of its target."""

    number: str
    commit: str = ""
    branch: str = ""


_FORGES = (
    _Forge("CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_DIFF_BASE_SHA", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
    _Forge(
        "CI_EXTERNAL_PULL_REQUEST_IID",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME",
    ),
    _Forge("SYSTEM_PULLREQUEST_PULLREQUESTID", "", "SYSTEM_PULLREQUEST_TARGETBRANCH"),
    _Forge("BITBUCKET_PR_ID", "BITBUCKET_PR_DESTINATION_COMMIT", "BITBUCKET_PR_DESTINATION_BRANCH"),
    _Forge("CHANGE_ID", "", "CHANGE_TARGET"),
    _Forge("CIRCLE_PULL_REQUEST"),
    _Forge("CIRCLE_PR_NUMBER"),
    _Forge("BUILDKITE_PULL_REQUEST", "", "BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
    _Forge("TRAVIS_PULL_REQUEST", "", "TRAVIS_BRANCH"),
    _Forge("DRONE_PULL_REQUEST", "", "DRONE_TARGET_BRANCH"),
    _Forge("CI_COMMIT_PULL_REQUEST", "", "CI_COMMIT_TARGET_BRANCH"),
    _Forge("APPVEYOR_PULL_REQUEST_NUMBER", "", "APPVEYOR_REPO_BRANCH"),
)
"""GitLab, Azure Pipelines, Bitbucket, Jenkins, CircleCI, Buildkite, Travis CI, Drone, Woodpecker, AppVeyor."""


def pull_request(environment: Environment, event: Mapping[str, Any]) -> PullRequest | None:
    """The pull request that a job is for, None where it is for none.

    `event`: what GitHub says started the job. Its commit of the target comes first: where the head's repository was
    checked out, that repository's branches are whatever its owner made them.
    """
    if environment.get("GITHUB_EVENT_NAME", "").startswith("pull_request"):
        commit = ((event.get("pull_request") or {}).get("base") or {}).get("sha") if event else ""
        return PullRequest(str(commit or "") or ("" if event else _tracked(environment.get("GITHUB_BASE_REF", ""))))
    for forge in _FORGES:
        if environment.get(forge.number, "false") not in ("", "false"):
            return PullRequest(environment.get(forge.commit) or _tracked(environment.get(forge.branch, "")))
    return None


def _tracked(branch: str) -> str:
    """The branch of `origin`, by the one name that no tag and no branch of the checkout can take."""
    return f"refs/remotes/origin/{branch.removeprefix('refs/heads/')}" if branch else ""
