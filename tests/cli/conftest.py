"""The product as a user has it: the real command line, HTTP on loopback, SQLite in a directory of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.ports import Clock
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.world import Contact, World
from reconciler.system import SystemClock, wall_clock

LOCATION = LocationId("asdrwHvLUxlfw5SqKVCN")
ELSEWHERE = LocationId("zzzrwHvLUxlfw5SqKVCN")


def contact_id(number: int) -> ContactId:
    return ContactId(f"contact{number:013d}")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, and what it said."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def world() -> World:
    """Contacts 0 to 9 live here, 8 is deleted, 9 lives elsewhere; the first two are on trial."""
    contacts = [
        Contact(
            contact_id(number),
            ELSEWHERE if number == 9 else LOCATION,
            frozenset({Tag("trial")} if number < 2 else ()),
            deleted=None if number != 8 else Contact(contact_id(8), LOCATION).updated,
        )
        for number in range(10)
    ]
    return World(LOCATION, contacts)


class QuickClock(SystemClock):
    """The system's clock, of which so many seconds pass in one: a wait is over sooner."""

    def __init__(self, times: int) -> None:
        self._times, self._began = times, wall_clock()

    def now(self) -> Instant:
        return Instant(self._began + (wall_clock() - self._began) * self._times)

    async def sleep(self, milliseconds: int) -> None:
        await super().sleep(milliseconds // self._times)


@pytest.fixture
def clock() -> Clock:
    """By which commands wait, and the sandbox counts requests."""
    return SystemClock()


@pytest.fixture
def sandbox(world: World, clock: Clock) -> Iterator[Running]:
    with in_background(App(world), now=clock.now) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Running) -> Path:
    """A directory to work in, and an environment that points to the sandbox."""
    (tmp_path / "manifests").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "NO_COLOR", "RECONCILER_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECONCILER_API_BASE_URL", sandbox.url)
    monkeypatch.setenv("HIGHLEVEL_TOKEN", DEMO_TOKEN)
    return tmp_path


@pytest.fixture
def reconciler(capfd: pytest.CaptureFixture[str], clock: Clock) -> Command:
    """Runs a command line in this process."""

    def invoke(*arguments: str) -> Ended:
        capfd.readouterr()
        code = run(arguments, clock)
        said = capfd.readouterr()
        return Ended(code, said.out, said.err)

    return invoke


@pytest.fixture
def manifest(project: Path) -> Callable[..., None]:
    """Writes manifests/acme.yaml: contact sets by name, each with contact numbers, tags and absent tags."""

    def write(**sets: tuple[range | list[int], list[str], list[str]]) -> None:
        lines = [f"location: {LOCATION}", "contact_sets:" if sets else "contact_sets: {}"]
        for name, (numbers, tags, absent) in sets.items():
            ids = ", ".join(contact_id(number) for number in numbers)
            lines += [f"  {name}:", f"    contacts: [{ids}]", f"    tags: [{', '.join(tags)}]"]
            lines += [f"    absent: [{', '.join(absent)}]"] if absent else []
        (project / "manifests" / "acme.yaml").write_text("\n".join(lines) + "\n")

    return write
