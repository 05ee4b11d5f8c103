"""A stage for apply: the real client, an emulated location, the SQLite store, and time that a test moves. Each run is
held to the invariants (`tests/scene_invariants.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.apply import ApplyOptions, Services, Stop, apply
from reconciler.apply.run import IN_FLIGHT
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.events import Event
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.lease import Holder
from reconciler.core.model.manifest import ContactSet, ListedContacts, TagRule
from reconciler.core.model.names import ContactId, LocationId, SetName, Tag
from reconciler.core.model.outcome import Action, ResponseRows
from reconciler.core.model.people import Snapshot
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.approved_scope import Proposal, ProposalDifference
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.guard_sentences import approve
from reconciler.core.planning.make_plan import plan_location, plan_revert
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, PlanOptions, combine_plans
from reconciler.core.planning.revert import Reversal, read_reversal
from reconciler.core.running.pace import Pace
from reconciler.highlevel.client import HighLevel
from reconciler.operations.runs import read_log
from reconciler.planfile import RecoveryJournal
from reconciler.ports import StartWorker, StateReader, StateStore
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact
from reconciler.sandbox.world import World as Crm
from reconciler.store import open_reader, open_store
from reconciler.wire import SEARCH_PATH, BulkUpdate
from tests.build import HERE, Words, contact, declare, name, plan_options, words
from tests.fakes import FakeClock, InPlace, a_holder
from tests.sandbox.faults import FaultPlan, Network
from tests.sandbox.transport import SandboxTransport
from tests.scene_invariants import check_adds, check_run, check_token

THERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
DEFAULT = plan_options(limits=GuardLimits(max_first_adds=None, odd_ids=False))
"""The first apply of a scene is meant as one."""


class Killed(BaseException):
    """The process is no more."""


def _with_ids(given: ContactSet) -> ContactSet:
    if not isinstance(given.contacts, ListedContacts):
        return given
    return replace(given, contacts=ListedContacts(tuple(map(name, given.contacts.ids)), given.contacts.source))


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
    lost: bool = True
    began: int = 0
    ended: int | None = None
    alongside: tuple[Sent, ...] = ()

    @property
    def action(self) -> Action:
        return Action(self.path.rsplit("/", 1)[1])

    @property
    def is_doubtful(self) -> bool:
        """Whether it may have had an effect that no answer tells."""
        if self.status is None:
            return bool(self.effect) or self.lost
        # a refusal is no proof that nothing happened; a removal may be sent again all the same
        refused = bool(self.effect) and self.action is Action.ADD
        return self.status >= 500 or self.status == 201 or refused

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
        self.reads: list[tuple[int, ContactId]] = []
        self.searches: list[tuple[int, dict[str, object]]] = []
        self.read: Callable[[int], None] = lambda nth: None
        self.before: Callable[[int], None] = lambda nth: None
        self.after: Callable[[int], None] = lambda nth: None
        clock = scene.clock
        self._inner = SandboxTransport(
            self.network, now=clock.now, sleep=clock.sleep_seconds, latency_ms=scene.latency_ms
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return await self._reading(request)
        body = json.loads(await request.aread() or b"{}")
        now = self.scene.clock.ms
        if request.url.path == SEARCH_PATH:
            self.searches.append((now, body))
            assert request.headers["authorization"] == f"Bearer {self.scene.token}"
            return await self._inner.handle_async_request(request)
        under_way = tuple(each for each in self.sent if each.ended is None)
        sent = Sent(request.url.path, dict(request.headers), body, False, began=now, alongside=under_way)
        nth = len(self.sent)
        # in a long run every fiftieth: to look is to load the whole state
        sent.journalled = nth % 50 > 20 or self.scene.has_intent(self.crm.location, sent)
        self.sent.append(sent)
        try:
            return await self._writing(request, sent, nth)
        except httpx.ConnectError:
            sent.lost = False
            raise
        finally:
            sent.ended = self.scene.clock.ms

    async def _reading(self, request: httpx.Request) -> httpx.Response:
        self.reads.append((self.scene.clock.ms, ContactId(request.url.path.rsplit("/", 1)[1])))
        self.read(len(self.reads) - 1)
        assert request.headers["authorization"] == f"Bearer {self.scene.token}"
        return await self._inner.handle_async_request(request)

    async def _writing(self, request: httpx.Request, sent: Sent, nth: int) -> httpx.Response:
        self.before(nth)
        seen = len(self.crm.transitions)
        try:
            response = await self._inner.handle_async_request(request)
        finally:
            # what others did meanwhile, and what lands late of an earlier request, is not this one's
            own = {(contact, self.crm.assumptions.spell(tag)) for _, contact, tag in sent.pairs()}
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


@dataclass
class Writer:
    """A client that keeps what it is asked to send, and lets a test act before and after, beside the time it takes."""

    scene: Scene
    api: HighLevel

    async def ready(self) -> None:
        self.scene.prepare()
        await self.api.ready()

    async def update_tags(self, update: BulkUpdate) -> ResponseRows:
        scene = self.scene
        scene.updates.append(update)
        scene.before(len(scene.updates))
        await scene.clock.sleep(scene.takes_ms)
        rows = await self.api.update_tags(update)
        scene.after(len(scene.updates))
        return rows


class Scene:
    """Locations, their state, the clock. `wanted` is what the manifests say now.

    `prepare`, `before` and `after` are called around each request of a run, the latter two with its number, from 1;
    `hear` with each event. `updates`: what the last run was to send, in requests that take `takes_ms` longer.
    """

    def __init__(
        self,
        directory: Path,
        *contacts: Contact,
        faults: FaultPlan | None = None,
        limits: Limits | None = None,
        options: PlanOptions = DEFAULT,
        latency_ms: int = 200,
        in_flight: int = IN_FLIGHT,
        may_read: bool = True,
        keeps_answers: bool = False,
        clock: FakeClock | None = None,
        **assumptions: object,
    ) -> None:
        self.clock = clock or FakeClock()
        self.directory = directory
        self.latency_ms = latency_ms
        self.in_flight = in_flight
        self.may_read = may_read
        self.keeps_answers = keeps_answers
        self.url = f"sqlite:///{directory / 'state.db'}"
        self.path = directory / "state.db"
        self.options = options
        self.events: list[Event] = []
        self.wanted: dict[LocationId, Desired] = {}
        self.places: dict[LocationId, Place] = {}
        self.token = DEMO_TOKEN
        self.replanned = self.undoes = False
        self.rests: Mapping[LocationId, ProposalDifference] = {}
        self.stop = Stop()
        self.updates: list[BulkUpdate] = []
        self.takes_ms = 0
        self.start_worker: StartWorker = InPlace
        self.read_snapshots: Callable[[LocationId, Iterable[SetName]], Mapping[SetName, Snapshot]] | None = None
        self.prepare: Callable[[], None] = lambda: None
        self.before: Callable[[int], None] = lambda nth: None
        self.after: Callable[[int], None] = lambda nth: None
        self.hear: Callable[[Event], None] = lambda event: None
        self._paces: dict[LocationId, Pace] = {}
        self._apis: dict[LocationId, HighLevel] = {}
        self._run = ExitStack()
        self._reader: StateReader | None = None
        """One for all that is looked at within a run."""
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

    def want(self, *sets: ContactSet, rule: Iterable[TagRule] = (), location: LocationId = HERE) -> None:
        """Other manifests, from now on; their sets list contacts by short names."""
        self.wanted[location] = declare(*map(_with_ids, sets), rule=rule, location=location)

    def has_intent(self, location: LocationId, sent: Sent) -> bool:
        if self._reader is None:
            self._reader = self._run.enter_context(open_reader(self.url))
        state = self._reader.at(location).load_state()
        tags = state.spelling.read(frozenset(sent.tags))
        return all(state.observed[contact].doubtful >= tags for contact in sent.contacts)

    def listen(self, event: Event) -> None:
        self.events.append(event)
        self.hear(event)

    def plan(self, options: PlanOptions | None = None) -> Plan:
        with open_reader(self.url) as reader:
            plans = [
                plan_location(want, reader.at(location).load_state(), options or self.options)
                for location, want in self.wanted.items()
            ]
        return combine_plans(plans, as_of=self.clock.now(), manifests="manifests")

    def plan_for(self, desired: Desired) -> Plan:
        """A plan for other manifests, from now on."""
        self.wanted[HERE] = desired
        return self.plan()

    def api(self, location: LocationId) -> HighLevel:
        if location not in self._apis:
            self._apis[location] = HighLevel(
                "https://api.example",
                token=self.token,
                transport=self.places[location],
                on_quota=lambda quota: self.pace(location).heed_quota(quota, self.clock.now()),
                now=self.clock.now,
            )
        return self._apis[location]

    def pace(self, location: LocationId) -> Pace:
        return self._paces.setdefault(location, Pace(self.options.rate))

    def apply(
        self,
        plan: Plan | None = None,
        *,
        holder: Holder | None = None,
        options: PlanOptions | None = None,
        store: StateStore | None = None,
        **more: object,
    ) -> LocationReport:
        """Applies the plan, or a new one, checks the invariants, and returns the one report. `more`: ApplyOptions."""
        (report,) = self.apply_all(plan, holder=holder, options=options, store=store, **more)
        return report

    def run(self, desired: Desired, plan: Plan | None = None, **more: object) -> LocationReport:
        """The same with other manifests, from now on."""
        self.wanted[HERE] = desired
        return self.apply(plan, **more)  # type: ignore[arg-type]

    def runs(self) -> Sequence[RunRecord]:
        with open_reader(self.url) as reader:
            return reader.at(HERE).read_runs()

    def log(self, run: str) -> RunLog:
        with open_reader(self.url) as reader:
            return read_log(reader, next(each for each in reader.at(HERE).read_runs() if each.id == run))

    def reversal(self, run: str) -> Reversal:
        ids = [each.id for each in self.runs()]
        return read_reversal(self.log(run), [self.log(each) for each in ids[ids.index(run) + 1 :]])

    def plan_revert(self, run: str, desired: Desired) -> LocationPlan:
        with open_reader(self.url) as reader:
            return plan_revert(self.reversal(run), desired, reader.at(HERE).load_state(), self.options)

    def revert(self, run: str, desired: Desired) -> LocationReport:
        plan = combine_plans([self.plan_revert(run, desired)], as_of=self.clock.now(), manifests="manifests")
        return self.run(desired, plan, reversals={HERE: self.reversal(run)})

    def apply_all(
        self,
        plan: Plan | None = None,
        *,
        holder: Holder | None = None,
        options: PlanOptions | None = None,
        store: StateStore | None = None,
        **more: object,
    ) -> tuple[LocationReport, ...]:
        plan = plan or self.plan(options)
        states = self._load_states()
        # where the state moved since the plan, what is no longer needed is in no report
        self.replanned = any(states[each.location].serial != each.serial for each in plan.locations)
        self.undoes = bool(more.get("reversals"))
        self.rests = proposal.rests if isinstance(proposal := more.get("proposal"), Proposal) else {}
        owned = {
            location: {contact: known.ledger.tags for contact, known in state.observed.items()}
            for location, state in states.items()
        }
        first = {location: len(place.sent) for location, place in self.places.items()}
        moved = {location: len(place.crm.transitions) for location, place in self.places.items()}
        try:
            with self._run, nullcontext(store) if store else open_store(self.url) as opened:
                reports = self._apply(opened, plan, holder or a_holder(str(self.clock.ms)), options, more)
        except Killed:
            reports = ()
        finally:
            self.stop, self._reader = Stop(), None
        for each in plan.locations:
            sent = self.places[each.location].sent[first[each.location] :]
            report = next((report for report in reports if report.location == each.location), None)
            check_run(self, each, sent, report, owned[each.location])
            check_adds(self, each.location, moved[each.location])
        check_token(self)
        if not reports:
            raise Killed
        return reports

    def _apply(
        self,
        store: StateStore,
        plan: Plan,
        holder: Holder,
        options: PlanOptions | None,
        more: Mapping[str, object],
    ) -> tuple[LocationReport, ...]:
        options = options or self.options
        self.updates = []
        # a process of its own each time: it knows of no request of another
        self._paces = {location: Pace(options.rate) for location in self.places}
        kept = {"recovery_files": RecoveryJournal(self.directory / "plan.json")} if self.keeps_answers else {}
        services = Services(
            lambda location: Writer(self, self.api(location)),
            store,
            self.clock,
            self.listen,
            **kept,
            reader=self.api if self.may_read else None,
            pace=self.pace,
            stop=self.stop,
            chance=lambda: 0.5,
            read_snapshots=self.read_snapshots,
            start_worker=self.start_worker,
        )
        given = {"in_flight": self.in_flight} | dict(more)
        chosen = ApplyOptions(self.wanted, dict.fromkeys(self.wanted, options), holder, **given)  # type: ignore[arg-type]
        return self.clock.run(apply(approve(plan), chosen, services))

    def apply_and_die(
        self,
        plan: Plan | None = None,
        *,
        before: int | None = None,
        after: int | None = None,
        options: PlanOptions | None = None,
    ) -> None:
        """The process is killed before a request of this number leaves, from 0 on, or after the API took it."""
        place, first = self.here, len(self.here.sent)

        def kill(at: int | None, nth: int) -> None:
            # whatever else was under way dies with it
            if at is not None and nth - first >= at:
                raise Killed

        usual = place.before, place.after
        place.before, place.after = partial(kill, before), partial(kill, after)
        with pytest.raises(Killed):
            self.apply(plan, options=options)
        place.before, place.after = usual
        self.die()

    def die(self) -> None:
        """As if the machine had been switched off: nothing of the killed process is left but its files."""
        self.clock.ms += 91_000

    def serial(self, location: LocationId = HERE) -> int:
        with open_reader(self.url) as reader:
            return reader.at(location).load_state().serial

    def _load_states(self) -> dict[LocationId, LocationState]:
        with open_reader(self.url) as reader:
            return {location: reader.at(location).load_state() for location in self.places}

    def tags(self, text: str, location: LocationId = HERE) -> set[str]:
        return set(self.places[location].crm.tags_of(name(text)))

    def known(self, text: str, location: LocationId = HERE) -> ContactState:
        with open_reader(self.url) as reader:
            return reader.at(location).load_state().observed[name(text)]

    def adds(self, location: LocationId = HERE) -> Counter[tuple[ContactId, Tag]]:
        """Add transitions that we caused, per pair."""
        log = self.places[location].crm.transitions
        return Counter((each.contact, each.tag) for each in log if each.by == "api" and each.action is Action.ADD)

    def edit(self, text: str, *, add: Words = "", remove: Words = "") -> None:
        """Somebody else at work."""
        now = self.clock.now()
        self.here.crm.add(name(text), words(add), now=now, by="human")
        self.here.crm.remove(name(text), words(remove), now=now, by="human")


def one_by_one(directory: Path, carried: Mapping[str, Words], **more: Any) -> Scene:
    """A scene in which a contact a time is written, and nobody may read; contacts by short names, with their tags."""
    quiet: dict[str, Any] = {"options": plan_options(caps=Caps(contacts=1)), "in_flight": 1}
    contacts = (contact(text, tags) for text, tags in carried.items())
    return Scene(directory, *contacts, may_read=False, keeps_answers=True, latency_ms=0, **quiet | more)


def without_limits(options: PlanOptions = DEFAULT) -> PlanOptions:
    """No guard refuses: for scenes that are not about guards."""
    limits = replace(options.limits, max_removes_pct=None, empties_tag=False, shrink_pct=None, grow_pct=None)
    return replace(options, limits=limits)
