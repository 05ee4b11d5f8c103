"""The plan action: validate, plan, and tell the pull request in one comment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.planfile import load_plan
from reconciler_action.github import GitHub, Refused, marker
from reconciler_action.runner import Runner
from reconciler_action.settings import common, mask_tokens

PLANNED = (0, 2, 5)
"""The exit codes with which there is a plan."""
MOST_DIGESTS = 1_000
"""A variable of a step holds 128 KiB; of more locations the digest of the whole plan is put out."""


def main(runner: Runner) -> int:
    """The exit code of the step: that of plan, but 0 where there are changes."""
    mask_tokens(runner)
    manifests = Path(runner.given("manifests"))
    checked = runner.run("validate", manifests, "--format", "github", commands=True)
    if checked.code:
        runner.summary("## Plan\n\nThe manifests are not valid: see the annotations.")
        return _without_plan(runner, checked.code)
    file, report = runner.scratch / "plan.json", runner.scratch / "plan.md"
    written = ("--out", file, "--report", report)
    done = runner.run("plan", manifests, *written, "--detailed-exitcode", *_narrowed(runner), *common(runner))
    markdown = runner.summarise(report)
    if done.code not in PLANNED:
        return _without_plan(runner, done.code)
    _tell(runner, load_plan(file), file, done.code, markdown)
    return 0 if done.code == 2 else done.code


def _without_plan(runner: Runner, code: int) -> int:
    runner.output(exit_code=code, changes=0, requests=0, digest="", locations="[]", plan="", reports="")
    return code


def _narrowed(runner: Runner) -> list[str]:
    refresh = runner.given("refresh")
    chosen = [word for location in runner.words("location") for word in ("--location", location)]
    return [*(["--refresh", refresh] if refresh else []), *chosen]


def _tell(runner: Runner, plan: Plan, file: Path, code: int, markdown: str) -> None:
    runner.output(
        exit_code=code,
        changes=changes(plan.locations),
        requests=sum(each.summary.requests for each in plan.locations),
        digest=digest_of(plan),
        locations=list_changed(plan),
        plan=file,
        reports="\n".join(map(str, (file, file.with_suffix(".md"), _page(runner, file)))),
    )
    number = (runner.event.get("pull_request") or {}).get("number")
    if number and runner.wants("comment"):
        comment(runner, int(number), plan, markdown)


def digest_of(plan: Plan) -> str:
    """What `apply` takes as `approved`: a digest for each location with changes, so that each is sent for itself."""
    own = [each.change_digest for each in plan.locations if not each.is_empty]
    return " ".join(own) if 1 < len(own) <= MOST_DIGESTS else plan.change_digest


def _page(runner: Runner, file: Path) -> Path:
    """The whole plan as one page of HTML, nothing folded."""
    page = file.with_suffix(".html")
    shown = runner.run("show", file, "--format", "html", "--all", shown=False)
    page.write_text(shown.answer, encoding="utf-8")
    return page


def list_changed(plan: Plan) -> str:
    """The locations that an apply has to send, or to record, as a matrix takes them: JSON on one line."""
    changed = [each for each in plan.locations if not each.is_empty and not each.refused]
    listed = [{"id": each.location, "changes": changes([each]), "digest": each.change_digest} for each in changed]
    return json.dumps(listed)


def changes(plans: Iterable[LocationPlan]) -> int:
    """Pairs: to add, to remove, and to record."""
    found = [each.summary for each in plans]
    return sum(each.adds + each.removes + each.adopted + each.released for each in found)


def comment(runner: Runner, number: int, plan: Plan, markdown: str) -> None:
    """One comment on all locations. Where it cannot be made, the summary still has it: a warning, no failure."""
    # jobs of a matrix plan locations of their own: each has its comment
    mark = marker("plan", ",".join(sorted(runner.words("location"))))
    try:
        github = GitHub.of(runner.environment, runner.given("comment-author"))
        # a plan without changes corrects the comment of an earlier one, and makes none
        github.comment(number, mark, markdown, create=not plan.is_empty or bool(plan.refused))
    except Refused as refused:
        runner.command("warning", f"no comment on the pull request ({refused}): the plan is in the summary of this run")
