"""Who started a job and where its page is, as each CI tells it."""

from __future__ import annotations

import pytest

from reconciler.operations.identity import find_actor, find_run_url

GITHUB = {
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/crm",
    "GITHUB_RUN_ID": "42",
    "GITHUB_RUN_ATTEMPT": "1",
}
AZURE = {
    "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
    "SYSTEM_TEAMPROJECTID": "0a1b",
    "BUILD_BUILDID": "42",
}


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        (GITHUB, "https://github.com/acme/crm/actions/runs/42"),
        (GITHUB | {"GITHUB_RUN_ATTEMPT": "3"}, "https://github.com/acme/crm/actions/runs/42/attempts/3"),
        ({"CI_JOB_URL": "https://gitlab.com/acme/crm/-/jobs/42"}, "https://gitlab.com/acme/crm/-/jobs/42"),
        (AZURE, "https://dev.azure.com/acme/0a1b/_build/results?buildId=42"),
        ({"BUILD_URL": "https://jenkins.example/job/crm/42/"}, "https://jenkins.example/job/crm/42/"),
        ({"CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/crm/42"}, "https://circleci.com/gh/acme/crm/42"),
        (
            {"BITBUCKET_GIT_HTTP_ORIGIN": "https://bitbucket.org/acme/crm", "BITBUCKET_BUILD_NUMBER": "42"},
            "https://bitbucket.org/acme/crm/pipelines/results/42",
        ),
        ({"BUILDKITE_BUILD_URL": "https://buildkite.com/acme/42"}, "https://buildkite.com/acme/42"),
    ],
    ids=["github", "github again", "gitlab", "azure", "jenkins", "circleci", "bitbucket", "buildkite"],
)
def test_each_ci_tells_its_page(environment: dict[str, str], url: str) -> None:
    assert find_run_url({"CI": "true", "PATH": "/bin"} | environment) == url


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://bot:hunter2@jenkins.example/job/42/", "https://jenkins.example/job/42/"),
        ("https://bot@jenkins.example:8443/job/42/", "https://jenkins.example:8443/job/42/"),
        ("javascript:alert(1)", ""),
        ("https://", ""),
        ("https://jenkins.example/\n::error::", ""),
        ("https://[jenkins", ""),
        ("", ""),
    ],
)
def test_a_page_is_a_web_address_without_a_password(given: str, shown: str) -> None:
    assert find_run_url({"BUILD_URL": given}) == shown


def test_outside_ci_there_is_no_page() -> None:
    assert find_run_url({"HOME": "/home/anna"}) == find_actor({"HOME": "/home/anna"}) == ""


@pytest.mark.parametrize("missing", sorted(AZURE))
def test_half_of_an_address_is_none(missing: str) -> None:
    assert find_run_url({key: value for key, value in AZURE.items() if key != missing}) == ""


@pytest.mark.parametrize(
    "name", ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "CIRCLE_USERNAME", "BUILDKITE_BUILD_CREATOR"]
)
def test_who_started_the_job(name: str) -> None:
    assert find_actor({name: "anna"}) == "anna"
