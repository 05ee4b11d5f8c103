"""A tag that is `once`, as a person deals with it: listed where it was given before, given again on a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.outcome import Action
from reconciler.sandbox import Running
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id

RULED = """location: {location}
tags:
  welcome: {{once: true, triggers: true}}
contact_sets:
  new:
    contacts: [{contacts}]
    tags: [welcome]
"""
Members = Callable[..., None]


@pytest.fixture
def members(project: Path) -> Members:
    def write(*numbers: int) -> None:
        contacts = ", ".join(map(contact_id, numbers))
        (project / "manifests" / "acme.yaml").write_text(RULED.format(location=LOCATION, contacts=contacts))

    return write


@pytest.fixture
def missed(reconciler: Command, members: Members, sandbox: Running) -> None:
    """Contact 2 was welcomed, lost the tag to a workflow, was missing from one day's file, and is back."""
    members(2, 3)
    assert reconciler("apply", "--auto-approve").code == 0
    sandbox.do(lambda world, now: world.remove(contact_id(2), ["welcome"], now=now, by="workflow"))
    members(3)
    assert reconciler("apply", "--auto-approve", "--refresh", "get").code == 0
    members(2, 3)


def welcomes(world: World) -> int:
    log = [each for each in world.transitions if each.by == "api" and each.action is Action.ADD]
    return sum(each.contact == contact_id(2) and each.tag == "welcome" for each in log)


@pytest.mark.usefixtures("missed")
def test_it_is_listed_in_the_plan_and_before_the_apply_and_not_given_again(reconciler: Command, world: World) -> None:
    (location,) = json.loads(reconciler("plan", "--format", "json").out)["locations"]
    (given,) = location["given"]
    assert given["contacts"] == [contact_id(2)]
    assert given["why"].startswith("once: given before, on 20")
    ended = reconciler("apply", "--auto-approve")
    assert (ended.code, given["why"] in ended.out, welcomes(world)) == (0, True, 1)
    assert "once: given" in reconciler("state", "show", contact_id(2)).out


@pytest.mark.slow
@pytest.mark.usefixtures("missed")
def test_a_person_gives_it_again_with_a_reason(reconciler: Command, world: World) -> None:
    assert "again 1" in reconciler("plan", "--again", "Welcome").out
    refused = reconciler("apply", "--auto-approve", "--again", "welcome")
    assert (refused.code, "--reason" in refused.err, welcomes(world)) == (64, True, 1)
    assert reconciler("apply", "--auto-approve", "--again", "welcome", "--reason", "moved house").code == 0
    assert welcomes(world) == 2
    run = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"][0]
    assert run["allowed"] == ["again:tag=welcome: moved house"]


@pytest.mark.slow
def test_who_never_left_is_not_given_it_again_and_the_plan_says_why_and_how(
    reconciler: Command, members: Members, sandbox: Running, world: World
) -> None:
    members(2, 3)
    assert reconciler("apply", "--auto-approve").code == 0
    sandbox.do(lambda world, now: world.remove(contact_id(2), ["welcome"], now=now, by="workflow"))
    again = ("--auto-approve", "--again", "welcome", "--reason", "the mail was empty")
    note = f"location {LOCATION}: 1 contact had 'welcome' and lost it without leaving its sets: `--again` gives it to"
    ended = reconciler("apply", "--refresh", "get", *again)
    assert (note in " ".join(ended.out.split()), welcomes(world)) == (True, 1)
    assert "without leaving" not in reconciler("plan").out
    # the way that it names
    members(3)
    assert reconciler("apply", "--auto-approve").code == 0
    members(2, 3)
    ended = reconciler("apply", *again)
    assert ("without leaving" in ended.out, welcomes(world)) == (False, 2)


@pytest.mark.usefixtures("missed")
def test_only_a_tag_that_is_once_is_given_again(reconciler: Command) -> None:
    ended = reconciler("plan", "--again", "welcom")
    assert (ended.code, "welcom" in ended.err, "did you mean 'welcome'?" in ended.err) == (64, True, True)


@pytest.mark.slow
@pytest.mark.usefixtures("missed")
def test_a_plan_file_is_no_persons_word(reconciler: Command, world: World) -> None:
    assert reconciler("plan", "--again", "welcome", "--out", "plan.json").code == 0
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ("--again" in ended.err + ended.out, welcomes(world)) == (True, 1)
    assert reconciler("plan", "--again", "welcome", "--out", "plan.json").code == 0
    assert reconciler("apply", "plan.json", "--auto-approve", "--again", "welcome", "--reason", "moved").code == 0
    assert welcomes(world) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("missed")
def test_a_new_name_is_told_to_give_it_to_those_who_had_it_by_the_old_one(
    reconciler: Command, members: Members, project: Path
) -> None:
    members(2, 3, 4)
    path = project / "manifests" / "acme.yaml"
    renamed = path.read_text().replace("welcome: {", "hello: {renamed_from: welcome, ")
    path.write_text(renamed.replace("[welcome]", "[hello]"))
    told = "2 contacts had 'welcome' before, and would be given 'hello'"
    assert told in " ".join(reconciler("plan", "--out", "plan.json").out.split())
    assert told in " ".join(reconciler("apply", "plan.json", "--dry-run").out.split())
    assert reconciler("apply", "--auto-approve").code == 0
    assert told not in " ".join(reconciler("plan").out.split())
