"""A report says when, from which commit, by which version and by which command it was made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.core.model.names import parse_instant
from tests.cli.conftest import Command

Manifest = Callable[..., None]


@pytest.fixture
def commit(manifest: Manifest, project: Path) -> str:
    """Of the checkout that the project is."""
    manifest(customers=([0, 1, 2], ["customer"], []))
    for line in (("init", "-q"), ("add", "manifests"), ("commit", "-qm", "first")):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x.example", *line], check=True)
    told = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.mark.slow
def test_every_report_says_how_it_was_made(reconciler: Command, commit: str) -> None:
    for command in (
        ["plan"],
        ["apply", "--auto-approve"],
        ["drift"],
        ["refresh"],
        ["diff", "--base", "HEAD"],
        ["revert", "last", "--dry-run"],
    ):
        for kind in ("markdown", "html"):
            told = reconciler(*command, "--format", kind).out
            assert f"from a checkout of commit {commit[:12]} by reconciler {__version__}:" in told, command
            assert f"<code>reconciler {' '.join(command)} --format {kind}</code>" in told.replace("&#45;", "-"), command


@pytest.mark.slow
def test_json_says_it_too(reconciler: Command, commit: str) -> None:
    for command in (["apply", "--auto-approve"], ["drift"], ["refresh"], ["diff"], ["validate"]):
        made = json.loads(reconciler(*command, "--format", "json").out)["made"]
        line = " ".join(["reconciler", *command, "--format", "json"])
        assert (made["version"], made["command"]) == (__version__, line)
        assert made["commit"] == commit
        assert parse_instant(made["at"]) > 0


def test_a_plan_as_json_is_the_file_that_apply_takes_and_says_nothing_of_it(reconciler: Command, commit: str) -> None:
    printed = json.loads(reconciler("plan", "--out", "plan.json", "--format", "json").out)
    assert printed == json.loads(Path("plan.json").read_text())
    assert "made" not in printed


def test_both_answers_of_a_command_say_the_same(reconciler: Command, commit: str) -> None:
    printed = json.loads(reconciler("drift", "--format", "json", "--report", "drift.json").out)
    assert printed == json.loads(Path("drift.json").read_text())


def test_without_a_checkout_no_commit_is_told(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0], ["customer"], []))
    assert json.loads(reconciler("drift", "--format", "json").out)["made"]["commit"] == ""
    assert "commit" not in reconciler("drift", "--format", "markdown").out


@pytest.mark.slow
def test_what_was_read_from_the_state_alone_is_of_no_commit(reconciler: Command, commit: str) -> None:
    assert reconciler("apply", "--auto-approve").code == 0
    assert json.loads(reconciler("history", "--format", "json").out)["made"]["commit"] == ""


def test_a_refused_command_says_how_it_was_called(reconciler: Command, commit: str) -> None:
    told = json.loads(reconciler("show", "ffff", "--format", "json").out)
    assert told["made"]["command"] == "reconciler show ffff --format json"


def test_no_secret_of_the_command_line_is_in_a_report(
    reconciler: Command, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "not-like-any-token-0123")
    for kind in ("json", "markdown", "html"):
        state = "sqlite:///state.db?password=s3cr3t"
        told = reconciler("drift", "--state", state, "--tag", "not-like-any-token-0123", "--format", kind)
        assert "s3cr3t" not in told.out
        assert "0123" not in told.out
        assert "drift" in told.out
