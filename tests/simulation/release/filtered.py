"""Worlds in which a contact set is a filter: pulls and applies, people who edit fields meanwhile, an index that lags,
flickers and does not end, faults, pulls that are killed, filters that become others. What holds in each is judged by
what the location answered: leaves, enters, gives, ends.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.outcome import Action
from reconciler.operations.apply import ApplyRequest, apply_plan
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_reader
from tests.fakes import FakeClock, InPlace
from tests.sandbox.faults import EVERYDAY, FaultPlan, Network
from tests.sandbox.transport import SandboxTransport

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
SET, TAG = "locals", "local"
CITIES = ("Berlin", "Bern")
PEOPLE = [ContactId(f"p{number:03d}" * 5) for number in range(8)]
LAG_MS = 300_000
"""The index is never further behind, as the contract says."""
SETTINGS = (
    "guards: {empties_tag: false, max_removes_pct: 100, max_adds_pct: 1000, max_restored_pct: 100, shrink_pct: 100, "
    "grow_pct: 1000}\n"
)


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Seen:
    """What the location answered to the search of one pull."""

    city: str
    pages: dict[str, tuple[int, int, list[ContactId], int]] = field(default_factory=dict)
    """By the cursor that was asked for: when it left, when it was answered, who came, how many were counted."""

    @property
    def shown(self) -> set[ContactId]:
        return {who for _, _, came, _ in self.pages.values() for who in came}

    @property
    def began(self) -> int:
        return min(sent for sent, _, _, _ in self.pages.values())

    @property
    def ended(self) -> int:
        return max(answered for _, answered, _, _ in self.pages.values())

    @property
    def is_complete(self) -> bool:
        """Whether everybody that was counted came once, on pages that all counted alike, and the last one was empty."""
        came = [who for _, _, page, _ in self.pages.values() for who in page]
        counts = {total for _, _, _, total in self.pages.values()}
        last = max(self.pages.values(), default=(0, 0, [PEOPLE[0]], 0))
        return counts == {len(came)} and len(set(came)) == len(came) and not last[2]


class Wire(httpx.AsyncBaseTransport):
    """Keeps what is answered to searches; before a request somebody may edit people, or the process die."""

    def __init__(self, world: Filtered) -> None:
        self._world = world
        self._inner = SandboxTransport(
            world.network, now=world.clock.now, sleep=world.clock.sleep_seconds, latency_ms=world.latency_ms
        )
        self.seen = Seen("")
        self.dies_at: int | None = None
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.asked == self.dies_at:
            raise Killed
        self.asked += 1
        self._world.meddle()
        body, sent = await request.aread(), self._world.clock.now()
        response = await self._inner.handle_async_request(request)
        if request.url.path == "/contacts/search" and b"filters" in body and response.status_code == 200:
            content = await response.aread()
            self._keep(json.loads(body), content, sent)
            return httpx.Response(200, headers=response.headers, content=content)
        return response

    def _keep(self, asked: dict[str, object], content: bytes, sent: int) -> None:
        try:
            answer = json.loads(content)
            came, total = [ContactId(row["id"]) for row in answer["contacts"]], answer["total"]
        except (ValueError, KeyError, TypeError):
            return
        self.seen.pages[json.dumps(asked.get("searchAfter"))] = (sent, self._world.clock.now(), came, total)


class Filtered:
    """A world from its beginning to its end; `tell` plays it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = chance = random.Random(f"{seed}: filtered")
        # the pauses before a request is sent again are drawn from there
        random.seed(seed)
        self.directory, self.clock = directory, FakeClock()
        self.city = CITIES[0]
        self.latency_ms = chance.choice([20, 100, 1_500])
        contacts = [Contact(who, HERE, person=_living_in(chance.choice(CITIES))) for who in PEOPLE]
        self.crm = World(HERE, contacts, assumptions=_assume(chance))
        self.network = Network(App(self.crm))
        self.meddles = 0.0
        self.met: Counter[tuple[str, str]] = Counter()
        self.scans: list[Seen] = []
        """Of the pulls that were kept."""
        self.found: list[str] = []
        (directory / "reconciler.yaml").write_text(SETTINGS)
        self.write()

    def write(self) -> None:
        (self.directory / "acme.yaml").write_text(
            f"location: {HERE}\ncontact_sets:\n  {SET}:\n    contacts: {{filter: {{city: {{eq: {self.city}}}}}}}\n"
            f"    tags: [{TAG}]\n    allow_empty: true\n"
        )

    def tell(self) -> None:
        chance = self.chance
        for _ in range(chance.choice([4, 6, 8])):
            rate = chance.choice([0.0, 0.0, 0.3])
            self.network.plan = FaultPlan(seed=chance.randrange(1_000_000), rate=rate, kinds=EVERYDAY)
            self.meddles = chance.choice([0.0, 0.0, 0.3])
            for _ in range(chance.choice([0, 1, 1, 2])):
                self.move()
            if chance.random() < 0.1:
                self.change_filter()
            self.pull(dies_at=chance.choice([None, None, None, None, 1, 2]))
            if chance.random() < 0.4:
                self.apply()
            self.clock.ms += chance.choice([1_000, 60_000, 200_000, 280_000, 310_000, 3_600_000])
        self.calm()

    def meddle(self) -> None:
        if self.chance.random() < self.meddles:
            self.move()

    def move(self) -> None:
        """Somebody moves to another city, or back."""
        who = self.chance.choice(PEOPLE)
        self.crm.change_person(who, _living_in(self.chance.choice(CITIES)), now=self.clock.now())

    def change_filter(self) -> None:
        self.city = CITIES[1 - CITIES.index(self.city)]
        self.met["filter", "changed"] += 1
        self.write()

    def members(self) -> tuple[ContactId, ...]:
        url = f"sqlite:///{self.directory}/state.db"
        if not (self.directory / "state.db").exists():
            return ()
        with open_reader(url) as reader:
            snapshots = reader.at(HERE).read_snapshots()
        return next((snapshot.contacts for name, snapshot in snapshots.items() if name == SET), ())

    def _workspace(self, wire: Wire) -> Workspace:
        environment = {"HIGHLEVEL_TOKEN": DEMO_TOKEN, "RECONCILER_STATE": f"sqlite:///{self.directory}/state.db"}
        return Workspace(self.directory, {}, environment, clock=self.clock, transport=wire, start_worker=InPlace)

    def pull(self, dies_at: int | None = None) -> None:
        before, wire = self.members(), Wire(self)
        wire.seen, wire.dies_at = Seen(self.city), dies_at

        async def pull() -> PullResult:
            session = open_session(self._workspace(wire), pulls=True)
            return await pull_people(session, PullRequest(create_state=True), lambda result: None)

        try:
            result = self.clock.run(pull())
        except Killed:
            self.met["pull", "killed"] += 1
            result = None
        is_kept = result is not None and result.exit_code == 0
        after = self.members()
        if not is_kept:
            self.met["pull", "not kept"] += 1
            self._check_untouched(before, after)
            return
        self.met["scan", "complete" if wire.seen.is_complete else "not complete"] += 1
        self._judge(set(before), set(after), wire.seen)
        self.scans.append(wire.seen)

    def _check_untouched(self, before: tuple[ContactId, ...], after: tuple[ContactId, ...]) -> None:
        if before != after:
            self.found.append(f"leaves: a pull that failed made {before} members {after}")

    def _judge(self, before: set[ContactId], after: set[ContactId], scan: Seen) -> None:
        for who in sorted(after - before - scan.shown):
            self.found.append(f"enters: {who} joined, and no search showed it")
        for who in sorted(scan.shown - after):
            self.found.append(f"leaves: {who} is not in the set, and the search showed it")
        for who in sorted(before - after):
            self.met["contact", "left"] += 1
            if not (scan.is_complete and any(self._misses(earlier, who, scan) for earlier in self._unbroken(who))):
                self.found.append(
                    f"leaves: {who} left before two complete searches, further apart than the lag, missed it"
                )

    def _unbroken(self, who: ContactId) -> Iterator[Seen]:
        """The searches before, back to the last one that showed the contact, or was for another filter."""
        for scan in reversed(self.scans):
            if who in scan.shown or scan.city != self.city:
                return
            yield scan

    @staticmethod
    def _misses(earlier: Seen, who: ContactId, later: Seen) -> bool:
        return earlier.is_complete and who not in earlier.shown and later.began - earlier.ended > LAG_MS

    def apply(self) -> None:
        """Gives the tag to the members, and takes it from nobody else but those that left."""
        wire, members, since = Wire(self), set(self.members()), len(self.crm.transitions)
        self.meddles = 0.0

        async def apply() -> None:
            planned = await make_plan(open_session(self._workspace(wire)), PlanRequest(create_state=True, effort=0))
            await apply_plan(planned, ApplyRequest(recovery_beside=self.directory / "recovery"))

        try:
            self.clock.run(apply())
        except ReconcilerError:
            self.met["apply", "failed"] += 1
        for change in self.crm.transitions[since:]:
            self.met["tag", str(change.action)] += 1
            if (change.contact in members) is not (change.action is Action.ADD):
                self.found.append(
                    f"gives: {change.action} of {change.tag} at {change.contact}, of members {sorted(members)}"
                )

    def calm(self) -> None:
        """The faults stop, and the index is as it should be: three pulls later the set is who meets the filter."""
        self.network.plan = FaultPlan()
        self.meddles = 0.0
        self.crm.assume(replace(self.crm.assumptions, search_flickers_ms=0, search_ignores_cursor=False))
        for _ in range(3):
            self.clock.ms += LAG_MS + 100_000
            self.pull()
        true = [who for who in PEOPLE if self.crm.contacts[who].person.details["city"] == self.city]
        if list(self.members()) != true:
            self.found.append(f"ends: {list(self.members())} are members, and {true} meet the filter")

    def violations(self) -> Iterator[str]:
        yield from self.found


def _living_in(city: str) -> Person:
    return Person(details={"city": city})


def _assume(chance: random.Random) -> Assumptions:
    return Assumptions(
        search_lag_ms=chance.choice([0, 3_000, 12_000, 240_000]),
        search_flickers_ms=chance.choice([0, 5_000, 61_000, 400_000]),
        search_ignores_cursor=chance.random() < 0.1,
        index_keeps_case=chance.random() < 0.5,
    )
