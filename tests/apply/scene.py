"""A stage for apply: the real client, an emulated location, the SQLite store, time that a test moves; and the
invariants of a run, read off what the location was asked and what happened in it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from reconciler.apply import Mission, World, apply
from reconciler.core.change import Postponed
from reconciler.core.desired import Desired, resolve
from reconciler.core.event import Event
from reconciler.core.lease import Holder
from reconciler.core.manifest import Authority, ContactSet, Listed, Manifest, OnLeave, TagRule, TagUse
from reconciler.core.names import ContactId, LocationId, SetName, Tag, TagSet
from reconciler.core.outcome import Action, Outcome
from reconciler.core.plan import LocationPlan, Plan, PlanOptions, approve, combine, pairs_of, plan_location
from reconciler.core.report import LocationReport
from reconciler.core.source import Source
from reconciler.highlevel.client import HighLevel
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.faults import FaultPlan, Network
from reconciler.sandbox.limiter import Limits
from reconciler.sandbox.transport import SandboxTransport
from reconciler.sandbox.world import Contact
from reconciler.sandbox.world import World as Crm
from reconciler.store import open_reader, open_store
from tests.fakes import START, FakeClock, a_holder

HERE, THERE = LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("zzzzzzzzzzzzzzzzzzzz")
PLACE = Source("manifests/acme.yaml", 1, 1)
PATH = re.compile(r"/contacts/bulk/tags/update/(add|remove)")
DEFAULT = PlanOptions()


class Killed(BaseException):
    """The process is no more."""


def name(text: str) -> ContactId:
    """A contact id that could be one, made of a short name."""
    return ContactId((text * 20)[:20])


def contact(text: str, *tags: str, location: LocationId = HERE, deleted: bool = False) -> Contact:
    return Contact(name(text), location, frozenset(map(Tag, tags)), START, START, START if deleted else None)


def a_set(
    called: str,
    contacts: Iterable[str],
    *tags: str,
    absent: Iterable[str] = (),
    authority: Authority | None = None,
    on_leave: OnLeave = OnLeave.REMOVE,
) -> ContactSet:
    """A contact set of the contacts with these short names."""
    return ContactSet(
        name=SetName(called),
        source=PLACE,
        contacts=Listed(tuple(map(name, contacts)), PLACE),
        tags=tuple(TagUse(Tag(tag), tag, PLACE) for tag in tags),
        absent=tuple(TagUse(Tag(tag), tag, PLACE) for tag in absent),
        authority=authority,
        on_leave=on_leave,
    )


def a_rule(tag: str, **more: object) -> TagRule:
    return TagRule(Tag(tag), PLACE, **more)  # type: ignore[arg-type]


def desired(*sets: ContactSet, rules: Iterable[TagRule] = (), location: LocationId = HERE) -> Desired:
    manifest = Manifest("manifests/acme.yaml", location, PLACE, sets, {rule.tag: rule for rule in rules})
    return resolve([manifest], now=START)


@dataclass
class Sent:
    """One request as the location saw it, and what came of it."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, object]
    journalled: bool
    effect: Counter[tuple[ContactId, Tag]] = field(default_factory=Counter)
    status: int | None = None
    readable: bool = False

    @property
    def action(self) -> Action:
        return Action(self.path.rsplit("/", 1)[1])

    def pairs(self) -> set[tuple[Action, ContactId, Tag]]:
        return {(self.action, contact, tag) for contact in self.contacts for tag in self.tags}

    @property
    def contacts(self) -> list[ContactId]:
        return list(map(ContactId, self.body["contacts"]))  # type: ignore[call-overload]

    @property
    def tags(self) -> list[Tag]:
        return list(map(Tag, self.body["tags"]))  # type: ignore[call-overload]


class Place(httpx.AsyncBaseTransport):
    """A location behind its API; `before` is called with the number of each request, from 0, as it leaves."""

    def __init__(self, scene: Scene, crm: Crm, faults: FaultPlan, limits: Limits | None) -> None:
        self.scene, self.crm = scene, crm
        self.app = App(crm, limits=limits)
        self.network = Network(self.app, faults)
        self.sent: list[Sent] = []
        self.before: Callable[[int], None] = lambda nth: None
        self.after: Callable[[int], None] = lambda nth: None
        clock = scene.clock
        self._inner = SandboxTransport(
            self.network, now=clock.now, sleep=clock.sleep_seconds, latency_ms=scene.latency_ms
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread() or b"{}")
        sent = Sent(request.url.path, dict(request.headers), body, False)
        nth = len(self.sent)
        # in a long run every fiftieth: to look is to load the whole state
        sent.journalled = nth % 50 > 20 or self.scene.has_intent(self.crm.location, sent)
        self.sent.append(sent)
        self.before(nth)
        seen = len(self.crm.transitions)
        try:
            response = await self._inner.handle_async_request(request)
        finally:
            # what lands late of an earlier request is not this one's
            own = {(contact, tag) for _, contact, tag in sent.pairs()}
            moved = [(each.contact, each.tag) for each in self.crm.transitions[seen:] if each.by == "api"]
            sent.effect.update(pair for pair in moved if pair in own)
        self.after(nth)
        sent.status = response.status_code
        sent.readable = _readable(response)
        return response


def _readable(response: httpx.Response) -> bool:
    try:
        return response.is_success and isinstance(json.loads(response.content), dict)
    except (ValueError, httpx.ResponseNotRead):
        return False


class Scene:
    """Locations, their state, the clock. `wanted` is what the manifests say now."""

    def __init__(
        self,
        directory: Path,
        *contacts: Contact,
        faults: FaultPlan | None = None,
        limits: Limits | None = None,
        options: PlanOptions = DEFAULT,
        latency_ms: int = 200,
        **assumptions: object,
    ) -> None:
        self.clock = FakeClock()
        self.latency_ms = latency_ms
        self.url = f"sqlite:///{directory / 'state.db'}"
        self.path = directory / "state.db"
        self.options = options
        self.events: list[Event] = []
        self.wanted: dict[LocationId, Desired] = {}
        self.places: dict[LocationId, Place] = {}
        self.token = DEMO_TOKEN
        self.replanned = False
        self._apis: dict[LocationId, HighLevel] = {}
        self._assumptions = Assumptions(**assumptions)  # type: ignore[arg-type]
        self.add_place(HERE, *contacts, faults=faults, limits=limits)

    def add_place(
        self, location: LocationId, *contacts: Contact, faults: FaultPlan | None = None, limits: Limits | None = None
    ) -> Place:
        crm = Crm(location, contacts, assumptions=self._assumptions)
        place = self.places[location] = Place(self, crm, faults or FaultPlan(), limits)
        return place

    @property
    def here(self) -> Place:
        return self.places[HERE]

    def want(self, *sets: ContactSet, rules: Iterable[TagRule] = (), location: LocationId = HERE) -> None:
        self.wanted[location] = desired(*sets, rules=rules, location=location)

    def has_intent(self, location: LocationId, sent: Sent) -> bool:
        with open_reader(self.url) as reader:
            observed = reader.load(location).observed
        return all(observed[contact].doubt >= set(sent.tags) for contact in sent.contacts)

    def plan(self, options: PlanOptions | None = None) -> Plan:
        with open_reader(self.url) as reader:
            plans = [
                plan_location(want, reader.load(location), options or self.options)
                for location, want in self.wanted.items()
            ]
        return combine(plans, as_of=self.clock.now(), manifests="manifests")

    def api(self, location: LocationId) -> HighLevel:
        if location not in self._apis:
            self._apis[location] = HighLevel("https://api.example", token=self.token, transport=self.places[location])
        return self._apis[location]

    def apply(
        self, plan: Plan | None = None, *, holder: Holder | None = None, options: PlanOptions | None = None
    ) -> LocationReport:
        """Applies the plan, or a new one, checks the invariants, and returns the one report."""
        (report,) = self.apply_all(plan, holder=holder, options=options)
        return report

    def apply_all(
        self, plan: Plan | None = None, *, holder: Holder | None = None, options: PlanOptions | None = None
    ) -> tuple[LocationReport, ...]:
        plan = plan or self.plan(options)
        # where the state moved since the plan, what is no longer needed is in no report
        self.replanned = any(self.serial(each.location) != each.serial for each in plan.locations)
        owned = {location: self._under_management(location) for location in self.places}
        first = {location: len(place.sent) for location, place in self.places.items()}
        try:
            reports = self._apply(plan, holder or a_holder(str(self.clock.ms)), options or self.options)
        except Killed:
            reports = ()
        for each in plan.locations:
            sent = self.places[each.location].sent[first[each.location] :]
            report = next((report for report in reports if report.location == each.location), None)
            self._check(each, sent, report, owned[each.location])
        if not reports:
            raise Killed
        return reports

    def _apply(self, plan: Plan, holder: Holder, options: PlanOptions) -> tuple[LocationReport, ...]:
        with open_store(self.url) as store:
            world = World(self.api, store, self.clock, self.events.append)
            mission = Mission(self.wanted, dict.fromkeys(self.wanted, options), holder)
            return asyncio.run(apply(approve(plan), mission, world))

    def die(self) -> None:
        """As if the machine had been switched off: nothing of the killed process is left but its files."""
        self.clock.ms += 91_000

    def serial(self, location: LocationId = HERE) -> int:
        with open_reader(self.url) as reader:
            return reader.load(location).serial

    def _under_management(self, location: LocationId) -> dict[ContactId, TagSet]:
        with open_reader(self.url) as reader:
            return {contact: known.ledger for contact, known in reader.load(location).observed.items()}

    def tags(self, text: str, location: LocationId = HERE) -> set[str]:
        return set(self.places[location].crm.tags_of(name(text)))

    def known(self, text: str, location: LocationId = HERE) -> object:
        with open_reader(self.url) as reader:
            return reader.load(location).observed[name(text)]

    def adds(self, location: LocationId = HERE) -> Counter[tuple[ContactId, Tag]]:
        """Add transitions that we caused, per pair."""
        log = self.places[location].crm.transitions
        return Counter((each.contact, each.tag) for each in log if each.by == "api" and each.action is Action.ADD)

    def edit(self, text: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Somebody else at work."""
        now = self.clock.now()
        self.here.crm.add(name(text), add, now=now, by="human")
        self.here.crm.remove(name(text), remove, now=now, by="human")

    def _check(
        self,
        plan: LocationPlan,
        sent: list[Sent],
        report: LocationReport | None,
        owned: Mapping[ContactId, TagSet],
    ) -> None:
        wanted = self.wanted[plan.location]
        allowed, opened = approved_pairs(plan), open_contacts(plan)
        settled: set[tuple[Action, ContactId, Tag]] = set()
        effects: Counter[tuple[Action, ContactId, Tag]] = Counter()
        for each in sent:
            # 4, 11: one endpoint, three keys, one location, one token in one header
            assert PATH.fullmatch(each.path)
            assert each.body.keys() == {"contacts", "tags", "locationId"}
            assert each.body["locationId"] == plan.location
            assert each.headers["authorization"] == f"Bearer {self.token}"
            assert sum(self.token in value for value in each.headers.values()) == 1
            # 1: nothing outside what was approved
            besides = each.pairs() - allowed
            assert all(action is Action.REMOVE and contact in opened for action, contact, _ in besides)
            # 5: the intent is durable before it leaves
            assert each.journalled
            # 6: known outcomes, and doubts, are not sent again
            assert not each.pairs() & settled
            if each.status != 429 and not (each.status is None and not each.effect):
                settled |= each.pairs()
            for contact, tag in [(who, what) for action, who, what in each.pairs() if action is Action.REMOVE]:
                want = wanted.want(contact)
                # 2: owned tags only; 3: never one that is desired
                assert tag not in want.present
                assert tag in wanted.owned.union(*owned.values()) or want.authority is Authority.EXACT
            effects.update((each.action, contact, tag) for contact, tag in each.effect)
        # 7: one add transition per pair and plan
        assert all(number == 1 for (action, _, _), number in effects.items() if action is Action.ADD)
        self._check_report(plan, sent, report)

    def _check_report(self, plan: LocationPlan, sent: list[Sent], report: LocationReport | None) -> None:
        assert self.token.encode() not in (self.path.read_bytes() if self.path.exists() else b"")
        assert self.token not in repr(self.events)
        if report is None:
            return
        assert self.token not in repr(report)
        assert report.requests == len(sent)
        # 10: every pair ends as exactly one outcome
        fixed = pairs_of(plan.deltas)
        deferred = sum(len(each.tags) * len(each.contacts) for each in plan.deferrals)
        total = sum(report.pairs.values())
        assert fixed + deferred >= total or open_contacts(plan)
        assert total >= fixed or self.replanned
        answered = sum(sum(each.effect.values()) for each in sent if each.readable)
        unclear = report.pairs.get(Outcome.IN_DOUBT, 0) + report.pairs.get(Outcome.HELD, 0)
        assert answered - unclear <= report.pairs.get(Outcome.APPLIED, 0) <= answered


def approved_pairs(plan: LocationPlan) -> set[tuple[Action, ContactId, Tag]]:
    changes = {
        (change.action, contact, change.tag)
        for delta in plan.deltas
        for change in delta.changes
        for contact in delta.contacts
    }
    ceilings = {
        (Action.REMOVE, contact, tag) for each in plan.deferrals for contact in each.contacts for tag in each.tags
    }
    return changes | ceilings


def open_contacts(plan: LocationPlan) -> set[ContactId]:
    """From whom whatever exact authority removes was approved."""
    return {contact for each in plan.deferrals if each.reason is Postponed.OPEN for contact in each.contacts}


def without_limits(options: PlanOptions = DEFAULT) -> PlanOptions:
    """No guard refuses: for scenes that are not about guards."""
    limits = replace(options.limits, max_removes_pct=None, empties_tag=False, shrink_pct=None, grow_pct=None)
    return replace(options, limits=limits)
