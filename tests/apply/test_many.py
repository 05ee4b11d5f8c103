"""Hundreds of locations in one process: all end, in their order, and one that is slow, broken or token-less harms no
other."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.apply.run import Run
from reconciler.beside import Places
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Event, Queued
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.measured import StateCalled
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.operations.apply import ApplyRequest, apply_plan
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.workspace import SilentListener, Workspace, open_session
from reconciler.sandbox.app import Access, App
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_reader
from reconciler.system import wall_clock
from tests.apply.test_scenarios import FREE, pairs
from tests.build import HERE, a_set, contact
from tests.sandbox.transport import SandboxTransport
from tests.scene import Scene

LONE = replace(FREE, caps=replace(FREE.caps, contacts=1))
TOKENLESS, BROKEN, SLOW = 7, 11, 0


def nth_location(nth: int) -> LocationId:
    return LocationId(f"location{nth:012d}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [30, 300])
def test_many_locations_on_a_clock_of_ours_go_in_their_order_and_leave_nothing(tmp_path: Path, number: int) -> None:
    names = [nth_location(nth) for nth in range(number)]
    scene = Scene(tmp_path, options=LONE, latency_ms=1_000)
    del scene.places[HERE]
    for location in names:
        scene.add_place(location, *(contact(f"c{nth}", location=location) for nth in range(2)))
        scene.want(a_set("s", ["c0", "c1"], "vip"), location=location)
    scene.places[names[TOKENLESS]].app._accesses.clear()
    alive: list[int] = []

    def count(_: int) -> None:
        if len(scene.updates) % max(1, number // 10) == 0:
            # those that have ended wait for the cyclic collector, which comes when it likes
            gc.collect()
            alive.append(sum(isinstance(each, Run) for each in gc.get_objects()))

    scene.after = count
    reports = scene.apply_all(places=Places(8, scene.listen), order=names)

    refused = [report.location for report in reports if report.exit_code]
    assert (len(reports), refused) == (number, [names[TOKENLESS]])
    assert all(pairs(report) == {"applied": 2} for report in reports if report.location not in refused)
    began = [scene.places[location].sent[0].began for location in names]
    assert began == sorted(began)
    assert [event.location for event in scene.events if isinstance(event, Queued)] == names[8:]
    # what a location took is given back when it has ended
    assert max(alive) <= 8


@dataclass
class HeldUp(httpx.AsyncBaseTransport):
    """The answers of one location come when all other requests have been answered."""

    inner: SandboxTransport
    slow: str
    others: int
    others_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == f"Bearer {self.slow}":
            await self.others_done.wait()
            return await self.inner.handle_async_request(request)
        response = await self.inner.handle_async_request(request)
        if request.method == "POST":
            self.others -= 1
            if not self.others:
                self.others_done.set()
        return response


def write_fleet(directory: Path, number: int, *, contacts: int = 3) -> None:
    places = "".join(f"  {nth_location(nth)}: {{token_env: TOKEN_{nth}}}\n" for nth in range(number))
    settings = "guards: {max_first_adds: 1000, odd_ids: false}\napply: {max_locations: 6}\nlocations:\n"
    (directory / "reconciler.yaml").write_text(settings + places)
    for nth in range(number):
        ids = ", ".join(f'"{contact_of(nth, which)}"' for which in range(contacts))
        sets = f"contact_sets: {{s: {{contacts: [{ids}], tags: [vip]}}}}"
        (directory / f"l{nth}.yaml").write_text(f"location: {nth_location(nth)}\n{sets}\n")


def contact_of(nth: int, which: int) -> ContactId:
    return ContactId(f"c{which:02d}{nth:017d}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [20, 200])
def test_many_locations_on_a_real_clock_go_on_beside_one_that_is_slow_broken_or_token_less(
    tmp_path: Path, number: int
) -> None:
    """In real threads, on SQLite; a slow one has its answers last of all, and no request is in doubt."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write_fleet(manifests, number)
    worlds = [
        World(nth_location(nth), [Contact(contact_of(nth, which), nth_location(nth)) for which in range(3)])
        for nth in range(number)
    ]
    locations = Locations([App(world, accesses=[Access(f"token-{nth}")]) for nth, world in enumerate(worlds)])
    transport: Any = HeldUp(SandboxTransport(locations, now=wall_clock), f"token-{SLOW}", number - 3)
    tokens = {f"TOKEN_{nth}": f"token-{nth}" for nth in range(number) if nth != TOKENLESS}
    state = f"sqlite:///{tmp_path}/{{location}}.db"
    workspace = Workspace(manifests, {"state": state}, tokens, transport=transport)
    planned = asyncio.run(make_plan(open_session(workspace), PlanRequest(create_state=True)))
    # what is there when its location's turn comes is no state
    (tmp_path / f"{nth_location(BROKEN)}.db").write_bytes(b"no state at all" * 100)
    with at_most_s(120):
        result = asyncio.run(apply_plan(planned, ApplyRequest()))

    codes = {report.location: report.exit_code for report in result.reports if report.exit_code}
    assert codes == {nth_location(TOKENLESS): ExitCode.AUTH, nth_location(BROKEN): ExitCode.ERROR}
    ended_well = [report for report in result.reports if report.location not in codes]
    assert [dict(report.pairs) for report in ended_well] == [{"applied": 3}] * (number - 2)


def test_four_locations_for_each_core_are_worked_on_at_once_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    write_fleet(tmp_path, 1)
    state = {"state": f"sqlite:///{tmp_path}/state.db"}
    assert open_session(Workspace(tmp_path, state, {})).make_places().most == 6
    (tmp_path / "reconciler.yaml").write_text("guards: {odd_ids: false}\n")
    assert open_session(Workspace(tmp_path, state, {})).make_places().most == 4 * (os.cpu_count() or 1)


class Faulty(httpx.AsyncBaseTransport):
    """A transport that fails in a way that nobody thought of, for some tokens; the others wait until that has ended."""

    def __init__(self, transport: SandboxTransport, *tokens: str) -> None:
        self._transport, self._refused = transport, {f"Bearer {token}" for token in tokens}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_ended = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] in self._refused:
            self._loop = asyncio.get_running_loop()
            raise RuntimeError("nobody thought of it")
        await self._has_ended.wait()
        return await self._transport.handle_async_request(request)

    def end(self) -> None:
        """From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._has_ended.set)


@dataclass
class Hearing(SilentListener):
    """Tells when the first location has given its lease back."""

    end: Callable[[], None]

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, StateCalled) and (event.location, event.operation) == (nth_location(0), "release_lease"):
            self.end()


@dataclass
class Fleet:
    """Four locations, of which some fail in a way that nobody thought of."""

    directory: Path
    tokens: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    contacts: int = 3
    worlds: list[World] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_fleet(self.directory, 4, contacts=self.contacts)
        for nth in range(4):
            contacts = [Contact(contact_of(nth, which), nth_location(nth)) for which in range(self.contacts)]
            self.worlds.append(World(nth_location(nth), contacts))
        apps = [App(world, accesses=[Access(f"token-{nth}")]) for nth, world in enumerate(self.worlds)]
        transport = Faulty(SandboxTransport(Locations(apps), now=wall_clock), *self.tokens)
        self.settings["state"] = f"sqlite:///{self.directory}/state.db"
        tokens = {f"TOKEN_{nth}": f"token-{nth}" for nth in range(4)}
        self.workspace = Workspace(
            self.directory, self.settings, tokens, transport=transport, listener=Hearing(transport.end)
        )

    def apply(self, request: ApplyRequest) -> RuntimeError:
        """The fault that it ends with."""
        planned = asyncio.run(make_plan(open_session(self.workspace), PlanRequest(create_state=True)))
        with pytest.raises(RuntimeError, match="nobody thought of it") as raised:
            asyncio.run(apply_plan(planned, request))
        return raised.value

    @property
    def given(self) -> list[int]:
        """How many contacts of each location have the tag."""
        return [len(world.holders(Tag("vip"))) for world in self.worlds]


@pytest.mark.slow
def test_a_fault_of_ours_in_one_location_ends_no_other_in_the_midst_of_its_requests(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ("token-0",))
    fleet.apply(ApplyRequest())
    assert fleet.given == [0, 3, 3, 3]
    with open_reader(fleet.workspace.load_settings().state) as reader:
        runs = [run.status for nth in range(1, 4) for run in reader.at(nth_location(nth)).read_runs()]
    assert runs == [RunStatus.COMPLETE] * 3


@pytest.mark.slow
def test_with_fail_fast_a_fault_of_ours_lets_the_others_end_the_requests_under_way_and_no_more(tmp_path: Path) -> None:
    settings = {"api.max_contacts": "1", "apply.max_in_flight": "1"}
    # so many requests that the others are in the midst of them once the first location has given its lease back
    fleet = Fleet(tmp_path, ("token-0",), settings, contacts=60)
    fleet.apply(ApplyRequest(fail_fast=True))
    failed, *others = fleet.given
    assert failed == 0
    assert all(0 < given < 60 for given in others), others
    with open_reader(fleet.workspace.load_settings().state) as reader:
        places = [reader.at(nth_location(nth)) for nth in range(1, 4)]
        endings = [place.read_ending(place.read_runs()[-1].id) for place in places]
    why = f"stopped, since location {nth_location(0)} failed (--fail-fast)"
    assert [ending and ending.error for ending in endings] == [why] * 3


def test_a_fault_of_ours_in_each_of_several_locations_is_told(tmp_path: Path) -> None:
    fault = Fleet(tmp_path, ("token-0", "token-2", "token-3")).apply(ApplyRequest())
    notes = getattr(fault, "__notes__", [])
    assert [note.count("RuntimeError: nobody thought of it") for note in notes] == [1, 1]
    begins = "another location failed, too:\nTraceback (most recent call last):\n  File "
    assert [note.partition('"')[0] for note in notes] == [begins, begins]


@contextmanager
def at_most_s(seconds: float) -> Any:
    began = wall_clock()
    yield
    assert wall_clock() - began < seconds * 1000
