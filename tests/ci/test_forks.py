"""What a pull request's job needs, and what a hostile one gets: nothing runs, nothing is asked, nothing is written."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.names import Instant
from reconciler.sandbox.app import READ_CONTACTS, Access, App
from reconciler.sandbox.message import Request, Response
from reconciler.sandbox.server import Running, in_background
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command

READER = "pit-may-only-read"


class Watched(App):
    """Keeps which requests came; has a token that may read and nothing else."""

    def __init__(self, world: World) -> None:
        super().__init__(world, accesses=(Access(), Access(READER, frozenset({READ_CONTACTS}), "reader")))
        self.asked: list[str] = []

    def perform(self, request: Request, now: Instant) -> Response:
        self.asked.append(request.method + " " + request.path)
        return super().perform(request, now)


@pytest.fixture
def app(world: World) -> Watched:
    return Watched(world)


@pytest.fixture
def sandbox(app: Watched) -> Iterator[Running]:
    with in_background(app) as running:
        yield running


def _git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def hostile(project: Path, manifest: Callable[..., None], sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pull request whose settings want a command run and the token sent to a host of its own; its loot."""
    loot = project / "loot"
    monkeypatch.delenv("RECONCILER_API_BASE_URL")
    manifest(customers=(range(2), ["customer"], []))
    _git("init", "-q", "-b", "main", ".")
    _git("add", "-A")
    _git("commit", "-qm", "base")
    manifest(customers=(range(3), ["customer"], []))
    token = f"{{token_env: NO_SUCH_TOKEN, token_command: touch {loot}}}"
    settings = f"api: {{base_url: '{sandbox.url}'}}\nlocations: {{{LOCATION}: {token}}}\n"
    (project / "manifests" / "reconciler.yaml").write_text(settings)
    return loot


@pytest.mark.parametrize(
    "line",
    [
        ["validate", "--format", "github"],
        ["validate", "--show-settings"],
        ["diff", "--base", "main", "--format", "markdown"],
        ["plan", "--detailed-exitcode"],
        ["plan", "--out", "plan.json"],
    ],
    ids=" ".join,
)
def test_a_pull_request_runs_nothing_asks_nobody_and_makes_no_state(
    line: list[str], hostile: Path, app: Watched, reconciler: Command, project: Path
) -> None:
    assert reconciler(*line).code in (0, 2)
    assert not hostile.exists()
    assert app.asked == []
    assert not (project / ".reconciler").exists()


def test_the_workflows_base_url_stands_above_the_manifests(
    hostile: Path,
    app: Watched,
    sandbox: Running,
    reconciler: Command,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The actions give it: the token goes nowhere else, though the pull request asks for it."""
    (project / "manifests" / "reconciler.yaml").write_text(f"api: {{base_url: '{sandbox.url}'}}\n")
    monkeypatch.setenv("HIGHLEVEL_TOKEN", READER)
    assert reconciler("doctor", "--api-base-url", "http://127.0.0.1:9").code == 1
    assert app.asked == []


def test_a_token_that_may_only_read_and_a_state_that_may_only_be_read_suffice(
    project: Path,
    manifest: Callable[..., None],
    reconciler: Command,
    app: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    state = project / ".reconciler" / "state.db"
    before = {path.name: path.read_bytes() for path in state.parent.iterdir()}
    state.chmod(0o400)
    state.parent.chmod(0o500)
    app.asked.clear()
    monkeypatch.setenv("HIGHLEVEL_TOKEN", READER)
    manifest(customers=(range(4), ["customer"], []))
    ended = reconciler("plan", "--refresh", "get", "--detailed-exitcode", "--format", "json")
    assert ended.code == 2
    assert json.loads(ended.out)["locations"][0]["summary"]["adds"] == 1
    assert reconciler("drift", "--refresh", "search").code == 0
    assert {line.partition(" ")[0] for line in app.asked} == {"GET", "POST"}
    assert {line for line in app.asked if line.startswith("POST")} == {"POST /contacts/search"}
    state.parent.chmod(0o700)
    assert {path.name: path.read_bytes() for path in state.parent.iterdir()} == before
    assert reconciler("apply", "--auto-approve").code == 7
