"""Undoing a run, as a person does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant
from reconciler.sandbox import Running
from reconciler.sandbox.world import World
from tests.cli.conftest import Command, contact_id

Manifest = Callable[..., None]


def last_run(reconciler: Command) -> str:
    (location,) = json.loads(reconciler("history", "--format", "json").out)["locations"]
    return str(location["runs"][0]["id"])


@pytest.fixture
def mistake(reconciler: Command, manifest: Manifest) -> str:
    """A run that took a tag from two contacts and gave another to three; the commit is reverted since."""
    manifest(customers=(range(3), ["customer"], ["trial"]))
    assert reconciler("apply", "--auto-approve", "--allow", "empties_tag:tag=trial", "--reason", "x").code == 0
    manifest(vip=([5], ["vip"], []))
    return last_run(reconciler)


LIFT = ("--allow", "empties_tag:tag=customer", "--allow", "max_removes_pct", "--reason", "a mistake")


@pytest.mark.slow
def test_a_mistake_is_undone(reconciler: Command, world: World, mistake: str) -> None:
    previewed = reconciler("revert", mistake, "--dry-run", *LIFT)
    assert previewed.code == 0
    assert "3 contacts: 2 tags to add, 3 tags to remove" in previewed.out
    assert "reverted" in previewed.out
    assert len(world.transitions) == 5
    ended = reconciler("revert", mistake, "--auto-approve", *LIFT)
    assert ended.code == 0
    assert world.holders("trial") == {contact_id(0), contact_id(1)}
    assert world.holders("customer") == frozenset()
    shown = reconciler("show", last_run(reconciler)).out
    assert f"revert {mistake}" in shown
    assert "a mistake" in shown
    again = reconciler("revert", mistake, "--auto-approve", *LIFT)
    assert again.code == 0
    assert "Nothing to send: see what is left out." in again.out
    assert "is left to undo" not in again.err
    document = json.loads(reconciler("revert", mistake, "--auto-approve", "--format", "json", *LIFT).out)
    assert [(each["run"], each["requests"]) for each in document["locations"]] == [("", 0)]


def test_a_revert_goes_through_the_guards(reconciler: Command, world: World, mistake: str) -> None:
    ended = reconciler("revert", mistake, "--auto-approve")
    assert ended.code == 5
    assert "--allow empties_tag:tag=customer" in ended.err
    refused = reconciler("revert", mistake, "--auto-approve", "--format", "json")
    document = json.loads(refused.out)
    assert (refused.code, document["report"], document["exit_code"]) == (5, "error", 5)
    assert "empties_tag" in document["error"]
    assert len(world.transitions) == 5


def test_a_revert_asks(reconciler: Command, world: World, mistake: str) -> None:
    ended = reconciler("revert", mistake, *LIFT)
    assert ended.code == 64
    assert "error: revert asks before it sends" in ended.err
    assert "--auto-approve" in ended.err
    assert len(world.transitions) == 5


@pytest.mark.slow
def test_the_commit_comes_first(reconciler: Command, manifest: Manifest, world: World, mistake: str) -> None:
    manifest(customers=(range(3), ["customer"], ["trial"]))
    ended = reconciler("revert", mistake, "--auto-approve")
    assert ended.code == 0
    assert "Nothing to send: see what is left out." in ended.out
    assert "is left to undo" not in ended.err
    (location,) = json.loads(reconciler("revert", mistake, "--dry-run", "--format", "json").out)["locations"]
    assert {each["why"] for each in location["held"]} == {"still demanded: revert the commit first"}
    assert len(world.transitions) == 5


@pytest.mark.slow
def test_a_refresh_tells_what_others_changed_since(
    reconciler: Command, world: World, sandbox: Running, mistake: str
) -> None:
    sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
    planned = reconciler("revert", mistake, "--dry-run", "--refresh", "get", *LIFT)
    assert "2 tags to remove" in planned.out
    assert "changed since" in planned.out


@pytest.mark.slow
def test_a_run_whose_rows_are_gone_cannot_be_undone(
    reconciler: Command, manifest: Manifest, project: Path, mistake: str
) -> None:
    (project / "manifests" / "reconciler.yaml").write_text("history_keep: 1\n")
    assert reconciler("apply", "--auto-approve", *LIFT).code == 0
    ended = reconciler("revert", mistake)
    assert ended.code == 64
    assert "history_keep" in ended.err


@pytest.mark.usefixtures("mistake")
def test_a_run_that_never_was(reconciler: Command) -> None:
    ended = reconciler("revert", "ffffffffffff")
    assert ended.code == 64
    assert "reconciler history" in ended.err


@pytest.mark.slow
def test_what_cannot_be_undone_on_contacts_that_are_refused_is_left_all_the_same(
    reconciler: Command, manifest: Manifest, world: World
) -> None:
    manifest(customers=([2, 3], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    for number in (2, 3):
        world.delete(contact_id(number), now=Instant(1))
    manifest(customers=([2, 3], ["customer", "newsletter"], []))
    assert reconciler("apply", "--auto-approve").code == 3
    manifest()

    reverted = reconciler("revert", run["id"], "--auto-approve", *LIFT)
    assert reverted.code == 0
    assert "Quarantined" in reverted.out
    assert "left to undo" not in reverted.out + reverted.err
