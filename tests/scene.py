"""A stage for apply: the real client, an emulated location, the SQLite store, time that a test moves; and the
invariants of a run, read off what the location was asked and what happened in it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
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
from reconciler.core.model.errors import StateError
from reconciler.core.model.events import Event
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.lease import Holder
from reconciler.core.model.manifest import Authority, ContactSet, ListedContacts, TagRule
from reconciler.core.model.names import ContactId, LocationId, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome, ResponseRow
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.batches import Caps, count_change_pairs
from reconciler.core.planning.changes import IN_DOUBT, DeferralReason
from reconciler.core.planning.guard_sentences import approve
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, Plan, PlanOptions, combine_plans
from reconciler.core.planning.reversal import Reversal, read_reversal
from reconciler.core.planning.revert import plan_revert
from reconciler.core.running.pace import Pace
from reconciler.core.running.shortfalls import ending_of
from reconciler.highlevel.client import HighLevel
from reconciler.journalled_run import RecoveryJournal
from reconciler.operations.runs import read_log
from reconciler.ports import StateStore
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact
from reconciler.sandbox.world import World as Crm
from reconciler.store import open_reader, open_store
from reconciler.wire import SEARCH_PATH, BulkUpdate
from tests.build import HERE, Words, contact, declare, name, plan_options, words
from tests.fakes import FakeClock, a_holder
from tests.sandbox.faults import FaultPlan, Network
from tests.sandbox.transport import SandboxTransport

THERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
PATH = re.compile(r"/contacts/bulk/tags/update/(add|remove)")
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
        flying = tuple(each for each in self.sent if each.ended is None)
        sent = Sent(request.url.path, dict(request.headers), body, False, began=now, alongside=flying)
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

    async def update_tags(self, update: BulkUpdate) -> tuple[ResponseRow, ...]:
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
        self.stop = Stop()
        self.updates: list[BulkUpdate] = []
        self.takes_ms = 0
        self.prepare: Callable[[], None] = lambda: None
        self.before: Callable[[int], None] = lambda nth: None
        self.after: Callable[[int], None] = lambda nth: None
        self.hear: Callable[[Event], None] = lambda event: None
        self._paces: dict[LocationId, Pace] = {}
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

    def want(self, *sets: ContactSet, rule: Iterable[TagRule] = (), location: LocationId = HERE) -> None:
        """Other manifests, from now on; their sets list contacts by short names."""
        self.wanted[location] = declare(*map(_with_ids, sets), rule=rule, location=location)

    def has_intent(self, location: LocationId, sent: Sent) -> bool:
        with open_reader(self.url) as reader:
            state = reader.at(location).load_state()
        tags = state.spelling.read(frozenset(sent.tags))
        return all(state.observed[contact].doubt >= tags for contact in sent.contacts)

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
        # where the state moved since the plan, what is no longer needed is in no report
        self.replanned = any(self.serial(each.location) != each.serial for each in plan.locations)
        self.undoes = bool(more.get("reversals"))
        owned = {location: self._under_management(location) for location in self.places}
        first = {location: len(place.sent) for location, place in self.places.items()}
        moved = {location: len(place.crm.transitions) for location, place in self.places.items()}
        try:
            with nullcontext(store) if store else open_store(self.url) as opened:
                reports = self._apply(opened, plan, holder or a_holder(str(self.clock.ms)), options, more)
        except Killed:
            reports = ()
        finally:
            self.stop = Stop()
        for each in plan.locations:
            sent = self.places[each.location].sent[first[each.location] :]
            report = next((report for report in reports if report.location == each.location), None)
            self._check(each, sent, report, owned[each.location])
            self._check_adds(each.location, moved[each.location])
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

    def _under_management(self, location: LocationId) -> dict[ContactId, TagSet]:
        with open_reader(self.url) as reader:
            return {contact: known.ledger for contact, known in reader.at(location).load_state().observed.items()}

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
        doubted: dict[tuple[Action, ContactId, Tag], int] = {}
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
            # 5: the intent is durable before it leaves; one contact is in one request at a time
            assert each.journalled
            assert not any(set(each.contacts) & set(other.contacts) for other in each.alongside)
            # 6: known outcomes are not sent again, doubts only once they were read
            assert not each.pairs() & settled
            again = each.pairs() & doubted.keys()
            for pair in again:
                assert self._was_read(plan.location, pair[1], doubted[pair] + self.options.settle_ms, each.began)
            if each.readable:
                settled |= each.pairs()
            elif each.is_doubtful:
                settled |= again
                doubted |= dict.fromkeys(each.pairs() - again, each.began)
            for who, tag in [(who, what) for action, who, what in each.pairs() if action is Action.REMOVE]:
                want = wanted.want(who)
                # 2: owned tags only, but for what a run gives back; 3: never one that is desired
                assert tag not in want.present
                assert self.undoes or tag in wanted.owned.union(*owned.values()) or want.authority is Authority.EXACT
        self._check_order(plan.location, sent)
        self._check_report(plan, sent, report)

    def _was_read(self, location: LocationId, contact: ContactId, since: int, until: int) -> bool:
        return any(who == contact and since <= at <= until for at, who in self.places[location].reads)

    def _searched(self, since: int, until: int) -> bool:
        return any(since <= at <= until for place in self.places.values() for at, _ in place.searches)

    def _check_order(self, location: LocationId, sent: list[Sent]) -> None:
        """A contact's removes leave only after its adds ended well, or were seen."""
        added: dict[ContactId, Sent] = {}
        for each in sent:
            for who in each.contacts:
                if each.action is Action.ADD:
                    added[who] = each
                elif before := added.get(who):
                    ended = self.clock.ms + 1 if before.ended is None else before.ended
                    assert ended <= each.began
                    looked = self._was_read(location, who, ended, each.began) or self._searched(ended, each.began)
                    assert before.readable or looked

    def _check_adds(self, location: LocationId, since: int) -> None:
        """7: one add transition per pair and plan, whatever the requests were."""
        log = self.places[location].crm.transitions[since:]
        ours = Counter((each.contact, each.tag) for each in log if each.by == "api" and each.action is Action.ADD)
        assert all(number == 1 for number in ours.values())

    def _check_report(self, plan: LocationPlan, sent: list[Sent], report: LocationReport | None) -> None:
        assert self.token.encode() not in (self.path.read_bytes() if self.path.exists() else b"")
        assert self.token not in repr(self.events)
        if report is None:
            return
        assert self.token not in repr(report)
        assert report.requests == len(sent)
        # 10: every pair ends as exactly one outcome
        fixed = count_change_pairs(plan.deltas)
        deferred = sum(len(each.tags) * len(each.contacts) for each in (*plan.deferrals, *plan.held))
        total = sum(report.pairs.values())
        again = sum(len(each.tags) * len(each.contacts) for each in plan.reasserted)
        assert fixed + deferred + again >= total or open_contacts(plan)
        assert total >= fixed or self.replanned
        answered = sum(sum(each.effect.values()) for each in sent if each.readable)
        unclear = report.pairs.get(Outcome.IN_DOUBT, 0) + report.pairs.get(Outcome.HELD, 0)
        assert answered - unclear <= report.pairs.get(Outcome.APPLIED, 0) <= answered
        self._check_shortfalls(report)

    def _check_shortfalls(self, report: LocationReport) -> None:
        """What did not end well is told contact by contact, with why; and the journal tells it as the report does."""
        ending, told = ending_of(report), Counter[Outcome]()
        for each in ending.shortfalls:
            told[each.outcome] += len(each.contacts) * len(each.tags)
            assert each.why
        assert told == {each: number for each, number in report.pairs.items() if each not in ENDED_WELL}
        # where the disk failed there is no journal; whoever lost the lease writes into none
        with suppress(StateError), open_reader(self.url) as reader:
            found = reader.at(HERE).read_ending(report.run)
            assert found == ending or (found is None and (report.error or not report.run))


def one_by_one(directory: Path, carried: Mapping[str, Words], **more: Any) -> Scene:
    """A scene in which a contact a time is written, and nobody may read; contacts by short names, with their tags."""
    quiet: dict[str, Any] = {"options": plan_options(caps=Caps(contacts=1)), "in_flight": 1}
    contacts = (contact(text, tags) for text, tags in carried.items())
    return Scene(directory, *contacts, may_read=False, keeps_answers=True, latency_ms=0, **quiet | more)


ENDED_WELL = (Outcome.APPLIED, Outcome.NOOP, Outcome.SEEN)


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
    again = {(each.action, contact, tag) for each in plan.reasserted for contact in each.contacts for tag in each.tags}
    held = {
        (action, contact, tag)
        for each in plan.held
        if each.why == IN_DOUBT
        for contact in each.contacts
        for tag in each.tags
        for action in Action
    }
    return changes | ceilings | again | held


def open_contacts(plan: LocationPlan) -> set[ContactId]:
    """From whom whatever exact authority removes was approved."""
    return {contact for each in plan.deferrals if each.reason is DeferralReason.OPEN for contact in each.contacts}


def without_limits(options: PlanOptions = DEFAULT) -> PlanOptions:
    """No guard refuses: for scenes that are not about guards."""
    limits = replace(options.limits, max_removes_pct=None, empties_tag=False, shrink_pct=None, grow_pct=None)
    return replace(options, limits=limits)
