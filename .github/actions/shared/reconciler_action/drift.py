"""The drift action: report what others changed, and keep one issue about it; with `location` one about these."""

from __future__ import annotations

import json
from pathlib import Path

from reconciler_action.github import GitHub, Refused, marker
from reconciler_action.runner import Runner
from reconciler_action.settings import common, mask_tokens

DRIFTED = 2
REPORTED = (0, DRIFTED)
TITLE = "CRM tags drifted from what the manifests declare"
LONGEST_TITLE = 200
"""GitHub refuses a title of more than 256 characters."""


def main(runner: Runner) -> int:
    """The exit code of the step: 0 also where there is drift, for that is what the issue is for."""
    mask_tokens(runner)
    report, refresh = runner.scratch / "drift.md", runner.given("refresh")
    chosen = [word for location in runner.words("location") for word in ("--location", location)]
    what = ("drift", Path(runner.given("manifests")), "--fail-on", runner.given("fail-on"), "--report", report)
    more = ("--format", "json", *(["--refresh", refresh] if refresh else []), *chosen)
    done = runner.run(*what, *common(runner), *more, shown=False)
    markdown = runner.summarise(report)
    reported = done.code in REPORTED
    runner.output(exit_code=done.code, drifted=str(done.code == DRIFTED).lower())
    if reported and runner.wants("issue"):
        if done.code != DRIFTED and (why := makes_no_statement(done.answer)):
            runner.command("warning", f"{why}: the issue about drift is left as it is")
        else:
            _issue(runner, markdown, drifted=done.code == DRIFTED)
    return 0 if reported else done.code


def makes_no_statement(report: str) -> str:
    """Why a report without drift that counts does not tell that all is as declared; empty where it does."""
    for location in json.loads(report)["locations"]:
        classes = {drifted["drift"] for drifted in location["drifted"] if drifted["expected"] is None}
        if not location["observed"] and "unobserved" in classes:
            return "nothing was ever observed in a location"
        if not location["applied"] and "pending" in classes:
            return "no apply of a location is known, so nothing tells what others changed"
        # drift that counts has the exit code of drift
        if "flapping" in classes:
            return "tags that are declared are taken off again and again (flapping), which fail-on does not name"
    return ""


def _issue(runner: Runner, markdown: str, *, drifted: bool) -> None:
    """Open while there is drift, and closed when a report that looked shows none any more.

    Jobs that look at other locations each keep an issue of their own: one would close what another found.
    """
    locations = runner.words("location")
    title = f"{TITLE}: {', '.join(locations)}" if locations else TITLE
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(runner.environment)
    try:
        github = GitHub.of(runner.environment, runner.given("comment-author"))
        github.issue(
            marker("drift", ",".join(sorted(locations))),
            title[:LONGEST_TITLE],
            f"{markdown}\nSeen by {page}",
            open_=drifted,
        )
    except Refused as refused:
        runner.command("warning", f"no issue about the drift ({refused}): the report is in the summary of this run")
