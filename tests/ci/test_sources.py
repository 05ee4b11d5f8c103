"""A pull request that declares a source runs nothing: only `pull` would, and it refuses what was not reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ci.hostile import git
from tests.ci.test_untrusted import ROWS, job, settings
from tests.cli.conftest import LOCATION, Command

__all__ = ["job"]
SET = f"location: {LOCATION}\ncontact_sets: {{vip: {{contacts: {{source: vips}}, tags: [vip]}}}}\n"
SQL = 'sources: {vips: {sql: "select 1 as id", files: [people.csv]}}'
IDS = "contact_id\\nqFSqySFkVvNzOSqgGqFi"


def declare(command: str) -> None:
    Path("manifests/acme.yaml").write_text(SET, encoding="utf-8")
    settings(f"sources: {{vips: {{command: {command}}}}}")


@pytest.mark.one_in(7)
@pytest.mark.parametrize("line", [*(row[0] for row in ROWS), "validate --show-settings", "pull", "pull --dry-run"])
def test_a_source_that_only_a_pull_request_declares_is_not_run(line: str, job: Path, reconciler: Command) -> None:
    declare(f"[touch, {job}]")
    ended = reconciler(*line.split())
    assert not job.exists()
    refused = line.startswith("pull")
    assert ("`sources.vips: touch " in ended.err and "stands only here" in ended.err) == refused, ended.err
    if refused:
        assert ended.code == 1
        assert "manifests/reconciler.yaml:1:11: " in ended.err
        assert "it is not run" in ended.err


def test_nor_is_sql_or_a_command_that_the_target_branch_has_otherwise(
    job: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    declare("[touch, elsewhere]")
    git("add", "-A")
    git("commit", "-qm", "a source")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    for text in (f"sources: {{vips: {{command: [touch, {job}]}}}}", SQL):
        settings(text)
        ended = reconciler("pull")
        assert (ended.code, "stands only here" in ended.err) == (1, True), ended.err
    assert not job.exists()


@pytest.mark.slow
def test_what_the_target_branch_says_too_is_run(
    job: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    declare(f"[sh, -c, 'touch {job}; printf \"{IDS}\"']")
    git("add", "-A")
    git("commit", "-qm", "a source")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    ended = reconciler("pull")
    assert job.exists(), ended.err
    assert ended.code == 0


def test_elsewhere_it_is_run(job: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_EVENT_NAME")
    declare(f"[sh, -c, 'touch {job}; printf \"{IDS}\"']")
    assert reconciler("pull").code == 0
    assert job.exists()
