"""What runs in others' CI is pinned: actions by commit, libraries by hash; and workflows have the least they need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = [
    *sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    *sorted((ROOT / "docs" / "ci" / "github").glob("*.yml")),
    *sorted((ROOT / "docs" / "ci" / "github-matrix").glob("*.yml")),
    ROOT / "reconciler" / "cli" / "scaffold" / ".github" / "workflows" / "tags.yml",
]
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WORKFLOWS + ACTIONS, ids=_name)
def test_every_action_is_pinned_by_commit_and_says_which_version(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert [name for name, _ in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []
    assert [name for name, note in used if not re.fullmatch(r" # v\d+\.\d+\.\d+", note)] == []


def test_an_action_has_one_commit_everywhere() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS + ACTIONS)
    pins = {(name, commit) for name, commit in re.findall(r"uses: (actions/[\w-]+)@(\w+)", text)}
    assert len(pins) == len({name for name, _ in pins})


@pytest.mark.parametrize("path", WORKFLOWS, ids=_name)
def test_a_workflow_grants_nothing_by_default_and_trusts_no_fork(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"^permissions: \{\}$", text, re.M)
    assert "pull_request_target" not in text
    assert text.count("uses: actions/checkout@") == text.count("persist-credentials: false")
    assert len(re.findall(r"^    runs-on:", text, re.M)) == len(re.findall(r"^    timeout-minutes:", text, re.M))


@pytest.mark.parametrize("path", WORKFLOWS + ACTIONS, ids=_name)
def test_no_expression_stands_in_a_script(path: Path) -> None:
    scripts = re.findall(r"run: ([^|\n].*)|run: \|\n((?: {8,}.*\n|\n)+)", path.read_text())
    assert [line for found in scripts for line in found if "${{" in line] == []


def _pins(path: Path) -> set[str]:
    return set(re.findall(r"^([\w.-]+==[\w.]+)", path.read_text(), re.M))


def test_the_actions_install_what_ci_tests() -> None:
    ours = ROOT / ".github" / "actions" / "shared" / "requirements.txt"
    assert _pins(ours) <= _pins(ROOT / ".ci" / "requirements.txt")
    assert not re.search(r"https?://", ours.read_text())


def test_the_actions_install_every_library_that_reconciler_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["postgres"], *extras["objects"], *extras["phone"]]
    pinned = {name.partition("==")[0] for name in _pins(ROOT / ".github" / "actions" / "shared" / "requirements.txt")}
    assert {re.split(r"[^\w.-]", name)[0] for name in named} - pinned == set()
