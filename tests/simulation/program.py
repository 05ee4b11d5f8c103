"""The program as its command line puts it together, for the length of one run: look, plan, approve, apply."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reconciler.apply import Mission, World, apply
from reconciler.core.approval import approve
from reconciler.core.desired import Desired
from reconciler.core.event import Event
from reconciler.core.names import ContactId, LocationId
from reconciler.core.observed import Seen
from reconciler.core.pace import Pace, Quota
from reconciler.core.plan import LocationPlan, Plan, PlanOptions, combine, plan_location
from reconciler.core.report import LocationReport
from reconciler.highlevel.client import HighLevel
from reconciler.planfile import dumps, loads
from reconciler.refresh import Reading, read_contacts, scan
from reconciler.store import open_store
from tests.fakes import a_holder
from tests.simulation.declared import Declared, as_desired
from tests.simulation.place import ORIGIN, Place, Wire, token_of
from tests.simulation.process import Fate, MortalStore, Process, ProcessClock

if TYPE_CHECKING:
    from tests.simulation.town import Town


@dataclass
class Run:
    """One run, and everything of it that can be known from outside.

    `refresh`: how it looks at contacts before it plans, `get`, `search` or not at all. `saved`: the plan file that it
    applies. `only_plans`: it writes such a file and sends nothing.
    """

    name: str
    options: PlanOptions
    refresh: str = ""
    saved: bytes = b""
    only_plans: bool = False
    waits_ms: int = 120_000
    fate: Fate | None = None
    declared: dict[LocationId, Declared] = field(default_factory=dict)
    plan: Plan | None = None
    reports: tuple[LocationReport, ...] = ()
    problem: str = ""
    killed: bool = False
    met_its_fate: bool = False
    began: int = 0
    ended: int = 0
    events: list[Event] = field(default_factory=list)

    @property
    def retries(self) -> bool:
        """Whether a person asked to send once more what is held."""
        return self.plan is not None and self.plan.selection.retry_held

    def planned(self, location: LocationId) -> LocationPlan | None:
        return next((each for each in self.plan.locations if each.location == location), None) if self.plan else None

    def report(self, location: LocationId) -> LocationReport | None:
        return next((each for each in self.reports if each.location == location), None)

    def file(self) -> bytes:
        """The plan file that it wrote."""
        assert self.plan is not None
        return dumps(self.plan).encode()


@dataclass
class Program:
    """A run at work: what it holds open."""

    run: Run
    process: Process
    clock: ProcessClock
    store: Any
    apis: dict[LocationId, HighLevel]
    paces: dict[LocationId, Pace]
    desired: dict[LocationId, Desired]
    chance: random.Random

    async def work(self) -> None:
        mine = self.run
        if mine.saved:
            mine.plan = loads(mine.saved)
        else:
            plans = [await self.plan(location) for location in self.desired]
            chosen = mine.options.selection
            mine.plan = combine(plans, as_of=self.clock.now(), manifests="manifests", selection=chosen)
        if not mine.only_plans:
            mine.reports = await apply(approve(mine.plan), self.mission(), self.world())

    async def plan(self, location: LocationId) -> LocationPlan:
        state = self.store.load(location)
        ours = {contact for contact, known in state.observed.items() if known.ledger}
        seen = await self.look(location, sorted(ours | self.desired[location].contacts.keys()))
        for each in seen:
            state.observed.update(dict(each.absorb(state.observed, settle_ms=self.run.options.settle_ms)))
        return plan_location(self.desired[location], state, self.run.options, observations=seen)

    async def look(self, location: LocationId, contacts: list[ContactId]) -> tuple[Seen, ...]:
        api, pace = self.apis[location], self.paces[location]
        reading = Reading(api, self.clock, self.run.events.append, pace, chance=self.chance.random)
        match self.run.refresh:
            case "get":
                return (await read_contacts(location, contacts, reading)).seen
            case "search":
                return (await scan(location, reading)).seen
        return ()

    def mission(self) -> Mission:
        assert self.run.plan is not None
        # a saved plan is carried out as it was asked for
        options = dict.fromkeys(self.desired, replace(self.run.options, selection=self.run.plan.selection))
        return Mission(self.desired, options, a_holder(self.run.name), lock_timeout_ms=self.run.waits_ms)

    def world(self) -> World:
        return World(
            self.apis.__getitem__,
            self.store,
            self.clock,
            self.run.events.append,
            reader=self.apis.__getitem__,
            pace=self.paces.__getitem__,
            chance=self.chance.random,
        )


async def perform(run: Run, process: Process, town: Town) -> None:
    """From the command to its end."""
    now, clock = town.clock.now(), ProcessClock(process)
    paces = {location: Pace(run.options.rate) for location in town.places}
    async with AsyncExitStack() as stack:
        apis = {
            location: await stack.enter_async_context(_api(run, process, place, paces[location]))
            for location, place in town.places.items()
        }
        store = MortalStore(stack.enter_context(open_store(town.url)), process)
        desired = {location: as_desired(declared, location, now) for location, declared in run.declared.items()}
        await Program(run, process, clock, store, apis, paces, desired, random.Random(run.name)).work()


def _api(run: Run, process: Process, place: Place, pace: Pace) -> HighLevel:
    def heard(quota: Quota) -> None:
        pace.heard(quota, process.clock.now())

    return HighLevel(
        ORIGIN, token=token_of(run.name), transport=Wire(place, process), heard=heard, now=process.clock.now
    )
