"""The apply action: `apply --approved`, from the protected branch's own manifests.

A plan file that a pull request's job made is untrusted: whoever can change the workflow of a pull request can change
the file. So nothing but digests is taken over; what is sent is planned here, and must come to one of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reconciler_action.runner import Runner
from reconciler_action.settings import common, mask_tokens

STALE = 4
USAGE = 64


def main(runner: Runner) -> int:
    """The exit code of apply; 4 where a location's digest is no approved one: the others are sent."""
    mask_tokens(runner)
    approved = runner.given("approved").split()
    if not approved:
        runner.summary("## Apply\n\nNo `approved` digest was given: nothing was sent.")
        return _end(runner, USAGE, {}, "")
    report = runner.scratch / "apply.md"
    digests = [word for digest in approved for word in ("--approved", digest)]
    told = ("--format", "json", "--report", report)
    # the log has progress and errors, the summary the report: the document is for the outputs
    what = ("apply", Path(runner.given("manifests")), *told)
    done = runner.run(*what, *digests, *_flags(runner), *common(runner), shown=False)
    runner.summarise(report)
    document = _document(done.answer)
    # the code is the worst of all locations: another error may hide that the changes of one were others
    codes = {done.code, *(each.get("error_code") for each in document.get("locations", []))}
    return _end(runner, done.code, document, "" if codes & {STALE, USAGE} else " ".join(approved))


def _flags(runner: Runner) -> list[str]:
    chosen = [word for location in runner.words("location") for word in ("--location", location)]
    return [*chosen, "--lock-timeout", runner.given("lock-timeout") or "0"]


def _document(answer: str) -> dict[str, Any]:
    """The report of the run; empty where the command ended before there was one."""
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _end(runner: Runner, code: int, document: dict[str, Any], digest: str) -> int:
    runs = [each for each in document.get("locations", []) if "pairs" in each]
    applied = sum(each["pairs"].get("applied", 0) for each in runs)
    runner.output(exit_code=code, changes=applied, requests=sum(each["requests"] for each in runs), digest=digest)
    return code
