"""Sets by filter, as a user runs them: a pull asks the search, and nothing else asks a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LOCATION, Command

UNREACHABLE = "http://127.0.0.1:9"


def declare(project: Path, wanted: str = "{dateAdded: {exists: true}}", tag: str = "vip") -> None:
    sets = f"contact_sets:\n  vip: {{contacts: {{filter: {wanted}}}, tags: [{tag}]}}\n"
    (project / "manifests" / "acme.yaml").write_text(f"location: {LOCATION}\n{sets}")


def test_a_pull_asks_the_search_and_plans_go_by_it(
    project: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(project)
    before = reconciler("plan")
    assert before.code == 1
    assert "has no snapshot: which contacts meet its filter is not known" in before.err
    pulled = reconciler("pull", "--format", "json")
    assert pulled.code == 0, pulled.err
    (vip,) = json.loads(pulled.out)["locations"][0]["sets"]
    assert vip["file"] == "filter"
    assert vip["size"] > 0

    monkeypatch.setenv("RECONCILER_API_BASE_URL", UNREACHABLE)
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    assert reconciler("validate").code == 0
    planned = reconciler("plan", "--format", "json")
    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["locations"][0]["summary"]["contacts"] == vip["size"]
    declare(project, "{dateAdded: {before: 2021-01-01}}")
    assert "its filter has changed since" in reconciler("plan").err


def test_a_loop_is_refused_by_every_command(project: Path, reconciler: Command) -> None:
    declare(project, "{tags: {eq: VIP}}")
    for line in ("validate", "plan", "pull"):
        ended = reconciler(line)
        assert ended.code == 1
        assert "is filtered by tag 'VIP', a loop: these manifests give or take 'vip'" in ended.out + ended.err


def test_rows_that_are_not_matched_are_none_of_a_filter(project: Path, reconciler: Command) -> None:
    declare(project)
    ended = reconciler("pull", "--set", "vip", "--unmatched", "rows.csv")
    assert ended.code == 64
    assert "this set has none" in ended.err
