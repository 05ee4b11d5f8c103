"""The right state, and plans that are still true."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
OTHER = "00000000-0000-4000-8000-000000000000"
COMMANDS = (["plan"], ["drift"], ["apply", "--auto-approve"], ["apply", "plan.json", "--auto-approve"])


def lineage_of(reconciler: Command) -> tuple[str, int]:
    (location,) = json.loads(reconciler("state", "list", "--format", "json").out)["locations"]
    return location["lineage"], location["serial"]


@pytest.fixture
def applied(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0, 1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1, 2], ["customer"], []))
    assert reconciler("plan", "--out", "plan.json").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("text", ["lineage: {0}", "locations: {{{1}: {{lineage: {0}}}}}"], ids=["all", "one"])
@pytest.mark.usefixtures("applied")
def test_a_pinned_lineage_refuses_any_other_state(reconciler: Command, project: Path, world: World, text: str) -> None:
    settings = project / "manifests" / "reconciler.yaml"
    settings.write_text(text.format(OTHER, LOCATION))
    before = len(world.transitions)
    for command in COMMANDS:
        ended = reconciler(*command)
        assert ended.code == 1
        assert f"pinned to lineage {OTHER}" in ended.err
    assert len(world.transitions) == before
    settings.write_text(text.format(lineage_of(reconciler)[0], LOCATION))
    for command in (COMMANDS[0], COMMANDS[1], COMMANDS[3]):
        assert reconciler(*command).code == 0
    assert len(world.transitions) == before + 1


def test_a_pinned_lineage_refuses_a_missing_state(reconciler: Command, manifest: Manifest, project: Path) -> None:
    manifest(customers=([0, 1], ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text(f"lineage: {OTHER}\n")
    for command in COMMANDS[:3]:
        ended = reconciler(*command)
        assert ended.code == 1
        assert "none there" in ended.err
    assert not (project / ".reconciler").exists()


@pytest.mark.usefixtures("applied")
def test_a_plan_of_another_lineage_is_stale(reconciler: Command, project: Path, world: World) -> None:
    before = len(world.transitions)
    (project / ".reconciler").rename(project / "elsewhere")
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 4
    assert "lineage" in ended.out
    assert len(world.transitions) == before


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_plan_holds_where_only_the_serial_moved(reconciler: Command, project: Path, world: World) -> None:
    (project / "export.csv").write_text(f"id,tags\n{contact_id(2)},customer\n{contact_id(5)},x\n")
    assert reconciler("state", "import", "export.csv", "--location", LOCATION).code == 0
    before = len(world.transitions)
    assert reconciler("apply", "plan.json", "--auto-approve").code in (0, 3)
    # the tag is there already, as far as is known by now: nothing is sent for it
    assert len(world.transitions) == before


@pytest.mark.usefixtures("applied")
def test_a_plan_names_what_it_is_bound_to(reconciler: Command, project: Path) -> None:
    (planned,) = json.loads((project / "plan.json").read_text())["locations"]
    assert (planned["lineage"], planned["serial"]) == lineage_of(reconciler)
    assert planned["manifests_digest"].startswith("sha256:")


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_what_changes_nothing_leaves_the_serial_alone(reconciler: Command, project: Path) -> None:
    assert reconciler("apply", "--auto-approve").code == 0
    before = lineage_of(reconciler)
    (project / "export.csv").write_text(f"id,tags\n{contact_id(0)},other\n")
    for command in (
        ["apply", "--auto-approve"],
        ["plan"],
        ["drift", "--refresh", "get"],
        ["state", "import", "export.csv", "--location", LOCATION, "--observed-at", "2026-01-01"],
        ["state", "forget", "nobody", "--location", LOCATION],
        ["state", "verify"],
    ):
        assert reconciler(*command).code == 0
        assert lineage_of(reconciler) == before
