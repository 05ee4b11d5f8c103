"""A disk that fails: at each write of a run, once and for ever, in each of its ways.

Whatever write fails, the state is as it was before or after a step, what we put on contacts is under management, the
lock is released or runs out (invariant 13), and what the state could not take is in the emergency journal that the
message names.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.formats.integrity import verify
from reconciler.core.formats.state_json import Portable, UnrecordedAnswers
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.names import Instant
from reconciler.core.model.settings import GuardLimits
from reconciler.operations.runs import read_log
from reconciler.planfile import load_unrecorded
from reconciler.store import open_reader, open_store
from reconciler.store.sqlite_file import Disk
from tests.build import HERE, a_set, declare, who
from tests.fakes import FakeClock, a_holder
from tests.scene import Scene, one_by_one

ERRORS = {
    "ENOSPC": (sqlite3.SQLITE_FULL, "database or disk is full"),
    "EIO": (sqlite3.SQLITE_IOERR, "disk I/O error"),
    "EROFS": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
    "EACCES": (sqlite3.SQLITE_CANTOPEN, "unable to open database file"),
}
WRITES = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE TABLE", "ALTER")
BEFORE = declare(a_set("s", who("anna bert"), "old"))
AFTER = declare(a_set("s", who("anna cara"), "new"))
NO_GUARDS = GuardLimits(
    max_removes_pct=None,
    max_restored_pct=None,
    max_first_adds=None,
    empties_tag=False,
    odd_ids=False,
    shrink_pct=None,
    grow_pct=None,
)


@dataclass
class Trouble:
    """Write number `at` fails (from 1); `for_ever`: and every one after it. `late`: the commit's effect stays."""

    error: str
    at: int
    for_ever: bool
    late: bool = False
    writes: int = 0

    @property
    def struck(self) -> bool:
        return self.writes >= self.at

    def write(self) -> bool:
        """Whether this write fails."""
        self.writes += 1
        return self.writes == self.at or (self.for_ever and self.writes > self.at)

    def problem(self) -> sqlite3.OperationalError:
        code, text = ERRORS[self.error]
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        return error

    def disk(self) -> Disk:
        trouble = self

        class Failing(sqlite3.Connection):
            def execute(self, statement: str, *more: Any) -> sqlite3.Cursor:
                failing = statement.lstrip().startswith(WRITES) and trouble.write()
                if failing and not (trouble.late and statement == "COMMIT"):
                    raise trouble.problem()
                cursor = super().execute(statement, *more)
                if failing:
                    raise trouble.problem()
                return cursor

            def backup(self, *arguments: Any, **options: Any) -> None:
                if trouble.write():
                    raise trouble.problem()
                super().backup(*arguments, **options)

        def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return sqlite3.connect(*arguments, **options, factory=Failing)

        def replace(source: Path, target: Path) -> None:
            if trouble.write():
                raise OSError(28, "No space left on device")
            source.replace(target)

        return Disk(connect=connect, replace=replace)


NAMES = ("anna", "bert", "cara")


def make_scene(directory: Path, carried: dict[str, str], clock: FakeClock | None = None) -> Scene:
    scene = one_by_one(directory, carried, clock=clock)
    scene.options = replace(scene.options, limits=NO_GUARDS)
    return scene


def a_scene(directory: Path) -> Scene:
    directory.mkdir()
    scene = make_scene(directory, dict.fromkeys(NAMES, ""))
    scene.run(BEFORE)
    return scene


def begin_from(given: Scene, directory: Path) -> Scene:
    """Another scene like the one that is given, with a copy of its state."""
    shutil.copytree(given.directory, directory)
    carried = {name: " ".join(given.tags(name)) for name in NAMES}
    return make_scene(directory, carried, FakeClock(given.clock.now()))


def run(scene: Scene, trouble: Trouble) -> LocationReport | None:
    """None where the state could not even be opened."""
    try:
        with open_store(scene.url, disk=trouble.disk()) as store:
            return scene.run(AFTER, holder=a_holder("two"), store=store)
    except StateError:
        return None


def sound(scene: Scene) -> None:
    with open_reader(scene.url) as state:
        reader = state.at(HERE)
        assert list(state.find_faults()) == []
        runs = tuple(read_log(state, each) for each in reader.read_runs())
        assert verify(Portable(reader.load_state(), runs), now=scene.clock.now()) == ()
        observed = reader.load_state().observed
        for name in NAMES:
            known = observed[who(name)]  # type: ignore[index]
            assert scene.tags(name) <= known.ledger.tags | known.doubtful


def recover(scene: Scene, path: Path) -> UnrecordedAnswers:
    lost = load_unrecorded(path)
    with open_store(scene.url) as state:
        store = state.at(HERE)
        now = scene.clock.now()
        lease = store.acquire_lease(a_holder("three"), Instant(now + TTL_MS))
        write: Callable[[], None] = lambda: (  # noqa: E731
            store.withdraw_batch(lease, lost.number, lost.learnt, now)
            if lost.had_no_effect
            else store.record_answer(lease, lost.number, lost.verdicts, lost.learnt, now)
        )
        write()
        store.release_lease(lease)
    return lost


def check(scene: Scene, trouble: Trouble, report: LocationReport | None) -> None:
    sound(scene)
    assert report is None or report.exit_code in (0, 1)
    kept = sorted(scene.directory.glob("plan.json.emergency-*.json"))
    if kept:
        assert report is not None
        assert str(kept[0]) in report.error
        assert "reconciler state recover" in report.hint
        if not trouble.late:
            recover(scene, kept[0])
            sound(scene)
    with open_store(scene.url) as state:
        # failing once, the lock is released; failing for ever, or taken by a commit that said it failed, it runs out
        store = state.at(HERE)
        runs_out = (trouble.for_ever or trouble.late) and trouble.struck
        at = scene.clock.now() + (TTL_MS if runs_out else 0)
        lease = store.acquire_lease(a_holder("four"), Instant(at))
        store.release_lease(lease)
    scene.clock.ms += 10 * TTL_MS
    finished = scene.run(AFTER, holder=a_holder("five"))
    assert finished.exit_code == 0
    if not trouble.late:
        # with the emergency journal nothing is in doubt any more: everything is done, nothing twice
        assert {name: scene.tags(name) for name in NAMES} == {"anna": {"new"}, "bert": set(), "cara": {"new"}}
        assert len(scene.here.crm.transitions) == 4


def loop(directory: Path, error: str, *, for_ever: bool, late: bool = False, every: int = 1) -> int:
    """Fails the 1st, the 2nd, … write (or the 1st, the 5th, …) until a run is clean; how many there were."""
    given, at = a_scene(directory / "given"), 1 - every
    while True:
        at += every
        scene = begin_from(given, directory / str(at))
        trouble = Trouble(error, at, for_ever, late)
        report = run(scene, trouble)
        check(scene, trouble, report)
        if not trouble.struck:
            assert report is not None
            assert report.exit_code == 0
            return at


SOME, MANY, ALL = 43, 3, 1
# which error it is makes no difference but to the message: one fails everywhere, the others at each third write
SLOW = [
    pytest.param(error, for_ever, ALL if error == "EIO" else MANY, marks=pytest.mark.slow)
    for error in sorted(ERRORS)
    for for_ever in (False, True)
]


@pytest.mark.parametrize(("error", "for_ever", "every"), [("ENOSPC", True, SOME), *SLOW])
def test_each_write_of_a_run_may_fail(tmp_path: Path, error: str, for_ever: bool, every: int) -> None:
    assert loop(tmp_path, error, for_ever=for_ever, every=every) > 30


@pytest.mark.slow
def test_each_commit_may_fail_after_it_took_effect(tmp_path: Path) -> None:
    assert loop(tmp_path, "EIO", for_ever=False, late=True) > 30
