"""A pull that begins the index of people anew, killed between two of its writes: kept contacts stay in their sets."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest

from reconciler.core.model.names import Instant
from reconciler.core.model.people import PeopleLot
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION, contact_id
from tests.fakes import InPlace

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
PEOPLE, MOVED = 8, (2, 6)
ROWS = {"people.csv": range(6), "guests.csv": range(4, PEOPLE)}
KEYS = {"RECONCILER_KEY": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"}
MANIFEST = f"""
location: {LOCATION}
contact_sets:
  vip: {{contacts: {{file: people.csv, match: {{email: mail}}}}, tags: [vip]}}
  guests: {{contacts: {{file: guests.csv, match: {{email: mail}}}}, tags: [guest]}}
"""


class Killed(BaseException):
    """The process is gone: nothing more is written."""


@dataclass(slots=True)
class DyingWorker:
    """Writes people as often as is said, and is killed then."""

    most: int
    saved: int = 0
    is_dead: bool = False

    async def __call__(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        if any(isinstance(argument, PeopleLot) for argument in arguments):
            self.is_dead = self.is_dead or self.saved == self.most
            self.saved += 1
        # the system closes what a process had open
        if self.is_dead and work.__name__ != "close":
            raise Killed
        return await InPlace()(work, *arguments)

    async def close(self) -> None:
        """Nothing is under way."""


@pytest.fixture
def sandbox() -> Iterator[Running]:
    people = [Person(f"person{number}@example.com") for number in range(PEOPLE)]
    contacts = [Contact(contact_id(number), LOCATION, person=people[number]) for number in range(PEOPLE)]
    with in_background(App(World(LOCATION, contacts, assumptions=Assumptions(search_lag_ms=0)))) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifests").mkdir()
    for name, numbers in ROWS.items():
        write_people(tmp_path / "manifests" / name, numbers)
    (tmp_path / "manifests" / "acme.yaml").write_text(MANIFEST)
    return tmp_path


def write_people(file: Path, numbers: Iterable[int]) -> None:
    file.write_text("\n".join(["mail", *(f"person{number}@example.com" for number in numbers)]) + "\n")


def workspace(sandbox: Running, **variables: str) -> Workspace:
    environment = {"HIGHLEVEL_TOKEN": DEMO_TOKEN, "RECONCILER_API_BASE_URL": sandbox.url, "HOME": os.environ["HOME"]}
    return Workspace(Path("manifests"), environment=environment | variables, start_worker=InPlace)


def pull(place: Workspace, *sets: str) -> PullResult:
    request = PullRequest(sets=sets, full=True)
    return asyncio.run(pull_people(open_session(place, pulls=True), request, lambda result: None))


def kept(result: PullResult) -> dict[str, tuple[int, int]]:
    """Of each set how many contacts left, and how many were kept."""
    (location,) = result.locations
    assert not any(entry.failure for entry in location.sets)
    return {entry.name: (len(entry.left), entry.counts.kept) for entry in location.sets}


def unlock() -> None:
    with open_store("sqlite:///.reconciler/state.db") as store:
        lease = store.at(LOCATION).read_lease(SystemClock().now())
        if lease is not None:
            store.at(LOCATION).unlock_lease(lease.holder.id)


def kill(place: Workspace, after: int) -> bool:
    """Whether a pull was killed at its write of people behind so many; the state is as it left it."""
    dying = DyingWorker(after)
    try:
        pull(replace(place, start_worker=lambda: dying))
    except Killed:
        unlock()
    return dying.is_dead


@pytest.fixture
def moved(project: Path, sandbox: Running) -> Workspace:
    """Two sets that were pulled, two contacts of which have another address by now, and a new key."""
    place = workspace(sandbox)
    pull(place)
    for number in MOVED:
        sandbox.world.change_person(contact_id(number), Person(f"new{number}@example.com"), now=Instant(1))
    assert kept(pull(place)) == STAYS
    return workspace(sandbox, **KEYS)


STAYS = {"guests": (0, 1), "vip": (0, 1)}


def test_a_kill_behind_the_first_write_loses_no_kept_contact(moved: Workspace) -> None:
    assert kill(moved, 1)
    assert kept(pull(moved)) == STAYS


@pytest.mark.slow
def test_no_kill_between_two_writes_loses_a_kept_contact(moved: Workspace) -> None:
    shutil.copytree(".reconciler", "before")
    after = 0
    while kill(moved, after):
        assert kept(pull(moved)) == STAYS, f"killed after {after} writes"
        assert kept(pull(moved)) == STAYS, f"killed after {after} writes"
        shutil.rmtree(".reconciler")
        shutil.copytree("before", ".reconciler")
        after += 1
    # the kill that did not happen left a whole pull
    assert after > 2
    assert kept(pull(moved)) == STAYS


@pytest.mark.slow
def test_sets_that_are_pulled_later_keep_theirs_too(moved: Workspace) -> None:
    assert kept(pull(moved, "vip")) == {"vip": (0, 1)}
    assert kept(pull(moved, "guests")) == {"guests": (0, 1)}
    assert kept(pull(moved)) == STAYS


def test_a_file_that_fails_meanwhile_keeps_its_contacts(moved: Workspace) -> None:
    guests = Path("manifests/guests.csv")
    text = guests.read_text()
    guests.write_text("other\n1\n")
    (location,) = pull(moved).locations
    assert [entry.name for entry in location.sets if entry.failure] == ["guests"]
    guests.write_text(text)
    assert kept(pull(moved)) == STAYS


@pytest.mark.slow
def test_a_row_that_is_taken_out_takes_its_contact_out_once_all_is_settled(moved: Workspace) -> None:
    assert kept(pull(moved)) == STAYS
    write_people(Path("manifests/people.csv"), [number for number in ROWS["people.csv"] if number != 2])
    assert kept(pull(moved)) == {"guests": (0, 1), "vip": (1, 0)}
