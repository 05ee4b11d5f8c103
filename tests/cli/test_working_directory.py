"""A command that runs elsewhere than the manifests are, as a job of cron does: it takes no other state for theirs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.settings import Settings
from reconciler.operations.state_place import find_other_state
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
COMMANDS = {
    "plan": "plan {directory}",
    "apply": "apply {directory} --auto-approve",
    "first-run": "apply {directory} --auto-approve --create-state",
    "drift": "drift {directory} --fail-on missing,unexpected",
    "drift-read": "drift {directory} --refresh get --fail-on missing,unexpected",
    "refresh": "refresh {directory}",
    "pull": "pull {directory} --dry-run",
    "revert": "revert last --manifests {directory} --dry-run",
    "history": "history --manifests {directory}",
    "show": "show last --manifests {directory}",
    "state-list": "state list --manifests {directory}",
    "state-import": "state import export.csv --location {location} --manifests {directory}",
    "state-forget": "state forget --limits --location {location} --manifests {directory}",
    "export": "export --out {directory}/../out --manifests {directory}",
}


@pytest.fixture
def applied(reconciler: Command, manifest: Manifest, project: Path) -> Path:
    manifest(customers=([2, 3], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    (project / "cron").mkdir()
    for folder in ("cron", "manifests"):
        (project / folder / "export.csv").write_text(f"id,tags\n{contact_id(0)},a\n")
    return project


def _words(command: str, directory: Path) -> list[str]:
    return [word.format(directory=directory, location=LOCATION) for word in command.split()]


@pytest.mark.one_in(29)
@pytest.mark.parametrize("working", ["cron", "manifests"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_takes_an_empty_state_for_that_of_the_manifests(
    reconciler: Command, applied: Path, world: World, monkeypatch: pytest.MonkeyPatch, command: str, working: str
) -> None:
    before, state = len(world.transitions), applied / ".reconciler" / "state.db"
    monkeypatch.chdir(applied / working)
    words = _words(command, applied / "manifests")
    ended = reconciler(*words)
    assert ended.code == 64
    assert f"the state sqlite:///.reconciler/state.db is relative to the working directory, {Path.cwd()}," in ended.err
    assert f"there is one by the manifests: {state}" in ended.err
    assert f"run it in {applied}, or name the state by its whole path: `--state sqlite:///{state}`;" in ended.err
    assert len(world.transitions) == before
    assert not (Path.cwd() / ".reconciler").exists()
    # both ways out
    for folder, flags in ((Path.cwd(), ("--state", f"sqlite:///{state}")), (applied, ())):
        monkeypatch.chdir(folder)
        assert "relative to the working directory" not in reconciler(*words, *flags).err


@pytest.mark.slow
def test_another_state_than_that_of_the_manifests_is_warned_of(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(applied / "cron")
    here = f"sqlite:///{applied}/cron/.reconciler/state.db"
    assert reconciler("refresh", "../manifests", "--state", here).code == 0
    ended = reconciler("plan", "../manifests")
    assert ended.code == 0
    assert f"there is another one by the manifests: {applied / '.reconciler' / 'state.db'}" in ended.err
    # each of the two is looked at from here
    histories = re.findall(r"`reconciler (history [^`]+)`", ended.err)
    runs = [reconciler(*shlex.split(words)).out for words in histories]
    assert ["refresh" in told for told in runs] == [True, False]
    assert ["apply" in told for told in runs] == [False, True]
    assert reconciler("plan", "../manifests", "--state", here).err == ""
    found = json.loads(reconciler("doctor", "../manifests", "--offline", "--format", "json").out)
    assert [each["verdict"] for each in found["examined"][0]["remarks"] if each["subject"] == "state"] == ["watch"]


@pytest.mark.slow
def test_a_state_without_a_location_is_none(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a run made which then was refused, or a file that somebody touched."""
    (applied / "cron" / ".reconciler").mkdir(mode=0o700)
    (applied / "cron" / ".reconciler" / "state.db").touch(mode=0o600)
    monkeypatch.chdir(applied / "cron")
    assert reconciler("plan", "../manifests").code == 64
    (applied / ".reconciler" / "state.db").unlink()
    (applied / ".reconciler" / "state.db").touch(mode=0o600)
    assert reconciler("plan", "../manifests").code == 0


@pytest.mark.slow
def test_looking_tells_that_the_state_is_another_one(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(applied / "cron")
    assert "is relative to the working directory" in reconciler("doctor", "../manifests", "--offline").out
    assert "which locations have state is not known: the state" in reconciler("locations", "../manifests").err
    assert reconciler("validate", "../manifests").code == 0


@pytest.mark.parametrize(
    ("made", "working", "manifests", "home"),
    [
        # the manifests' own directory, the one above, and the others of a checkout
        ("repo/m/.reconciler/state.db", "", "repo/m", "repo/m"),
        ("repo/.reconciler/state.db", "", "repo/m", "repo"),
        ("repo/.reconciler/state.db", "repo/m", "repo/m", "repo"),
        ("repo/.git/x repo/.reconciler/state.db", "", "repo/a/b/m", "repo"),
        ("repo/.reconciler/state.db", "", "repo/a/b/m", None),
        (".reconciler/state.db repo/.git/x", "other", "repo/m", None),
        (".reconciler/state.db repo/.git/x", "other", "repo", ""),
        # who works nearer to the manifests begins there
        ("repo/.git/x repo/.reconciler/state.db", "repo/a/b", "repo/a/b/m", None),
        ("repo/.git/x repo/a/.reconciler/state.db", "repo", "repo/a/m", "repo/a"),
        ("repo/.git/x repo/a/.reconciler/state.db repo/.reconciler/state.db", "repo/a", "repo/a/m", None),
    ],
)
def test_the_state_of_the_manifests_is_looked_for_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, working: str, manifests: str, home: str | None
) -> None:
    for name in (*made.split(), f"./{working}/x", f"{manifests}/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        # no state that can be read, and not nothing
        (tmp_path / name).write_text("damaged")
    monkeypatch.chdir(tmp_path / working)
    found = find_other_state(Settings(), tmp_path / manifests)
    assert (found and found.home) == (None if home is None else tmp_path / home)


@pytest.mark.parametrize(
    ("state", "made", "url"),
    [
        ("sqlite:///states/{location}.db", "states/a.db", "sqlite:///{home}/states/{location}.db"),
        ("sqlite:///../{location}/s.db", "../a/s.db", "sqlite:///{home}/../{location}/s.db"),
        ("sqlite:////nowhere/state.db", "nowhere/state.db", None),
        ("postgresql://host/crm", "crm", None),
        ("memory:///x", "x", None),
    ],
)
def test_a_state_of_each_location_is_looked_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, made: str, url: str | None
) -> None:
    home, elsewhere = tmp_path / "repo", tmp_path / "at" / "home"
    for path in (home / made, home / "manifests" / "x", elsewhere / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("damaged")
    monkeypatch.chdir(elsewhere)
    found = find_other_state(Settings(state=state), home / "manifests")
    assert (found and found.url) == (url and url.replace("{home}", str(home)))


def test_one_file_by_two_names_is_no_other_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo" / "manifests").mkdir(parents=True)
    (tmp_path / "repo" / ".reconciler").mkdir()
    (tmp_path / "repo" / ".reconciler" / "state.db").write_text("damaged")
    (tmp_path / "cron").mkdir()
    (tmp_path / "cron" / ".reconciler").symlink_to(tmp_path / "repo" / ".reconciler")
    (tmp_path / "cron" / "manifests").symlink_to(tmp_path / "repo" / "manifests")
    monkeypatch.chdir(tmp_path / "cron")
    assert find_other_state(Settings(), Path("manifests")) is None
    (tmp_path / "cron" / ".reconciler").unlink()
    found = find_other_state(Settings(), Path("manifests"))
    assert found is not None
    assert (found.home, found.is_only) == (tmp_path / "repo", True)


@pytest.mark.slow
def test_the_whole_path_of_a_state_is_one_word(
    reconciler: Command, manifest: Manifest, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([2, 3], ["customer"], []))
    (project / "my tags").mkdir()
    (project / "manifests").rename(project / "my tags" / "manifests")
    monkeypatch.chdir(project / "my tags")
    assert reconciler("apply", "--auto-approve").code == 0
    monkeypatch.chdir(project)
    words = ("history", "--manifests", "my tags/manifests")
    refused = reconciler(*words)
    assert refused.code == 64
    flags = shlex.split(refused.err.partition("by its whole path: `")[2].partition("`")[0])
    assert reconciler(*words, *flags).code == 0
