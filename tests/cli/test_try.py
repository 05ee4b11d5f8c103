"""`doctor --try` asks before it writes, and says what it found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox import Running
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.terminal import on_terminal, read_until

HERE = ("--location", LOCATION)
TRY = ("--try", contact_id(0))


@pytest.fixture(autouse=True)
def manifests(manifest: Callable[..., None]) -> None:
    manifest(customers=(range(3), ["customer"], []))


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ((*HERE, *TRY), "asks before it writes, and there is no terminal to ask on", "then add --yes"),
        ((*TRY, "--yes"), "--try needs one --location", "--location asdrwHvLUxlfw5SqKVCN"),
        ((*HERE, *TRY, "--yes", "--offline"), "--try asks the API, and --offline does not", "leave one"),
        (("--yes",), "--yes is for --try", "leave it out"),
        ((*HERE, "--try", "somebody", "--yes"), "'somebody' is no contact id", "20 letters"),
    ],
)
def test_nothing_is_sent_where_the_line_is_not_meant_so(
    reconciler: Command, world: World, line: tuple[str, ...], error: str, hint: str
) -> None:
    ended = reconciler("doctor", *line)
    assert (ended.code, world.transitions) == (64, [])
    assert error in ended.err
    assert hint in ended.err


@pytest.mark.slow
def test_the_findings_are_told_kept_and_shown(reconciler: Command, sandbox: Running, world: World) -> None:
    before = world.tags_of(contact_id(0))
    ended = reconciler("doctor", *HERE, *TRY, "--yes", "--format", "json")
    document = json.loads(ended.out)
    assert (ended.code, document["report"], len(document["rows"])) == (0, "trial", 19)
    assert all(row["assumption"] and row["deviation"] for row in document["rows"])
    assert {row["verdict"] for row in document["rows"]} == {"as assumed", "not settled"}
    assert world.tags_of(contact_id(0)) == before
    shown = reconciler("state", "show")
    assert "case: as assumed ('reconciler-try-" in shown.out
    assert reconciler("history").out.count(" try ") == 1


@pytest.mark.slow
def test_it_warns_of_workflows_and_only_the_word_goes_on(project: Path, sandbox: Running, world: World) -> None:
    with on_terminal("doctor", *HERE, *TRY, cwd=project) as (process, terminal):
        shown = read_until(terminal, "Type try to go on: ")
        os.write(terminal, b"yes\n")
        said = read_until(terminal, "goes on")
        assert process.wait(30) == 1
    assert 'trigger\r\n"Contact tag" without a filter) starts for each of them' in shown
    assert "not tried: nothing was sent" in said
    assert world.transitions == []
