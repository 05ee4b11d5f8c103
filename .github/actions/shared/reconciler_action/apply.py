"""The apply action: plan anew, and send only where that is what was approved.

A plan file that a pull request's job made is untrusted: whoever can change the workflow of a pull request can change
the file. So nothing but the digest is taken over. What is sent is planned here, from the protected branch's manifests.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.planfile import load_plan
from reconciler_action.plan import PLANNED, changes
from reconciler_action.runner import Runner, fenced
from reconciler_action.settings import base, mask_tokens

STALE = 4
USAGE = 64


def main(runner: Runner) -> int:
    """The exit code of apply; 4 where the digest is not the approved one."""
    mask_tokens(runner)
    approved = runner.given("approved")
    if not approved:
        return _end(runner, USAGE, "No `approved` digest was given: nothing was sent.")
    file = runner.scratch / "apply.json"
    manifests = Path(runner.given("manifests"))
    done = runner.run("plan", manifests, "--out", file, "--detailed-exitcode", *_chosen(runner), *base(runner))
    if done.code not in PLANNED:
        return _end(runner, done.code, f"There is no plan: exit code {done.code}, see the log. Nothing was sent.")
    plan = load_plan(file)
    runner.output(changes=changes(plan), requests=sum(each.summary.requests for each in plan.locations))
    runner.output(digest=plan.change_digest)
    if plan.change_digest != approved:
        text = "What would be sent is not what was approved: nothing was sent. Review the plan of this branch.\n\n"
        return _end(runner, STALE, text + fenced(done.answer))
    sent = runner.run("apply", file, "--auto-approve", *_flags(runner), *base(runner))
    return _end(runner, sent.code, fenced(sent.answer or "see the log"))


def _chosen(runner: Runner) -> list[str]:
    return [word for location in runner.words("location") for word in ("--location", location)]


def _flags(runner: Runner) -> list[str]:
    flags = ["--lock-timeout", runner.given("lock-timeout") or "0"]
    return [*flags, "--create-state"] if runner.wants("create-state") else flags


def _end(runner: Runner, code: int, told: str) -> int:
    runner.summary(f"## Apply\n\n{told}\n\nExit code {code}.")
    runner.output(exit_code=code)
    return code
