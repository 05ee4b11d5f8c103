"""A step of a composite action as a runner starts it: variables, an event, files for outputs and summary."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from reconciler_action.runner import Runner

from reconciler.sandbox import Running
from tests.ci.github import BOT, REPOSITORY, TOKEN
from tests.cli.conftest import clock, manifest, project, reconciler, sandbox, world
from tests.warm import the_product

__all__ = ["clock", "manifest", "project", "reconciler", "sandbox", "world"]

NUMBER = 7


@dataclass(frozen=True, slots=True)
class Step:
    """A step: how it is run, and what it left."""

    runner: Runner
    files: Path

    @property
    def outputs(self) -> dict[str, str]:
        return read_outputs(self.files / "output")

    @property
    def summary(self) -> str:
        return (self.files / "summary.md").read_text(encoding="utf-8")


def read_outputs(path: Path) -> dict[str, str]:
    """As a runner reads them: `name<<delimiter`, lines, the delimiter."""
    found: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [])
    for line in lines:
        name, mark, delimiter = line.partition("<<")
        assert mark, line
        value = []
        for each in lines:
            if each == delimiter:
                break
            value.append(each)
        found[name] = "\n".join(value)
    return found


@pytest.fixture
def step(tmp_path: Path, sandbox: Running) -> Callable[..., Step]:
    """Makes a step with these inputs, in a pull request unless `event` says otherwise."""
    made = 0

    def make(*, event: Mapping[str, object] | None = None, variables: Mapping[str, str] = {}, **inputs: str) -> Step:
        nonlocal made
        made += 1
        files = tmp_path / f"step-{made}"
        files.mkdir()
        told = {"pull_request": {"number": NUMBER}} if event is None else event
        (files / "event.json").write_text(json.dumps(told))
        given = {"manifests": "manifests", "base_url": sandbox.url, "comment_author": BOT} | inputs
        environment = {
            **os.environ,
            "GITHUB_EVENT_PATH": str(files / "event.json"),
            "GITHUB_OUTPUT": str(files / "output"),
            "GITHUB_STEP_SUMMARY": str(files / "summary.md"),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "42",
            "RUNNER_TEMP": str(files),
            **{f"INPUT_{name.upper()}": value for name, value in given.items()},
            **variables,
        }
        return Step(Runner(environment, (*the_product(), "-m", "reconciler")), files)

    return make
