"""The scripts of the examples that pull people every night, run as a runner runs them, before a fake of GitHub's gh.

`origin` is a bare repository; what they push there, and what they ask gh for, is all that comes of them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from reconciler.core.model.names import Instant
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact, World
from tests.ci.hostile import git
from tests.ci.test_pins import ROOT
from tests.cli.conftest import LOCATION, contact_id
from tests.warm import a_program

GITHUB = ROOT / "docs" / "ci" / "github" / "pull.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab.yml"
GH = '#!/bin/sh\necho "$@" >> "$RUNNER_TEMP/gh.txt"\n'
"""No pull request is open: `pr list` says nothing."""
LISTED = f"manifests/.resolved/{LOCATION}/vip.txt"


def _github() -> list[str]:
    steps = yaml.safe_load(GITHUB.read_text())["jobs"]["pull"]["steps"]
    return [step["run"] for step in steps if step.get("id") in ("pull", "propose")]


def _gitlab() -> list[str]:
    # of what differs from run to run nothing is left but where to push to
    lines = yaml.safe_load(GITLAB.read_text())["pull"]["script"]
    push = '-o merge_request.create -o merge_request.title="Pull people" \\\n    "https://tags:$TAGS_PUSH_TOKEN@$CI_SERVER_HOST/$CI_PROJECT_PATH.git"'
    script = "\n".join(lines)
    assert script.count(push) == 1
    return [script.replace(push, "origin")]


@pytest.fixture
def world() -> World:
    people = [Contact(contact_id(number), LOCATION, person=Person(f"p{number}@example.com")) for number in range(9)]
    return World(LOCATION, people, assumptions=Assumptions(search_lag_ms=0))


@dataclass(frozen=True, slots=True)
class Job:
    """A job of every night."""

    project: Path
    scripts: list[str]

    def run(self, code: int = 0) -> None:
        for script in self.scripts:
            done = subprocess.run(["bash", "-e", "-c", script], capture_output=True, text=True, check=False)
            assert done.returncode == code, done.stdout + done.stderr
        git("checkout", "-q", "-B", "main", "origin/main")

    def pushed(self) -> str:
        """The ids that are proposed."""
        told = subprocess.run(
            ["git", "show", f"origin/tags-pull:{LISTED}"], capture_output=True, text=True, check=False
        )
        return told.stdout

    def write(self, numbers: range) -> None:
        rows = "".join(f"P{number}@example.com\n" for number in numbers)
        (self.project / "manifests" / "vip.csv").write_text("mail\n" + rows)


@pytest.fixture(params=[_github, _gitlab], ids=["github", "gitlab"])
def job(request: pytest.FixtureRequest, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    made: Callable[[], list[str]] = request.param
    elsewhere = tmp_path.parent / f"{tmp_path.name}-runner"
    (elsewhere / "bin").mkdir(parents=True)
    a_program(elsewhere / "bin" / "reconciler")
    (elsewhere / "bin" / "gh").write_text(GH)
    (elsewhere / "bin" / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{elsewhere / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RUNNER_TEMP", str(elsewhere))
    monkeypatch.setenv("GITHUB_OUTPUT", str(elsewhere / "output"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(elsewhere / "summary.md"))
    monkeypatch.setenv("RECONCILER_STATE", f"sqlite:///{elsewhere}/state.db")
    (project / "manifests" / "reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n"
        "  vip: {contacts: {file: vip.csv, match: {email: mail}}, tags: [vip]}\n"
    )
    found = Job(project, made())
    found.write(range(6))
    git("init", "-q", "--bare", str(elsewhere / "origin.git"))
    git("init", "-q", "-b", "main", ".")
    git("remote", "add", "origin", str(elsewhere / "origin.git"))
    git("add", "-A")
    git("commit", "-qm", "declared")
    git("push", "-q", "origin", "main")
    git("fetch", "-q", "origin")
    return found


@pytest.mark.slow
def test_who_joined_is_proposed_and_a_night_without_news_proposes_nothing(job: Job, world: World) -> None:
    job.run()
    assert job.pushed() == "".join(f"{contact_id(number)}\n" for number in range(6))
    # what was proposed is merged
    git("merge", "-q", "--ff-only", "origin/tags-pull")
    git("push", "-q", "origin", "main", ":tags-pull")
    job.run()
    assert not job.pushed()
    world.delete(contact_id(0), now=Instant(1))
    job.write(range(1, 8))
    git("commit", "-qam", "another list")
    git("push", "-q", "origin", "main")
    job.run()
    assert job.pushed() == "".join(f"{contact_id(number)}\n" for number in range(1, 8))
    runner = job.project.parent / f"{job.project.name}-runner"
    told = "".join(path.read_text() for path in sorted(runner.glob("*.*")) if path.suffix in (".md", ".txt"))
    assert "@example.com" not in told.lower()


@pytest.mark.parametrize("job", [_github], indirect=True, ids=["github"])
def test_github_is_asked_for_a_pull_request_with_the_report(job: Job) -> None:
    job.run()
    runner = job.project.parent / f"{job.project.name}-runner"
    asked = (runner / "gh.txt").read_text().splitlines()
    assert asked[-1] == f"pr create --head tags-pull --title Pull people --body-file {runner}/pull.md"
    assert "6 contacts joined, 0 left" in (runner / "pull.md").read_text()
