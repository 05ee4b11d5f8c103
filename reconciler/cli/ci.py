"""What a CI system tells of itself in the environment of a job: the job's page, and who started it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
