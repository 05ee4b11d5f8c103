"""A world in which people are pulled: what happens in it is decided by its seed. The real operations, from the files
to the requests, work on a virtual clock; beside pulls there are applies, drift, reverts, faults, deaths and rivals.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.events import Event
from reconciler.core.model.names import parse_instant
from reconciler.core.observing.refresh_rules import Method
from reconciler.core.planning.plan import Plan
from reconciler.operations.apply import ApplyRequest, apply_plan
from reconciler.operations.drift import DriftRequest, find_drift
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest, Reading
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.runs import make_revert_plan
from reconciler.operations.workspace import SilentListener, Workspace, open_session
from reconciler.planfile import plan_text
from reconciler.sandbox.access import Limits
from reconciler.sandbox.assumptions import Assumptions, DuplicateSearch, Merged
from reconciler.sandbox.world import World
from tests.fakes import InPlace
from tests.sandbox.faults import EVERYDAY, FaultPlan
from tests.simulation.people.crowd import HERE, NUMBER, Crowd, SetFile, make_row
from tests.simulation.place import ORIGIN, RUNS, Place, Trouble, Wire, token_of
from tests.simulation.process import AFTER, BEFORE, Fate, Process, ProcessClock
from tests.simulation.town import heed_deaths
from tests.simulation.virtual import VirtualClock, VirtualLoop, run

DAY_MS = 86_400_000
SETTINGS = (
    "guards: {empties_tag: false, odd_ids: false, max_removes_pct: 100, max_restored_pct: 100, shrink_pct: 100, "
    "grow_pct: 1000}\n"
)
GUARDS = ("max_unmatched_pct", "max_rematched_pct")
RARE = frozenset({"vanishes", "is_reordered", "gets_other_keys", "is_badly_imported"})


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot as it is kept."""

    contacts: tuple[str, ...]
    as_of: int


@dataclass
class Act(SilentListener):
    """A command that somebody ran, and everything of it that can be known from outside."""

    name: str
    kind: str
    sets: dict[str, SetFile]
    request: PullRequest = field(default_factory=PullRequest)
    fate: Fate | None = None
    method: Method | None = None
    waits_ms: int = 0
    key: str = ""
    began: int = 0
    ended: int = 0
    killed: bool = False
    met_its_fate: bool = False
    problem: ReconcilerError | None = None
    result: PullResult | None = None
    """Of a pull, as it was shown, or as it ended."""
    is_done: bool = False
    plan: Plan | None = None
    before: dict[str, Kept] = field(default_factory=dict)
    after: dict[str, Kept] = field(default_factory=dict)
    loaded: dict[str, Kept] | None = None
    """The snapshots when it read the manifests."""
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)

    @property
    def is_kept(self) -> bool:
        """Whether a pull came to its end, and keeps what it read."""
        return self.is_done and not self.request.dry_run and self.result is not None and not self.result.errors


@dataclass
class Mortal(Process):
    """Nothing that it does after its death is there afterwards."""

    on_death: Callable[[], None] = lambda: None

    def die(self) -> None:
        if self.alive:
            self.on_death()
        super().die()


class Life:
    """A world from its beginning to its end; `tell` plays it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.seed, self.directory = seed, directory
        self.chance = chance = random.Random(f"{seed}: people")
        # the pauses before a request is sent again are drawn from there
        random.seed(seed)
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(heed_deaths)
        self.clock = VirtualClock(self.loop)
        self.crowd = Crowd(chance)
        self.crm = World(HERE, self.crowd.contacts, assumptions=_assume(chance), custom_fields=[NUMBER])
        self.place = self._found()
        self.acts: list[Act] = []
        self.met: Counter[tuple[str, str]] = Counter()
        self.touched: set[str] = set()
        """Contacts with tags that a person changed."""
        self.key = chance.choice(["", "a key of sixteen letters"])
        self.in_files = chance.random() < 0.5
        self.manifests = directory / "manifests"
        self.snapshots = self.manifests / ".resolved"
        self.state = directory / "state.db"
        self.sets = {f"s{nth}": self._set(f"s{nth}") for nth in range(chance.choice([1, 1, 2]))}
        self.manifests.mkdir()
        (self.manifests / "reconciler.yaml").write_text(SETTINGS)
        self.write()

    def _found(self) -> Place:
        while True:
            place = Place(self.crm, self.clock, random.Random(self.chance.random()), Limits(requests=100))
            if not place.agency:
                return place

    def _set(self, name: str) -> SetFile:
        rows = tuple(self.crowd.row(self.crm) for _ in range(self.chance.randrange(3, 9)))
        return SetFile(name, self._keys(), rows, self.chance.choice(["", "", "24h"]),
                       may_be_empty=self.chance.random() < 0.4)  # fmt: skip

    def _keys(self) -> tuple[str, ...]:
        return self.chance.choice(
            [("email",), ("email",), ("field",), ("phone",), ("email", "phone"), ("phone", "email"), ("field", "email")]
        )

    def write(self) -> None:
        """The manifests and the files, as they are by now."""
        texts = "".join(each.manifest() for each in self.sets.values())
        (self.manifests / "acme.yaml").write_text(f"location: {HERE}\ncontact_sets:\n{texts}")
        for each in self.sets.values():
            path = self.manifests / f"{each.name}.csv"
            path.unlink(missing_ok=True)
            if each.exists:
                path.write_text(each.text())

    def tell(self) -> None:
        for _ in range(self.chance.choice([2, 3, 4, 5])):
            self.befall()
            for _ in range(self.chance.choice([0, 1, 2])):
                self.edit()
            for _ in range(self.chance.choice([0, 1, 1, 2])):
                self.meet("change", self.crowd.change(self.crm, self.clock.now()))
            self.episode()
            self.pass_ms(self.chance.choice([1_000, 30_000, 400_000, 3_600_000, 30 * 3_600_000, 8 * DAY_MS]))
        self.end()

    def meet(self, what: str, which: str) -> None:
        self.met[what, which] += 1

    def befall(self) -> None:
        chance, place = self.chance, self.place
        trouble = Trouble(
            FaultPlan(seed=chance.randrange(1_000_000), rate=chance.choice([0.0, 0.2, 0.5]), kinds=EVERYDAY),
            mischief=chance.choice([0.0, 0.0, 0.1]),
            latency_ms=chance.choice([(20, 20), (100, 2_500)]),
        )
        # that a contact is not there is a lie which nobody can tell from the truth: not here
        place.trouble, place.network.plan = trouble, trouble.faults

    def edit(self) -> None:
        """Somebody edits a file."""
        chance, name = self.chance, self.chance.choice(sorted(self.sets))
        old = self.sets[name]
        rows = list(old.rows)
        what = chance.choice(["joins", "joins", "leaves", "is_twice", "vanishes", "is_empty", "is_badly_imported",
                              "gets_other_keys", "is_reordered", "is_deleted"])  # fmt: skip
        if what in RARE and chance.random() < 0.5:
            what = "joins"
        new = replace(old, exists=True)
        match what:
            case "joins":
                rows.append(self.crowd.row(self.crm))
            case "leaves":
                rows = rows[1:]
            case "is_twice":
                rows += rows[:1]
            case "is_badly_imported":
                rows += [make_row(chance, self.crowd.person()) for _ in range(7)]
            case "is_reordered":
                chance.shuffle(rows)
            case "gets_other_keys":
                new = replace(new, keys=self._keys())
            case "vanishes":
                new = replace(new, exists=False)
            case "is_empty" | "is_deleted":
                rows = rows if what == "is_deleted" and len(rows) > 1 else []
        if what != "is_empty" and not rows:
            rows = [self.crowd.row(self.crm)]
        self.sets = self.sets | {name: replace(new, rows=tuple(rows))}
        self.meet("edit", what)
        self.write()

    def episode(self) -> None:
        acts: dict[Callable[[], None], float] = {
            self.pulls: 6, self.applies: 2, self.pulls_beside: 2, self.drifts: 1, self.reverts: 0.7, self.is_torn: 0.5,
            self.has_another_key: 0.3,
        }  # fmt: skip
        self.chance.choices(list(acts), list(acts.values()))[0]()

    def pulls(self) -> None:
        self.execute(self.pull(fate=self.fate()), others=[self.hand()])
        if self.chance.random() < 0.4:
            self.applies()

    def pull(self, **more: Any) -> Act:
        chance = self.chance
        request = PullRequest(
            sets=(chance.choice(sorted(self.sets)),) if chance.random() < 0.2 else (),
            full=chance.random() < 0.15,
            dry_run=chance.random() < 0.1,
            **(self.lifted() if chance.random() < 0.4 else {}),
        )
        return self.act("pull", request=request, **more)

    def lifted(self) -> dict[str, Any]:
        return {"allow": tuple(f"{guard}:set={name}" for guard in GUARDS for name in self.sets), "reason": "it is so"}

    def act(self, kind: str, **more: Any) -> Act:
        made = Act(RUNS[len(self.acts)], kind, self.sets, key=self.key, **more)
        self.acts.append(made)
        return made

    def fate(self) -> Fate | None:
        chance = self.chance
        if chance.random() < 0.6:
            return None
        what = chance.choice(["send", "send", "send", "show"])
        return Fate(what, BEFORE if what == "show" else chance.choice([BEFORE, AFTER]), chance.choice([0, 0, 1, 2, 3])
                    if what == "send" else 0)  # fmt: skip

    def applies(self) -> None:
        method = self.chance.choice([None, None, Method.GET, Method.SEARCH])
        fate = self.fate() if self.chance.random() < 0.5 else None
        self.execute(self.act("apply", method=method, fate=fate), others=[self.hand()])

    def pulls_beside(self) -> None:
        """Two at once: the lease is for one of them; one may stand still for longer than it lasts."""
        chance = self.chance
        frozen = Fate("send", chance.choice([BEFORE, AFTER]), 0, chance.choice([20_000, 200_000]))
        fate = frozen if chance.random() < 0.4 else None
        pull = self.pull(fate=fate)
        pull.request = replace(pull.request, lock_timeout_ms=chance.choice([0, 120_000]))
        other = self.act("apply", waits_ms=chance.choice([0, 120_000]))
        both = [pull, other] if chance.random() < 0.6 else [other, pull]
        self.execute(*both, apart_ms=chance.choice([0, 50, 1_000]))

    def drifts(self) -> None:
        for _ in range(2):
            who = self.chance.choice(self.crowd.living(self.crm))
            tag = self.chance.choice(["zz", *(each.tag for each in self.sets.values())])
            change = self.chance.choice([self.crm.add, self.crm.remove])
            change(who, [tag], now=self.clock.now(), by="human")
            self.touched.add(who)
        self.execute(self.act("drift", method=self.chance.choice([None, Method.SEARCH, Method.GET])))

    def reverts(self) -> None:
        self.execute(self.act("revert"))
        # what a run put back may be anybody's
        self.touched |= {each.contact for each in self.crm.transitions if each.by == self.acts[-1].name}

    def is_torn(self) -> None:
        """A pull that died between its two files: the ids are new, the facts of before."""
        facts = sorted(self.snapshots.glob("*/*.json"))
        if not facts:
            return self.pulls()
        old = {path: path.read_bytes() for path in facts}
        self.execute(self.pull())
        for path, content in old.items():
            path.write_bytes(content)
        self.meet("files", "torn")
        self.applies()
        self.execute(self.pull())
        # what is damaged is removed by a person, who then pulls anew
        for path in facts:
            if path.stem not in self.kept():
                path.with_suffix(".txt").unlink()
                path.unlink()
        return None

    def has_another_key(self) -> None:
        self.key = self.chance.choice(["", "another key of many letters", "a key of sixteen letters"])
        self.meet("key", "changed")
        self.pulls()

    async def hand(self) -> None:
        """Somebody who edits people while we are at work."""
        for _ in range(self.chance.choice([0, 0, 1, 2])):
            await self.clock.sleep(self.chance.choice([60, 500, 4_000]))
            self.meet("change", self.crowd.change(self.crm, self.clock.now()))

    def pass_ms(self, milliseconds: int) -> None:
        run(self.clock.sleep(milliseconds), self.loop)

    # how a command is run

    def execute(self, *acts: Act, apart_ms: int = 0, others: Iterable[Coroutine[Any, Any, None]] = ()) -> None:
        run(self._together(acts, apart_ms, others), self.loop)

    async def _together(self, acts: Iterable[Act], apart_ms: int, others: Iterable[Coroutine[Any, Any, None]]) -> None:
        meanwhile = [asyncio.ensure_future(each) for each in others]
        await asyncio.gather(*(self._begin(each, nth * apart_ms) for nth, each in enumerate(acts)))
        for each in meanwhile:
            each.cancel()

    async def _begin(self, act: Act, after_ms: int) -> None:
        await self.clock.sleep(after_ms)
        taken: list[dict[Path, bytes]] = []
        process = Mortal(act.name, self.clock, act.fate, on_death=lambda: taken.append(self._files()))
        act.began, act.before = self.clock.now(), self.kept()
        try:
            await process.live(self._perform(act, process))
        except ReconcilerError as error:
            act.problem = error
        if taken:
            # what it did on its way out, it did not
            for path in self._files():
                path.unlink()
            for path, content in taken[0].items():
                path.write_bytes(content)
        act.killed, act.met_its_fate = not process.alive, process.met_its_fate
        act.ended, act.after = self.clock.now(), self.kept()

    def _files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(self.directory.glob("state.db*"))}

    async def _perform(self, act: Act, process: Process) -> None:
        workspace = self._workspace(act, process)
        match act.kind:
            case "pull":
                await self._pull(act, workspace, process)
            case "revert":
                reverted = await make_revert_plan(workspace, "last", PlanRequest(effort=0))
                await apply_plan(reverted, ApplyRequest("revert", recovery_beside=self.directory / "recovery"))
            case "drift":
                session = open_session(workspace)
                await find_drift(session, DriftRequest(reading=Reading(act.method)))
            case _:
                session = open_session(workspace)
                act.loaded = self.kept()
                planned = await make_plan(session, PlanRequest(reading=Reading(act.method), effort=0))
                act.plan = planned.plan
                (self.directory / f"{act.name}.plan").write_text(plan_text(planned.plan))
                sending = ApplyRequest(recovery_beside=self.directory / "recovery", lock_timeout_ms=act.waits_ms)
                await apply_plan(planned, sending)

    async def _pull(self, act: Act, workspace: Workspace, process: Process) -> None:
        def show(result: PullResult) -> None:
            act.result = result
            process.at("show", BEFORE)

        act.result = await pull_people(open_session(workspace, unpulled=True), act.request, show)
        act.is_done = True

    def _workspace(self, act: Act, process: Process) -> Workspace:
        environment = {
            "HIGHLEVEL_TOKEN": token_of(act.name),
            "RECONCILER_API_BASE_URL": ORIGIN,
            "RECONCILER_STATE": f"sqlite:///{self.state}",
        }
        environment |= {"RECONCILER_SNAPSHOTS": str(self.snapshots)} if self.in_files else {}
        environment |= {"RECONCILER_KEY": act.key} if act.key else {}
        return Workspace(
            self.manifests,
            environment=environment,
            listener=act,
            clock=ProcessClock(process),
            transport=Wire(self.place, process),
            start_worker=InPlace,
        )

    # what is kept, read without the product

    def kept(self) -> dict[str, Kept]:
        """The snapshots, by set; none of two files that do not belong together."""
        return dict(self._kept_in_files() if self.in_files else self._kept_in_state())

    def _kept_in_files(self) -> Iterator[tuple[str, Kept]]:
        for path in sorted(self.snapshots.glob(f"{HERE}/*.txt")):
            # the ids are written first
            described = path.with_suffix(".json")
            facts = json.loads(described.read_text()) if described.exists() else {"contacts_digest": ""}
            if facts["contacts_digest"] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}":
                yield path.stem, Kept(tuple(path.read_text().split()), parse_instant(facts["as_of"]))

    def _kept_in_state(self) -> Iterator[tuple[str, Kept]]:
        if not self.state.exists():
            return
        with closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as database:
            for name, as_of, packed in database.execute("SELECT name, as_of, contacts FROM snapshots"):
                yield name, Kept(tuple(json.loads(zlib.decompress(packed))), as_of)

    # the ending

    def end(self) -> None:
        """The faults stop, the index shows what is there; a pull, a second with nothing to do, and all is applied."""
        self.place.trouble = Trouble()
        self.place.network.plan = Trouble().faults
        assumed = self.crm.assumptions
        # what is not read again hides or is gone
        full = bool(assumed.search_flickers_ms or assumed.search_ignores_cursor) or any(
            each.deleted is not None for each in self.crm.contacts.values()
        )
        self.crm.assumptions = replace(self.crm.assumptions, search_flickers_ms=0, search_ignores_cursor=False)
        self.sets = {name: replace(each, exists=True, rows=each.rows or (self.crowd.row(self.crm),))
                     for name, each in self.sets.items()}  # fmt: skip
        self.write()
        self.pass_ms(1_000_000)
        self.place.settle()
        for reads_all in (full, False):
            self.execute(self.act("pull", request=PullRequest(full=reads_all, **self.lifted())))
        for method in (Method.GET, Method.GET):
            self.execute(self.act("apply", method=method))
            # who reads at once where reads lag takes what was sent for undone
            self.pass_ms(10_000)

    def close(self) -> None:
        self.loop.close()


def _assume(chance: random.Random) -> Assumptions:
    """What nobody can be sure of, one way or the other."""
    either = chance.choice
    return Assumptions(
        search_lag_ms=either([0, 3_000, 3_000, 240_000]),
        search_flickers_ms=either([0, 0, 7_000, 61_000]),
        read_lag_ms=either([0, 0, 5_000]),
        search_ignores_cursor=either([False, False, False, True]),
        merged_row=either(list(Merged)),
        merged_reads_as_survivor=either([True, False]),
        merging_keeps_addresses=either([True, True, False]),
        read_without_location=either([True, False]),
        missing_contact_status=either([400, 404, 422]),
        missing_contact_message=either(["Contact not found", "contact is deleted"]),
        additional_as_objects=either([True, False]),
        additional_are_sought=either([True, False]),
        email_filter_finds_nothing=either([True, False, False]),
        phone_filter_finds_nothing=either([True, False]),
        duplicate_search=either(list(DuplicateSearch)),
        lowercases_emails=either([True, False]),
        search_row_with_nulls=either([True, False]),
        retry_after=either([True, False]),
    )
