"""The commands that go by the state, on each home: a store's own contract says nothing of the threads they work in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, clock, contact_id, manifest, project, reconciler, sandbox, world
from tests.store.conftest import Home

__all__ = ["clock", "manifest", "project", "reconciler", "sandbox", "world"]


@pytest.fixture
def at_home(home: Home, project: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """All commands of the test keep their state there."""
    monkeypatch.setenv("RECONCILER_STATE", home.url)
    return home


@pytest.mark.slow
def test_a_state_is_made_used_looked_at_and_moved(
    at_home: Home, reconciler: Command, manifest: Callable[..., None], world: World
) -> None:
    def done(*arguments: str) -> str:
        ended = reconciler(*arguments)
        assert (ended.code, ended.err.count("bug of reconciler")) == (0, 0), (arguments, ended.err)
        return ended.out

    manifest(customers=(range(8), ["customer"], []), trial=([0], [], ["trial"]))
    assert "8 contacts" in done("plan")
    done("apply", "--auto-approve")
    assert world.holders("customer") == {contact_id(number) for number in range(8)}
    assert "No changes" in done("plan")
    manifest(customers=(range(7), ["customer"], []))
    done("refresh")
    assert json.loads(done("drift", "--format", "json"))["locations"]
    done("apply", "--auto-approve", "--refresh", "auto")
    assert world.holders("customer") == {contact_id(number) for number in range(7)}
    assert "apply" in done("history")
    done("state", "list")
    done("state", "show", contact_id(0), "--location", LOCATION)
    done("state", "verify")
    done("state", "forget", contact_id(7), "--location", LOCATION)
    done("state", "migrate", "sqlite:///moved.db")
    there = "--state", "sqlite:///moved.db"
    assert "No changes" in done("plan", *there)
    assert "was migrated to" in reconciler("apply", "--auto-approve").err
    # and back, over what is there
    done("state", "migrate", at_home.url, *there)
    assert "No changes" in done("plan")
