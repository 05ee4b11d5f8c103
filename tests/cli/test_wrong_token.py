"""A token that the API refuses is named by where it is held, by every command that asks the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import LocationId
from reconciler.sandbox import Running
from reconciler.sandbox.app import DEMO_TOKEN
from tests.cli.conftest import ELSEWHERE, LOCATION, Command, contact_id

WRONG = "pit-revoked-00000000"
ASKING = {
    "refresh": ("refresh",),
    "refresh by id": ("refresh", "--method", "get"),
    "drift": ("drift", "--refresh", "search"),
    "plan": ("plan", "--refresh", "get"),
    "apply": ("apply", "--auto-approve"),
    "apply --refresh": ("apply", "--auto-approve", "--refresh", "get"),
    "export": ("export", "--location", LOCATION, "--refresh", "search", "--out", "out"),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize("command", ASKING)
def test_its_variable_is_named(
    reconciler: Command, manifest: Callable[..., None], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    monkeypatch.setenv("HIGHLEVEL_TOKEN", WRONG)
    ended = reconciler(*ASKING[command])
    said = " ".join((ended.out + ended.err).split())

    assert ended.code == 7
    assert "the token from environment variable HIGHLEVEL_TOKEN is expired, revoked or rotated" in said
    assert WRONG not in said


@pytest.mark.one_in(3)
@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize("held", ["token_env", "token_command"])
def test_the_setting_that_holds_it_is_named(
    reconciler: Command,
    manifest: Callable[..., None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    held: str,
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    monkeypatch.setenv("ACME_TOKEN", WRONG)
    given = {"token_env": "ACME_TOKEN", "token_command": f"echo {WRONG}"}[held]
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{LOCATION}: {{{held}: {given}}}}}\n")
    ended = reconciler(*ASKING[command])
    said = " ".join((ended.out + ended.err).split())
    named = {
        "token_env": "the token from environment variable ACME_TOKEN is expired",
        "token_command": "the token from token_command (in reconciler.yaml) is expired",
    }

    assert ended.code == 7
    assert named[held] in said


@pytest.mark.one_in(7)
@pytest.mark.parametrize("held", ["HIGHLEVEL_TOKEN", "token_env", "token_command"])
@pytest.mark.parametrize("more", [(), ("--refresh", "get")])
def test_revert_names_where_it_is_held(
    reconciler: Command,
    manifest: Callable[..., None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: str,
    more: tuple[str, ...],
) -> None:
    """The token was good for the run that is to be undone."""
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(others=([4], ["other"], []))
    monkeypatch.setenv("HIGHLEVEL_TOKEN", WRONG)
    monkeypatch.setenv("ACME_TOKEN", WRONG)
    if held != "HIGHLEVEL_TOKEN":
        monkeypatch.delenv("HIGHLEVEL_TOKEN")
        given = {"token_env": "ACME_TOKEN", "token_command": f"echo {WRONG}"}[held]
        (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{LOCATION}: {{{held}: {given}}}}}\n")
    lifted = ("--allow", "empties_tag:tag=customer", "--allow", "max_removes_pct", "--reason", "a mistake")
    ended = reconciler("revert", "last", "--auto-approve", *lifted, *more)
    said = " ".join((ended.out + ended.err).split())
    named = {
        "HIGHLEVEL_TOKEN": "the token from environment variable HIGHLEVEL_TOKEN is expired, revoked or rotated",
        "token_env": "the token from environment variable ACME_TOKEN is expired",
        "token_command": "the token from token_command (in reconciler.yaml) is expired",
    }

    assert ended.code == 7
    assert named[held] in said
    assert WRONG not in said


def test_a_token_of_another_location_is_named(
    reconciler: Command, project: Path, sandbox: Running, manifest: Callable[..., None]
) -> None:
    """Every contact is answered with 403; nothing but that tells what the token is of."""
    manifest(customers=([9], ["customer"], []))
    ended = reconciler("refresh", "--method", "get")

    assert ended.code == 7
    assert "by the token from environment variable HIGHLEVEL_TOKEN" in ended.err
    assert DEMO_TOKEN not in ended.err
    assert LocationId(ELSEWHERE) not in ended.err
    assert contact_id(9) not in ended.err
