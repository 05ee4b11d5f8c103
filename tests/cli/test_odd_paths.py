"""Paths and addresses that nothing can be at: one line names them, and nobody is told of a bug."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.extras import need

Manifest = Callable[..., None]
LONG = "x" * 5_000
PLACES = [
    "plan LONG",
    "plan --out LONG",
    "plan --report LONG.md",
    "apply LONG",
    "apply --manifests LONG",
    "validate LONG",
    "diff LONG",
    "export --location asdrwHvLUxlfw5SqKVCN --refresh search --out LONG",
    "init LONG",
    "show LONG",
    "state import LONG --location x",
    "state push LONG",
    "state recover LONG",
    "demo --keep LONG",
    "sandbox make --data LONG",
    "history --manifests LONG",
    "plan --state sqlite:///LONG",
]


@pytest.mark.parametrize("line", PLACES)
def test_a_path_that_is_too_long_is_named(line: str, reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0], ["customer"], []))
    ended = reconciler(*line.replace("LONG", LONG).split())
    assert ended.code not in (0, 2)
    assert "bug of reconciler" not in ended.err
    assert "Traceback" not in ended.err
    assert "x" * 80 in ended.err


LOOPS = [
    *(line for line in PLACES if not line.startswith("sandbox")),
    "plan --out LONG/plan.json",
    "plan --report LONG/plan.md",
    "resolve people.csv --by email --location asdrwHvLUxlfw5SqKVCN --force --out LONG",
    "plan --snapshots LONG",
]


@pytest.mark.parametrize("line", LOOPS)
def test_a_link_that_leads_to_itself_is_named(
    line: str, reconciler: Command, manifest: Manifest, project: Path
) -> None:
    manifest(customers=([0], ["customer"], []))
    (project / "people.csv").write_text("email\nada@example.com\n")
    (project / "loop").symlink_to("loop")
    (project / "loop.md").symlink_to("loop.md")
    ended = reconciler(*line.replace("LONG", "loop").split())
    assert ended.code not in (0, 2)
    assert "bug of reconciler" not in ended.err
    assert "loop" in ended.err + ended.out


@pytest.mark.parametrize("line", ["plan --out pipe", "plan --report pipe.md"])
def test_nothing_is_read_from_a_pipe_that_is_to_be_written(
    line: str, reconciler: Command, manifest: Manifest, project: Path
) -> None:
    """To open it would wait for a writer, for ever."""
    manifest(customers=([0], ["customer"], []))
    os.mkfifo(project / "pipe")
    os.mkfifo(project / "pipe.md")
    ended = reconciler(*line.split())
    assert ended.code != 0
    assert "is there already, and is no file" in ended.err


NEEDED = {"postgresql": "psycopg", "s3": "obstore", "az": "obstore"}


@pytest.mark.one_in(5)
@pytest.mark.extras
@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///manifests",
        "sqlite:///manifests/acme.yaml/x.db",
        "sqlite:///state.db?mode=ro",
        "http://x",
        "x",
        "postgresql://[",
        "postgresql://h:99999/x",
        "s3://",
        "s3://[",
        "s3://b/p?endpoint=http://[",
        "az://",
    ],
)
def test_an_odd_state_url_is_told_in_a_line(url: str, reconciler: Command, manifest: Manifest) -> None:
    if library := NEEDED.get(url.partition("://")[0]):
        need(library)
    manifest(customers=([0], ["customer"], []))
    for command in (("plan",), ("apply", "--auto-approve"), ("refresh",)):
        ended = reconciler(*command, "--state", url)
        assert ended.code in (1, 64), command
        assert "bug of reconciler" not in ended.err
        assert "error: " in ended.err
        assert "state" in ended.err


@pytest.mark.slow
def test_a_mistyped_variable_is_warned_about(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_STATES", "sqlite:///there.db")
    for command in (("validate",), ("plan",), ("drift",), ("refresh",)):
        ended = reconciler(*command)
        said = ended.err + ended.out
        assert "RECONCILER_STATES" in said, command
        assert "did you mean 'RECONCILER_STATE'?" in said


def test_a_variable_that_names_an_odd_state_is_named(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_STATE", "http://x")
    ended = reconciler("plan")
    assert "unknown state 'http://x'" in ended.err
    assert "hint: the variable RECONCILER_STATE says where the state is" in ended.err


def test_a_variable_that_the_error_names_is_named_once(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_STATE", "sqlite:///nowhere.db")
    monkeypatch.setenv("CI", "true")
    ended = reconciler("plan")
    assert "named by environment RECONCILER_STATE" in ended.err
    assert "says where the state is" not in ended.err
