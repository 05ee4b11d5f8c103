"""SIGKILL at every point where a run touches its state, its lock, the disk or the network, through the real command
line: the next run goes on by itself, nothing is lost, nothing is added twice, and a third run sends nothing.

Invariants 5 and 13: what left had its intent on disk, and the state opens, old or new, wherever the process was killed.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action
from reconciler.sandbox import in_background
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_reader
from tests.cli.conftest import LOCATION, contact_id
from tests.fakes import directory_in_memory
from tests.sizes import how_many
from tests.warm import the_product

PEOPLE = [contact_id(number) for number in range(6)]
PLAN = "plan.json"
LAUNCH = Path(__file__).with_name("launch.py")
STATE = "state.db"
MANIFEST = f"""\
location: {LOCATION}
contact_sets:
  customers:
    contacts: [{", ".join(PEOPLE)}]
    tags: [customer]
    absent: [trial]
"""
SETTINGS = f"""\
state: sqlite:///{STATE}
api: {{max_contacts: 2, settle_s: 1}}
guards: {{empties_tag: false, max_removes_pct: 100}}
"""
PARTS = 4
"""A test has one of so many, so that several processors share them."""
MOST = how_many(36, 72)
MOST_OF_A_FILE = how_many(8, 14)


@dataclass
class KillScene:
    """A repository, and the location that it is about."""

    directory: Path
    environment: Mapping[str, str]
    world: World
    faults: list[str] = field(default_factory=list)

    def apply(self, *launcher: str, what: str = "manifests") -> subprocess.CompletedProcess[str]:
        return self.run("apply", what, "--auto-approve", launcher=launcher)

    def run(self, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """By a launcher in a process of its own, which is killed; without one in this process, which is not."""
        if launcher:
            command = [*the_product(), *launcher, *arguments]
            return subprocess.run(command, cwd=self.directory, env=self.environment, capture_output=True, text=True)
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.chdir(self.directory)
            for name in os.environ.keys() - self.environment.keys():
                patched.delenv(name)
            for name, value in self.environment.items():
                patched.setenv(name, value)
            code = run(arguments)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def added(self) -> Counter[tuple[str, str]]:
        return Counter((each.contact, each.tag) for each in self.world.transitions if each.action is Action.ADD)


@contextmanager
def a_scene() -> Iterator[KillScene]:
    world = World(LOCATION, [Contact(each, LOCATION, frozenset({Tag("trial")})) for each in PEOPLE])
    with directory_in_memory() as directory, in_background(App(world)) as running:
        (directory / "manifests").mkdir()
        (directory / "manifests" / "acme.yaml").write_text(MANIFEST)
        (directory / "manifests" / "reconciler.yaml").write_text(SETTINGS)
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "RECONCILER_STATE")}
        environment |= {
            "RECONCILER_API_BASE_URL": running.url,
            "HIGHLEVEL_TOKEN": DEMO_TOKEN,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        yield KillScene(directory, environment, world)


@cache
def points(what: str = "manifests", most: int = MOST) -> tuple[int, ...]:
    """What to die of, as numbers of what a whole run does: of each kind the first, the last, and some between."""
    with a_scene() as scene:
        log = scene.directory / "log"
        scene.run("plan", "--out", PLAN)
        done = scene.apply(str(LAUNCH), "0", str(log), what=what)
        assert done.returncode == 0, done.stderr
        kinds: defaultdict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(log.read_text().split("\n"), start=1):
            kinds[line].append(number)
    orders = [[found[0], found[-1], *found[len(found) // 2 :], *found] for found in kinds.values()]
    chosen = dict.fromkeys(number for turn in zip_longest(*orders) for number in turn if number)
    found = sorted(list(chosen)[:MOST])
    return tuple(found[:: max(1, len(found) // most)][:most])


def faults_of(nth: int) -> list[str]:
    """What goes wrong after a death at that point."""
    with a_scene() as scene:
        killed = scene.apply(str(LAUNCH), str(nth), str(scene.directory / "log"))
        found = [] if killed.returncode == -signal.SIGKILL else [f"ended {killed.returncode}: {killed.stderr}"]
        with open_reader(f"sqlite:///{scene.directory / STATE}") as state:
            reader = state.at(LOCATION)
            reader.load_state()
            found += state.find_faults()
        resumed = scene.apply()
        if resumed.returncode != 0:
            found.append(f"the next run ended {resumed.returncode}: {resumed.stdout}{resumed.stderr}")
        sent = len(scene.world.transitions)
        third = scene.apply()
        if third.returncode != 0 or len(scene.world.transitions) != sent:
            found.append(f"the third run ended {third.returncode}: {third.stdout}{third.stderr}")
        found += [
            f"{who} carries {set(scene.world.tags_of(who))}"
            for who in PEOPLE
            if scene.world.tags_of(who) != {"customer"}
        ]
        found += [f"added {number} times: {pair}" for pair, number in scene.added().items() if number > 1]
    return [f"killed at {nth}: {each}" for each in found]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_whenever_a_run_is_killed_the_next_one_goes_on(part: int) -> None:
    where = points()
    assert len(where) >= MOST * 5 // 6
    assert [fault for nth in where[part::PARTS] for fault in faults_of(nth)] == []


def faults_of_a_file(nth: int) -> list[str]:
    """What goes wrong where a saved plan is applied again after a death at that point."""
    with a_scene() as scene:
        scene.run("plan", "--out", PLAN)
        killed = scene.apply(str(LAUNCH), str(nth), str(scene.directory / "log"), what=PLAN)
        found = [] if killed.returncode == -signal.SIGKILL else [f"ended {killed.returncode}: {killed.stderr}"]
        resumed = scene.apply(what=PLAN)
        used_up = resumed.returncode == 4 and "used up" in resumed.stdout
        if resumed.returncode != 0 and not used_up:
            found.append(f"the next run ended {resumed.returncode}: {resumed.stdout}{resumed.stderr}")
        found += [
            f"{who} carries {set(scene.world.tags_of(who))}"
            for who in PEOPLE
            if scene.world.tags_of(who) != {"customer"}
        ]
        found += [f"added {number} times: {pair}" for pair, number in scene.added().items() if number > 1]
    return [f"killed at {nth}: {each}" for each in found]


@pytest.mark.slow
def test_whenever_a_run_of_a_plan_file_is_killed_the_file_goes_on() -> None:
    where = points(PLAN, MOST_OF_A_FILE)
    assert len(where) == MOST_OF_A_FILE
    assert [fault for nth in where for fault in faults_of_a_file(nth)] == []
