"""An answer that the state could not take is taken in later, once and only while it is waited for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.store import open_reader, open_store
from tests.apply.stage import Scene, who
from tests.build import HERE
from tests.cli.conftest import Command
from tests.fakes import a_holder
from tests.store.test_faults import AFTER, Trouble, a_scene, run

NO_PLACE = "there is no emergency journal among the first hundred writes"


@pytest.fixture
def lost(tmp_path: Path) -> tuple[Scene, Path]:
    """A run whose first answer could not be recorded, and the file that holds it."""
    for at in range(1, 100):
        scene = a_scene(tmp_path / str(at))
        run(scene, Trouble("ENOSPC", at, for_ever=True))
        if found := list(scene.directory.glob("*.emergency-*")):
            with open_store(scene.url) as store:
                store.unlock(HERE, a_holder("two").id)
            return scene, found[0]
    raise AssertionError(NO_PLACE)


def in_doubt(scene: Scene) -> list[str]:
    with open_reader(scene.url) as reader:
        return [contact for contact, known in reader.load(HERE).observed.items() if known.doubt]


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


def test_after_a_later_run_it_is_too_late(reconciler: Command, project: Path, lost: tuple[Scene, Path]) -> None:
    scene, file = lost
    scene.clock.ms += 1_000_000
    scene.run(AFTER, holder=a_holder("later"))
    ended = reconciler("state", "recover", str(file), "--state", scene.url)
    assert ended.code == 1
    assert "--refresh get" in ended.err


def test_another_state_does_not_take_it(reconciler: Command, project: Path, lost: tuple[Scene, Path]) -> None:
    ended = reconciler("state", "recover", str(lost[1]), "--state", "sqlite:///other.db")
    assert ended.code == 1


@pytest.mark.parametrize("text", [None, "", "{}", "[]", json.dumps({"kind": "emergency journal"})])
def test_a_file_that_is_no_emergency_journal(reconciler: Command, project: Path, text: str | None) -> None:
    if text is not None:
        (project / "x.json").write_text(text)
    ended = reconciler("state", "recover", "x.json")
    assert ended.code == 1
    assert "x.json" in ended.err
    assert who("anna") not in ended.err
