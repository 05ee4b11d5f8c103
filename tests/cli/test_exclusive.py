"""An exclusive tag: found on others by a search for it, told as drift, taken from them by a plan that was reviewed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.model.names import Tag
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.listening import Listening

SEARCH = "POST /contacts/search"


@pytest.fixture
def world() -> World:
    """20 contacts; 4 and 5 carry the tag of the board."""
    carried = {4: {"board", "news"}, 5: {"board"}}
    return World(
        LOCATION,
        [Contact(contact_id(nth), LOCATION, frozenset(map(Tag, carried.get(nth, ())))) for nth in range(20)],
    )


@pytest.fixture
def network(world: World) -> Listening:
    return Listening(App(world))


@pytest.fixture
def sandbox(network: Listening) -> Iterator[Running]:
    with in_background(network) as running:
        yield running


@pytest.fixture
def declared(project: Path) -> None:
    """2 is the board; 5 is declared for something else."""
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\n"
        "tags:\n  board: {exclusive: true}\n"
        "contact_sets:\n"
        f"  board:\n    contacts: [{contact_id(2)}]\n    tags: [board]\n"
        f"  news:\n    contacts: [{contact_id(5)}]\n    tags: [news]\n"
    )


def removals(plan: str) -> dict[str, str]:
    (location,) = json.loads(plan)["locations"]
    return {
        contact: change["reason"]
        for delta in location["deltas"]
        for change in delta["changes"]
        for contact in delta["contacts"]
        if change["action"] == "remove"
    }


@pytest.mark.usefixtures("declared")
def test_without_a_search_nothing_is_taken_from_anybody(reconciler: Command, network: Listening) -> None:
    assert reconciler("apply", "--auto-approve").code == 0
    planned = reconciler("plan")
    assert "exclusive: needs a refresh" in planned.out
    assert removals(reconciler("plan", "--format", "json").out) == {}
    assert network.since()[SEARCH] == 0
    # 5 was observed with the tag when it was given another, and is still not touched
    assert network.app.world.holders("board") == {contact_id(2), contact_id(4), contact_id(5)}
    assert "Who else carries what is exclusive is not known" in reconciler("drift").out


@pytest.mark.slow
@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("method", ["get", "search", "auto"])
def test_others_are_found_and_cleared(
    reconciler: Command, network: Listening, project: Path, method: str, sandbox: Running
) -> None:
    assert reconciler("apply", "--auto-approve").code == 0
    drift = reconciler("drift", "--refresh", method, "--fail-on", "unexpected", "--format", "json")
    assert drift.code == 2
    found = [each for each in json.loads(drift.out)["locations"][0]["drifted"] if each["drift"] == "unexpected"]
    assert [(each["tag"], each["contacts"]) for each in found] == [("board", [contact_id(4), contact_id(5)])]
    assert reconciler("plan", "--refresh", method, "--out", "plan.json").code == 0
    saved = (project / "plan.json").read_text()
    assert removals(saved) == {contact_id(4): "exclusive", contact_id(5): "exclusive"}
    network.since()
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert network.since()[SEARCH] == 0
    assert sandbox.world.holders("board") == {contact_id(2)}
    assert sandbox.world.tags_of(contact_id(4)) == {"news"}
    again = reconciler("plan", "--refresh", method, "--detailed-exitcode")
    assert (again.code, "No changes" in again.out) == (0, True)


@pytest.mark.slow
@pytest.mark.usefixtures("declared")
def test_guards_hold_for_what_was_found(reconciler: Command) -> None:
    refused = reconciler("plan", "--refresh", "get", "--guards-max-removes", "1")
    assert refused.code == 5
    assert "guard max_removes refuses" in refused.out
    assert reconciler("plan", "--refresh", "get", "--guards-max-removes", "2").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("declared")
def test_a_plan_made_before_somebody_else_ran_is_still_within_what_was_approved(
    reconciler: Command, sandbox: Running, project: Path
) -> None:
    assert reconciler("apply", "--auto-approve").code == 0
    reconciler("plan", "--refresh", "get", "--out", "plan.json")
    # the serial moves
    assert reconciler("refresh", "--method", "get").code == 0
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert sandbox.world.holders("board") == {contact_id(2)}


@pytest.mark.slow
@pytest.mark.usefixtures("declared")
def test_a_part_has_no_others(reconciler: Command, network: Listening) -> None:
    reconciler("apply", "--auto-approve")
    network.since()
    assert removals(reconciler("plan", "--refresh", "get", "--set", "board", "--format", "json").out) == {}
    assert removals(reconciler("plan", "--refresh", "get", "--tag", "news", "--format", "json").out) == {}
    assert network.since()[SEARCH] == 0


def test_a_shared_rule_alone_empties_nothing(reconciler: Command, project: Path, network: Listening) -> None:
    (project / "manifests" / "reconciler.yaml").write_text("tags:\n  board: {exclusive: true}\n")
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  news:\n    contacts: [{contact_id(5)}]\n    tags: [news]\n"
    )
    planned = reconciler("plan", "--refresh", "get", "--format", "json")
    assert removals(planned.out) == {}
    assert network.since()[SEARCH] == 0
