"""The sandbox of many locations, by its commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reconciler.cli.sandbox import assuming
from reconciler.sandbox.app import sandbox_token
from reconciler.sandbox.assumptions import Assumptions, list_switches
from reconciler.sandbox.saved_world import load_locations
from tests.cli.conftest import LOCATION, Command, contact_id

OTHER = f"other{LOCATION[5:]}"
MANIFEST = "location: {}\ncontact_sets: {{a: {{contacts: [{}], tags: [x]}}}}\n"


@pytest.fixture
def two(project: Path) -> Path:
    for number, location in enumerate((LOCATION, OTHER)):
        (project / "manifests" / f"{number}.yaml").write_text(MANIFEST.format(location, contact_id(number)))
    return project


def test_all_locations_of_the_manifests_are_made_up_each_with_a_token_of_its_own(
    reconciler: Command, two: Path
) -> None:
    made = reconciler("sandbox", "make", "--data", "many.json", "--extra", "3")
    assert (made.code, made.out) == (0, "made many.json: 2 locations with 8 contacts\n")
    apps = {app.world.location: app for app in load_locations(two / "many.json")}
    assert {location: app.tokens for location, app in apps.items()} == {
        LOCATION: {sandbox_token(LOCATION)},
        OTHER: {sandbox_token(OTHER)},
    }
    assert contact_id(1) in apps[OTHER].world.contacts
    assert contact_id(1) not in apps[LOCATION].world.contacts


def test_one_location_of_several_may_be_chosen(reconciler: Command, two: Path) -> None:
    made = reconciler("sandbox", "make", "--data", "one.json", "--location", OTHER)
    assert (made.code, made.out) == (0, f"made one.json: location {OTHER} with 201 contacts\n")


@pytest.mark.one_in(7)
@pytest.mark.parametrize(
    ("line", "error"),
    [
        ((), "there is no location to serve"),
        (("--data", "many.json", "--locations", "3"), "many.json exists already"),
        (("--data", "many.json", "--token", "pit-1"), "one token cannot be that of 2 locations"),
        (("--locations", "0"), "0 is not in the range 1<=x<=10000"),
        (("--data", "many.json", "--assume", "max_tag=3"), "the sandbox has no switch 'max_tag'"),
        (("--data", "many.json", "--assume", "max_tags=0"), "--assume max_tags has '0', and takes a number from 1"),
    ],
)
def test_what_cannot_be_served_is_said(line: tuple[str, ...], error: str, reconciler: Command, two: Path) -> None:
    assert reconciler("sandbox", "make", "--data", "many.json").code == 0
    ended = reconciler("sandbox", "serve", "--port", "0", *line)
    assert ended.code == 64
    assert error in ended.err


def test_help_lists_the_switches_with_values_and_defaults(reconciler: Command) -> None:
    told = reconciler("sandbox", "serve", "--help").out
    for switch in list_switches():
        assert re.search(rf"{re.escape(f'{switch.name}={switch.default}')}\s+{re.escape(switch.values)}", told)


@pytest.mark.slow
def test_the_locations_behave_as_assumed_for_this_time(reconciler: Command, two: Path) -> None:
    assert reconciler("sandbox", "make", "--data", "many.json").code == 0
    worlds = [app.world for app in load_locations(two / "many.json")]
    with assuming(worlds, ["max_tags=10", "read_lag_ms=5000"]):
        assert {(world.assumptions.max_tags, world.assumptions.read_lag_ms) for world in worlds} == {(10, 5_000)}
    assert {world.assumptions for world in worlds} == {Assumptions()}


@pytest.mark.slow
def test_the_demo_of_many_is_true_and_leaves_its_scene(
    reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = reconciler("demo", "--locations", "4", "--keep", "scene")
    assert ended.code == 0, ended.out + ended.err
    assert "valid: 4 manifests, 8 contact sets" in ended.out
    assert "Everything above is true" in ended.out
    scene = project / "scene"
    assert ". ./tokens.sh" in ended.out
    tokens = [line.removeprefix("export ").split("=") for line in (scene / "tokens.sh").read_text().splitlines()]
    apps = load_locations(scene / "sandbox.json")
    assert sorted(token for _, token in tokens) == sorted(token for app in apps for token in app.tokens)
    assert len(apps) == 4
    # what was taken by hand in three of them was put back there, and nowhere else
    assert sorted(sum(change.by == "somebody" for change in app.world.transitions) for app in apps) == [0, 1, 1, 1]
    monkeypatch.setenv("RECONCILER_STATE", "sqlite:///scene/state.db")
    # the client whose list is nearly empty is refused still, the others have what they shall have
    planned = json.loads(reconciler("plan", "scene/manifests", "--format", "json").out)["locations"]
    assert sorted(bool(each["batches"]) for each in planned) == [False, False, False, True]


def test_one_location_is_the_usual_demo(reconciler: Command, project: Path) -> None:
    assert reconciler("demo", "--locations", "1").code == 64
