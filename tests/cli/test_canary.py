"""A run that begins with a few contacts, and runs in several locations at once, through the real command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import LocationId, Tag
from reconciler.sandbox.world import World
from tests.cli.conftest import Command, contact_id

Manifest = Callable[..., None]
SECOND = LocationId("bbbrwHvLUxlfw5SqKVCN")


def test_a_canary_that_fares_well_is_followed_by_the_rest(
    manifest: Manifest, reconciler: Command, world: World
) -> None:
    manifest(customers=(range(6), ["customer"], []))
    ended = reconciler("apply", "--auto-approve", "--canary", "2")

    assert ended.code == 0, ended.err
    assert len(world.holders("customer")) == 6


def test_a_canary_that_fares_badly_stops_the_run_and_says_how_to_go_on(manifest: Manifest, reconciler: Command) -> None:
    # 8 is deleted, 9 lives elsewhere
    manifest(customers=([8, 9], ["customer"], []))
    ended = reconciler("apply", "--auto-approve", "--canary", "1", "--stop-on", "error_rate=10")

    assert ended.code == 3
    assert "after the first 1 contact:" in ended.out
    assert "plan and apply again" in ended.out
    assert "not sent" in ended.out


def test_what_is_no_canary_and_no_rate_is_refused(manifest: Manifest, reconciler: Command) -> None:
    manifest(customers=([1], ["customer"], []))
    for option, value in (("--canary", "0"), ("--canary", "101%"), ("--canary", "few"), ("--stop-on", "luck=5")):
        ended = reconciler("apply", "--auto-approve", option, value)
        assert ended.code == 64
        assert value in ended.err


@pytest.mark.slow
def test_a_location_that_fails_does_not_stop_the_other(
    manifest: Manifest, reconciler: Command, project: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    (project / "manifests" / "second.yaml").write_text(
        f"location: {SECOND}\ncontact_sets:\n  s: {{contacts: [{contact_id(5)}], tags: [vip]}}\n"
    )
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{SECOND}: {{token_env: SECOND_TOKEN}}}}\n")
    missing = reconciler("apply", "--auto-approve", "--fail-fast")
    assert missing.code == 7
    assert "SECOND_TOKEN" in missing.err
    assert not world.transitions  # what is known to fail is told before anything is sent

    monkeypatch.setenv("SECOND_TOKEN", "pit-of-nobody")
    ended = reconciler("apply", "--auto-approve")
    assert ended.code == 7
    assert "make a new token in HighLevel" in ended.out
    assert not world.holders(Tag("vip"))
    assert len(world.holders(Tag("customer"))) == 3
