"""The program as its command line puts it together, for the length of one run: look, plan, approve, apply."""

from __future__ import annotations

import random
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from reconciler.apply import ApplyOptions, Services, apply
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Quota
from reconciler.core.model.batch import Batch
from reconciler.core.model.errors import StalePlan
from reconciler.core.model.events import Event
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.lease import Holder
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.observing.refresh_rules import RefreshResult
from reconciler.core.planning.approved_scope import Proposal, narrow_plan
from reconciler.core.planning.changes import HeldContacts
from reconciler.core.planning.guard_sentences import approve
from reconciler.core.planning.make_plan import plan_location, plan_revert
from reconciler.core.planning.plan import LocationPlan, Plan, PlanOptions, combine_plans
from reconciler.core.planning.revert import Reversal, read_reversal
from reconciler.core.running.pace import Pace
from reconciler.highlevel.client import HighLevel
from reconciler.highlevel.tokens import Agency
from reconciler.planfile import parse_plan, plan_text
from reconciler.ports import Worker
from reconciler.refresh import ReadServices, scan
from reconciler.request_gate import NoLease, RequestGate, Stop
from reconciler.store import open_store
from reconciler.store.leases import origin_of_this_process
from tests.build import plan_options
from tests.fakes import InPlace, SlowWorker, a_holder, read_contacts
from tests.simulation.declared import Declared, as_desired
from tests.simulation.place import COMPANY, ORIGIN, Place, Wire, token_of
from tests.simulation.process import Fate, MortalStore, Process, ProcessClock
from tests.simulation.proposing import whom_to_read

UNSEEN = 2**30
"""The number of no process here."""

if TYPE_CHECKING:
    from tests.simulation.town import Town


@dataclass
class Run:
    """One run, and everything of it that can be known from outside.

    `refresh`: how it looks at contacts before it plans, `get`, `search` or not at all. `saved`: the plan file that it
    applies; `honest`: the plan in it before somebody wrote more into the file. `only_plans`: it writes such a file and
    sends nothing. `approval`: the run whose changes somebody approved: it sends these or nothing. `undoes`: the run
    that it reverts. `commits`: how many manifests there were when it began. `heeds_gone`: whether it sends nothing to
    contacts that it read as gone, who are then sent to by the next run that reads nobody. `cancelled_after_ms`: when a
    signal asks it to stop, from its first look on.
    """

    name: str
    options: PlanOptions
    refresh: str = ""
    saved: bytes = b""
    only_plans: bool = False
    approval: Run | None = None
    undoes: Run | None = None
    honest: Plan | None = None
    waits_ms: int = 120_000
    cancelled_after_ms: int | None = None
    waits_for_pace: bool = False
    fate: Fate | None = None
    declared: dict[LocationId, Declared] = field(default_factory=dict)
    commits: dict[LocationId, int] = field(default_factory=dict)
    heeds_gone: bool = True
    plan: Plan | None = None
    reports: tuple[LocationReport, ...] = ()
    problem: str = ""
    killed: bool = False
    met_its_fate: bool = False
    began: int = 0
    ended: int = 0
    events: list[Event] = field(default_factory=list)
    intents: list[Batch] = field(default_factory=list)

    @property
    def retries(self) -> bool:
        """Whether a person asked to send once more what is held; no file can."""
        return self.options.selection.retry_held

    def planned(self, location: LocationId) -> LocationPlan | None:
        """What was planned there, not what was written into the file besides."""
        plan = self.honest or self.plan
        return next((each for each in plan.locations if each.location == location), None) if plan else None

    def report(self, location: LocationId) -> LocationReport | None:
        return next((each for each in self.reports if each.location == location), None)

    def file(self) -> bytes:
        """The plan file that it wrote."""
        assert self.plan is not None
        return plan_text(self.plan).encode()


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
    reversals: dict[LocationId, Reversal] = field(default_factory=dict)
    options: PlanOptions = plan_options()
    stop: Stop = field(default_factory=Stop)

    async def work(self) -> None:
        mine = self.run
        if mine.cancelled_after_ms is not None:
            self.process.clock.loop.call_later(mine.cancelled_after_ms / 1000, self.stop.ask, signal.SIGTERM)
        proposed = parse_plan(mine.saved) if mine.saved else None
        self.options = _narrowed(mine.options, proposed)
        self.reversals = {location: found for location in self.desired if (found := self.reversal(location))}
        parts = {each.location: each for each in proposed.locations} if proposed else {}
        plans = [await self.plan(each, parts.get(each)) for each in self.reversals or self.desired]
        now = combine_plans(plans, as_of=self.clock.now(), manifests="manifests", selection=self.options.selection)
        mine.plan = proposed or now
        approved = mine.approval and mine.approval.plan
        if approved and approved.change_digest != now.change_digest:
            raise StalePlan("what there is to do now is not what was approved")
        if not mine.only_plans:
            mine.reports = await apply(approve(now), self.mission(proposed), self.world())

    def reversal(self, location: LocationId) -> Reversal | None:
        """What there is to undo there."""
        undone = self.run.undoes and self.run.undoes.report(location)
        if not undone or not undone.run:
            return None
        runs = list(self.store.at(location).read_runs())
        found = [each.id for each in runs].index(undone.run)
        log, *later = (self.log(each) for each in runs[found:])
        return read_reversal(log, later)

    def log(self, run: RunRecord) -> RunLog:
        store = self.store.at(run.header.location)
        return RunLog(run, tuple(store.read_batches(run.id)), store.read_adopted(run.id))

    async def plan(self, location: LocationId, proposed: LocationPlan | None) -> LocationPlan:
        """What is to be done now; of a file, what of it is. Whom the file knows better is read, and nobody else."""
        state, desired, options = self.store.at(location).load_state(), self.desired[location], self.options
        ours = {contact for contact, known in state.observed.items() if known.ledger.tags}
        whom, refresh = sorted(ours | desired.contacts.keys()), self.methods()
        if proposed:
            whom = list(whom_to_read(proposed, desired, state, options))
            refresh = ["get"] if whom else []
        found = [await self.look(location, whom, each) for each in refresh]
        options = replace(options, gone=_gone(found) if self.run.heeds_gone else ())
        seen = tuple(seen for each in found for seen in each.seen)
        for each in seen:
            state.observed.update(dict(each.apply_to(state.observed, settle_ms=options.settle_ms)))
        if location in self.reversals:
            return plan_revert(self.reversals[location], desired, state, options, observations=seen)
        fresh = plan_location(desired, state, options, observations=seen)
        return narrow_plan(fresh, proposed, desired, state, options) if proposed else fresh

    def methods(self) -> list[str]:
        """How to look; some who read one by one search as well, and what they read is the newer."""
        asked = self.run.refresh
        also = asked == "get" and not self.run.undoes and self.chance.random() < 0.3
        return ["get", "search"] if also else [asked] if asked else []

    async def look(self, location: LocationId, contacts: list[ContactId], refresh: str) -> RefreshResult:
        api, pace = self.apis[location], self.paces[location]
        gate = RequestGate(
            location, pace, self.clock, self.run.events.append, NoLease(self.clock), chance=self.chance.random
        )
        reading = ReadServices(api, gate)
        return await (read_contacts(contacts, reading) if refresh == "get" else scan(reading))

    def mission(self, proposed: Plan | None) -> ApplyOptions:
        return ApplyOptions(
            self.desired,
            dict.fromkeys(self.desired, self.options),
            a_neighbour(self.run.name),
            lock_timeout_ms=self.run.waits_ms,
            wait=self.run.waits_for_pace,
            reversals=self.reversals,
            proposal=Proposal(proposed) if proposed else None,
        )

    def world(self) -> Services:
        return Services(
            self.apis.__getitem__,
            self.store,
            self.clock,
            self.run.events.append,
            reader=self.apis.__getitem__,
            pace=self.paces.__getitem__,
            chance=self.chance.random,
            start_worker=self.start_worker,
            stop=self.stop,
        )

    def start_worker(self) -> Worker:
        """The state of some runs takes its time, like one that is far away."""
        chance = random.Random(f"{self.run.name} {self.clock.now()}")
        if chance.random() < 0.6:
            return InPlace()
        most = chance.choice([40, 400])
        return SlowWorker(self.clock, lambda: (chance.randrange(most), chance.randrange(most)))


def _gone(found: list[RefreshResult]) -> tuple[HeldContacts, ...]:
    """The contacts that are not there, as reading them one by one told."""
    gone = {contact: why for each in found for contact, why in each.gone.items()}
    return tuple(
        HeldContacts(why, (), tuple(who for who in gone if gone[who] is why)) for why in sorted(set(gone.values()))
    )


def _narrowed(options: PlanOptions, proposed: Plan | None) -> PlanOptions:
    """As asked for; a file chooses which part of the whole it is of, and nothing else."""
    if proposed is None:
        return options
    part = proposed.selection
    return replace(options, selection=replace(options.selection, sets=part.sets, tags=part.tags))


def a_neighbour(name: str) -> Holder:
    """A process on this host and boot, in a PID namespace of its own: from here nobody sees whether it lives."""
    holder = a_holder(name, host=socket.gethostname(), pid=UNSEEN)
    return replace(holder, boot_id=_this_boot(), pid_namespace="another", process_start="7")


@cache
def _this_boot() -> str:
    return origin_of_this_process().boot_id


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
    def heed_quota(quota: Quota) -> None:
        pace.heed_quota(quota, process.clock.now())

    return HighLevel(
        ORIGIN,
        token=token_of(run.name),
        transport=Wire(place, process),
        on_quota=heed_quota,
        now=process.clock.now,
        agency=Agency(COMPANY, place.location) if place.agency else None,
    )
