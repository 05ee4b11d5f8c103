"""An answer that the state could not take is taken in later, once and only while it is waited for."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import LocationReport
from reconciler.core.planning.batches import Caps
from reconciler.store import open_reader, open_store
from tests.build import HERE, a_set, declare, who
from tests.cli.conftest import Command
from tests.fakes import a_holder
from tests.scene import Scene, one_by_one
from tests.store.test_faults import AFTER, NO_GUARDS, Trouble, a_scene, run

NO_PLACE = "there is no emergency journal among the first hundred writes"


@pytest.fixture
def lost(tmp_path: Path) -> tuple[Scene, Path]:
    """A run whose first answer could not be recorded, and the file that holds it."""
    for at in range(1, 100):
        scene = a_scene(tmp_path / str(at))
        run(scene, Trouble("ENOSPC", at, for_ever=True))
        if found := list(scene.directory.glob("*.emergency-*")):
            with open_store(scene.url) as store:
                store.at(HERE).unlock_lease(a_holder("two").id)
            return scene, found[0]
    raise AssertionError(NO_PLACE)


def in_doubt(scene: Scene) -> list[str]:
    with open_reader(scene.url) as reader:
        return [contact for contact, known in reader.at(HERE).load_state().observed.items() if known.doubtful]


@pytest.mark.slow
def test_a_lost_answer_is_recorded_later(reconciler: Command, project: Path, lost: tuple[Scene, Path]) -> None:
    scene, file = lost
    assert file.stat().st_mode & 0o777 == 0o600
    assert in_doubt(scene)
    ended = reconciler("state", "recover", str(file), "--state", scene.url)
    assert ended.code == 0
    assert in_doubt(scene) == []
    again = reconciler("state", "recover", str(file), "--state", scene.url)
    assert again.code == 1
    assert "does not wait for this answer" in again.err


@pytest.mark.slow
def test_after_a_later_run_it_is_too_late(reconciler: Command, project: Path, lost: tuple[Scene, Path]) -> None:
    scene, file = lost
    scene.clock.ms += 1_000_000
    scene.run(AFTER, holder=a_holder("later"))
    ended = reconciler("state", "recover", str(file), "--state", scene.url)
    assert ended.code == 1
    assert "--refresh get" in ended.err


@pytest.mark.slow
def test_another_state_does_not_take_it(reconciler: Command, project: Path, lost: tuple[Scene, Path]) -> None:
    """Nothing is said of the state of the run, which may wait for the answer still."""
    ended = reconciler("state", "recover", str(lost[1]), "--state", "sqlite:///other.db")
    assert ended.code == 1
    assert "this is another state than that of run" in ended.err
    assert "name the state of that run" in ended.err


PEOPLE = "anna bert cara dirk emma finn"


def many_lost(directory: Path) -> tuple[Scene, LocationReport, list[Path]]:
    """A run with several requests under way when the disk is full for ever; the emergency journals that are there."""
    for at in range(1, 100):
        (directory / str(at)).mkdir()
        scene = one_by_one(directory / str(at), dict.fromkeys(PEOPLE.split(), ""), in_flight=5)
        scene.options = replace(scene.options, limits=NO_GUARDS, caps=Caps(1, 50))
        scene.takes_ms = 1_000
        try:
            with open_store(scene.url, disk=Trouble("ENOSPC", at, for_ever=True).disk()) as store:
                report = scene.run(declare(a_set("s", who(PEOPLE), "new")), holder=a_holder("two"), store=store)
        except StateError:
            continue
        found = sorted(scene.directory.glob("*.emergency-*"))
        if len(found) > 1:
            return scene, report, found
    raise AssertionError(NO_PLACE)


@pytest.mark.slow
def test_every_file_of_a_full_disk_is_named_and_taken_in_at_once(
    reconciler: Command, project: Path, tmp_path: Path
) -> None:
    scene, report, files = many_lost(tmp_path)
    assert all(str(file) in report.error for file in files)
    _, command = report.hint.split("reconciler state recover ")
    assert sorted(shlex.split(command)) == sorted(map(str, files))
    with open_store(scene.url) as store:
        store.at(HERE).unlock_lease(a_holder("two").id)
    assert len(in_doubt(scene)) >= len(files)
    ended = reconciler("state", "recover", *map(str, files), "--state", scene.url)
    assert (ended.code, ended.out.count("recorded the answer")) == (0, len(files))
    assert in_doubt(scene) == []


@pytest.mark.parametrize("text", [None, "", "{}", "[]", json.dumps({"kind": "emergency journal"})])
def test_a_file_that_is_no_emergency_journal(reconciler: Command, project: Path, text: str | None) -> None:
    if text is not None:
        (project / "x.json").write_text(text)
    ended = reconciler("state", "recover", "x.json")
    assert ended.code == 1
    assert "x.json" in ended.err
    assert who("anna") not in ended.err
