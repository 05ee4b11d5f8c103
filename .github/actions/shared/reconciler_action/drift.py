"""The drift action: report what others changed, and keep one issue about it."""

from __future__ import annotations

from pathlib import Path

from reconciler_action.github import GitHub, Refused, marker
from reconciler_action.runner import Done, Runner, fenced
from reconciler_action.settings import base, mask_tokens

REPORTED = (0, 2)
TITLE = "CRM tags drifted from what the manifests declare"


def main(runner: Runner) -> int:
    """The exit code of the step: 0 also where there is drift, for that is what the issue is for."""
    mask_tokens(runner)
    classes = runner.given("fail-on")
    report = ("drift", Path(runner.given("manifests")), "--fail-on", classes, *base(runner))
    refresh = runner.given("refresh")
    done = runner.run(*report, *(["--refresh", refresh] if refresh else []))
    if done.code not in REPORTED:
        runner.summary(f"## Drift\n\nThere is no report: exit code {done.code}, see the log.")
        runner.output(exit_code=done.code, drifted="false")
        return done.code
    runner.summary(f"## Drift\n\n{fenced(done.answer)}")
    runner.output(exit_code=done.code, drifted=str(done.code == 2).lower())
    if runner.wants("issue"):
        _issue(runner, done)
    return 0


def _issue(runner: Runner, done: Done) -> None:
    """Open while there is drift, and closed when there is none any more."""
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(runner.environment)
    try:
        github = GitHub.of(runner.environment, runner.given("comment-author"))
        github.issue(marker("drift"), TITLE, f"{fenced(done.answer)}\nSeen by {page}", open_=done.code == 2)
    except Refused as refused:
        runner.command("warning", f"no issue about the drift ({refused}): the report is in the summary of this run")
