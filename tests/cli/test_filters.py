"""Sets by filter, as a user runs them: a pull asks the search, and nothing else asks a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id

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


@pytest.mark.slow
def test_a_filter_by_a_tag_that_only_the_ledger_owns_is_refused_until_the_ledger_lets_go(
    project: Path, reconciler: Command, manifest: Callable[..., None], world: World
) -> None:
    # no guard refuses what a filter makes a loop of
    (project / "manifests" / "reconciler.yaml").write_text("guards: {empties_tag: false}\n")
    manifest(guests=([0], ["trial"], []), vip=([0, 1], ["reminder"], []))
    assert reconciler("apply", "--auto-approve", "--create-state").code == 0
    declare(project, "{tags: {eq: trial}}", tag="reminder")
    assert reconciler("validate").code == 0
    assert reconciler("pull").code == 0
    sent = len(world.transitions)

    planned = reconciler("plan")
    assert planned.code == 5
    said = " ".join(planned.out.split())
    assert "contact set 'vip' is filtered by tag 'trial', and the plan changes it" in said
    assert "apply would send nothing" not in said
    for form in ("json", "csv"):
        told = reconciler("plan", "--format", form, "--out", "plan.json")
        assert (told.code, "is filtered by tag 'trial', and the plan changes it" in told.err) == (5, True)
    for target in ("manifests", "plan.json"):
        applied = reconciler("apply", target, "--auto-approve")
        assert applied.code == 5
        assert "first apply with this set as it was before" in " ".join(applied.err.split())
    assert len(world.transitions) == sent

    # the way out takes nothing from the members of the set
    manifest(vip=([0, 1], ["reminder"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    changed = [(each.contact, each.tag, each.action.value) for each in world.transitions[sent:]]
    assert changed == [(contact_id(0), "trial", "remove")]
    declare(project, "{tags: {eq: trial}}", tag="reminder")
    ended = reconciler("plan")
    assert ended.code == 0, ended.err
