"""A run on a stage: the real shell, client and SQLite state, the sandbox for a network, and a clock of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.apply import ApplyOptions, Services, Stop, apply
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.events import Event
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.lease import Holder
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.guard_sentences import approve
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, Plan, PlanOptions, combine_plans
from reconciler.core.planning.reversal import Reversal, read_reversal
from reconciler.core.planning.revert import plan_revert
from reconciler.highlevel.client import HighLevel
from reconciler.journalled_run import RecoveryJournal
from reconciler.operations.runs import read_log
from reconciler.ports import StateStore
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.world import Contact
from reconciler.sandbox.world import World as Emulated
from reconciler.store import open_reader, open_store
from reconciler.wire import BulkUpdate
from tests.build import HERE, plan_options
from tests.fakes import START, FakeClock, a_holder
from tests.sandbox.transport import SandboxTransport

Hook = Callable[[int], None]


def who(text: str) -> str:
    """Names of four letters as ids that HighLevel could have issued."""
    return " ".join(name * 5 for name in text.split())


@dataclass
class Watched:
    """A writer that counts what is sent, and lets a test act before and after a request."""

    api: HighLevel
    before: Hook
    after: Hook
    clock: FakeClock
    takes_ms: int
    prepare: Callable[[], None]
    sent: list[BulkUpdate] = field(default_factory=list)

    async def ready(self) -> None:
        self.prepare()
        await self.api.ready()

    async def update_tags(self, update: BulkUpdate) -> Any:
        self.sent.append(update)
        self.before(len(self.sent))
        await self.clock.sleep(self.takes_ms)
        rows = await self.api.update_tags(update)
        self.after(len(self.sent))
        return rows


@dataclass
class Scene:
    """One location, its state, and the contacts as the emulated API has them."""

    directory: Path
    carried: Mapping[str, str]
    clock: FakeClock = field(default_factory=FakeClock)
    before: Hook = lambda nth: None
    after: Hook = lambda nth: None
    prepare: Callable[[], None] = lambda: None
    stop: Stop = field(default_factory=Stop)
    hear: Callable[[Event], None] = lambda event: None
    takes_ms: int = 0
    in_flight: int = 1
    options: PlanOptions = plan_options(caps=Caps(contacts=1))
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        since = Instant(START - 86_400_000)
        contacts = [
            Contact(ContactId(who(name)), HERE, frozenset(map(Tag, text.split())), since, since, None)
            for name, text in self.carried.items()
        ]
        self.world = Emulated(HERE, contacts)
        self.sent: list[BulkUpdate] = []

    @property
    def url(self) -> str:
        return f"sqlite:///{self.directory / 'state.db'}"

    def tags(self, name: str) -> set[str]:
        return set(self.world.tags_of(ContactId(who(name))))

    def _listen(self, event: Event) -> None:
        self.told.append(event)
        self.hear(event)

    def plan(self, desired: Desired, location: LocationId = HERE) -> Plan:
        with open_reader(self.url) as reader:
            state = reader.at(location).load_state()
        return combine_plans(
            [plan_location(desired, state, self.options)], as_of=self.clock.now(), manifests="manifests"
        )

    def shell(self, writer: Watched, store: StateStore) -> Services:
        emergency = RecoveryJournal(self.directory / "plan.json")
        return Services(lambda _: writer, store, self.clock, self._listen, emergency, stop=self.stop)

    def log(self, run: str) -> RunLog:
        with open_reader(self.url) as state:
            reader = state.at(HERE)
            record = next(each for each in reader.read_runs() if each.id == run)
            return read_log(state, record)

    def runs(self) -> Sequence[RunRecord]:
        with open_reader(self.url) as reader:
            return reader.at(HERE).read_runs()

    def known(self, name: str) -> ContactState:
        with open_reader(self.url) as reader:
            return reader.at(HERE).load_state().observed[ContactId(who(name))]

    def others(self, name: str, *, add: str = "", remove: str = "") -> None:
        """Somebody works by hand."""
        contact, now = ContactId(who(name)), self.clock.now()
        self.world.add(contact, add.split(), now=now, by="somebody")
        self.world.remove(contact, remove.split(), now=now, by="somebody")

    def reversal(self, run: str) -> Reversal:
        with open_reader(self.url) as reader:
            ids = [each.id for each in reader.at(HERE).read_runs()]
        return read_reversal(self.log(run), [self.log(each) for each in ids[ids.index(run) + 1 :]])

    def plan_revert(self, run: str, desired: Desired) -> LocationPlan:
        with open_reader(self.url) as reader:
            return plan_revert(self.reversal(run), desired, reader.at(HERE).load_state(), self.options)

    def revert(self, run: str, desired: Desired) -> LocationReport:
        plan = combine_plans([self.plan_revert(run, desired)], as_of=self.clock.now(), manifests="manifests")
        return self.run(desired, plan=plan, reversals={HERE: self.reversal(run)})

    def run(
        self, desired: Desired, *, plan: Plan | None = None, holder: Holder | None = None, **more: Any
    ) -> LocationReport:
        """One apply; `more` goes into its ApplyOptions."""
        with open_store(self.url) as store:
            return self.run_on(store, desired, plan=plan, holder=holder, **more)

    def run_on(
        self,
        store: StateStore,
        desired: Desired,
        *,
        plan: Plan | None = None,
        holder: Holder | None = None,
        **more: Any,
    ) -> LocationReport:
        mission = ApplyOptions(
            {HERE: desired}, {HERE: self.options}, holder or a_holder(), **{"in_flight": self.in_flight} | more
        )
        approved = approve(plan or self.plan(desired))

        async def act() -> tuple[LocationReport, ...]:
            transport = SandboxTransport(App(self.world), now=self.clock.now)
            async with HighLevel("https://api.example", token=DEMO_TOKEN, transport=transport) as api:
                writer = Watched(api, self.before, self.after, self.clock, self.takes_ms, self.prepare)
                self.sent = writer.sent
                return await apply(approved, mission, self.shell(writer, store))

        (report,) = self.clock.run(act())
        return report
