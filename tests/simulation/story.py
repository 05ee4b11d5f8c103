"""What happens in a world, all of it decided by its seed: commits, runs, faults, deaths, people, workflows; then calm,
in which the world has to converge.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.names import Instant, LocationId, Tag
from reconciler.core.model.settings import GuardLimits, Reassert
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.plan import PlanOptions
from reconciler.core.planning.situation import Reassertion
from tests.build import plan_options
from tests.sandbox.faults import EVERYDAY, FaultPlan
from tests.simulation.declared import FOREIGN, PEOPLE, TAGS, Rules, write
from tests.simulation.place import Trouble
from tests.simulation.process import AFTER, BEFORE, Fate
from tests.simulation.program import Run
from tests.simulation.proposing import forge
from tests.simulation.town import Town

DAY_MS = 86_400_000
NO_LIMITS = GuardLimits(
    max_removes_pct=None,
    max_restored_pct=None,
    max_first_adds=None,
    empties_tag=False,
    odd_ids=False,
    shrink_pct=None,
    grow_pct=None,
)
POINTS = ("send", "send", "send", "record_intent", "record_intent", "record_answer", "record_answer", "begin_run",
          "end_run", "save_states", "acquire_lease", "release_lease", "load_state", "withdraw_batch",
          "renew_lease")  # fmt: skip


class Story:
    """A world from its beginning to its end; `tell` plays it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.whim = random.Random(f"{seed}: what a person asks for")
        limit = self.chance.choice([2, 5, 100])
        self.town = Town(directory, self.chance, locations=self.chance.choice([1, 1, 1, 2]), limit=limit)
        self.rules = Rules(once=self.chance.random() < 0.5, inert=self.chance.random() < 0.5)
        self.rate = Rate(per_window=limit)
        self.caps = Caps(self.chance.choice([2, 3, 500, 500]), self.chance.choice([2, 50, 50, 50]))
        self.mode = self.chance.choice(list(Reassert))
        self.saved: Run | None = None

    def tell(self) -> None:
        for nth in range(self.chance.choice([1, 2, 2, 3])):
            self.commit(always=nth == 0)
            self.episode(nth)
            self.town.pass_ms(self.chance.choice([1_000, 30_000, 100_000, 3_600_000]))
        self.calm()
        self.converge()

    def options(self) -> PlanOptions:
        now = self.town.clock.now()
        again = Reassertion(self.mode, Instant(now - 3_600_000))
        return plan_options(caps=self.caps, rate=self.rate, limits=NO_LIMITS, reassertion=again, effort=0, now=now)

    def commit(self, *, always: bool) -> None:
        """Other manifests, perhaps; once in a while a tag gets another name."""
        if not always and self.chance.random() < (0.8 if self.saved else 0.4):
            return
        if not always and self.chance.random() < 0.2:
            self.rules = replace(self.rules, renamed=True)
        for location in self.town.places:
            self.town.commit(location, write(self.chance, PEOPLE, self.rules))

    def episode(self, nth: int) -> None:
        for location in self.town.places:
            self.town.places[location].befall(self.trouble())
        acts: dict[Callable[[], None], float] = {
            self.one: 5,
            self.rivals: 2,
            self.saves: 3,
            self.approves: 1,
            self.undoes: 1,
        }
        act = self.late if self.saved else self.chance.choices(list(acts), list(acts.values()))[0]
        act()

    def trouble(self) -> Trouble:
        chance = self.chance
        rate = chance.choice([0.0, 0.3, 0.6])
        return Trouble(
            faults=FaultPlan(seed=chance.randrange(1_000_000), rate=rate, kinds=EVERYDAY),
            mischief=chance.choice([0.0, 0.0, 0.15]),
            latency_ms=chance.choice([(20, 20), (100, 2_500)]),
            consumes_after_ms=chance.choice([None, 0, 1_500, 40_000]),
        )

    def fate(self) -> Fate | None:
        chance = self.chance
        if chance.random() < 0.55:
            return None
        frozen = chance.choice([0, 0, 0, 20_000, 150_000])
        what = "send" if frozen else chance.choice(POINTS)
        return Fate(what, chance.choice([BEFORE, AFTER]), chance.choice([0, 0, 1, 2, 3]), frozen)

    @property
    def reads_lag(self) -> bool:
        return any(place.crm.assumptions.read_lag_ms for place in self.town.places.values())

    def run(self, **more: object) -> Run:
        refresh = self.chance.choice(["", "", "", "", "get", "search", "search"])
        if refresh == "get" and self.reads_lag:
            # a refresh by id is taken for current; nobody knows whether the API's is
            refresh = "search"
        asked = Selection(retry_held=self.whim.random() < 0.25)
        return self.town.new_run(replace(self.options(), selection=asked), refresh=refresh, fate=self.fate(), **more)

    def one(self) -> None:
        self.town.execute(self.run(), others=self.people())

    def rivals(self) -> None:
        """Two at once: the lease is for one of them."""
        first, second = self.run(), self.run(waits_ms=self.chance.choice([0, 120_000]))
        self.town.execute(first, second, apart_ms=self.chance.choice([0, 300, 5_000]), others=self.people())

    def saves(self) -> None:
        """A plan is put up for review, while somebody else applies what is there."""
        self.saved = self.run(only_plans=True)
        self.town.execute(self.saved, self.run(), apart_ms=10_000, others=self.people())
        if self.saved.plan is None:
            self.saved = None

    def late(self) -> None:
        """The reviewed plan, if it still is of the manifests; if its applier dies, the same file once more, and where
        somebody forgets that it was applied.
        """
        saved, self.saved = self.saved, None
        if saved is None or saved.declared != {location: self.town.wanted(location) for location in self.town.places}:
            return self.one()
        file = saved.file()
        if self.whim.random() < 0.4:
            file = forge(file)
        first = self.applier(saved, file)
        if self.whim.random() < 0.6:
            first.fate = Fate(
                self.whim.choice(["send", "record_answer"]), self.whim.choice([BEFORE, AFTER]), self.whim.choice([0, 1])
            )
        self.town.execute(first, others=self.people())
        if first.killed and self.whim.random() < 0.7:
            self.in_between()
        if first.killed or self.chance.random() < 0.5:
            self.town.execute(self.applier(saved, file), others=self.people())
        return None

    def applier(self, saved: Run, file: bytes) -> Run:
        """Who applies a file that was made to retry what is held gives leave to that; a file alone does not."""
        found = self.run(saved=file, honest=saved.plan)
        if saved.retries:
            found.options = replace(found.options, selection=saved.options.selection)
        return found

    def approves(self) -> None:
        """Somebody's run dies, and what it left is to be tried once more: a digest is approved, and sent as often as
        its appliers die, though what they tried is used up in between.
        """
        dies = Fate("record_answer", BEFORE, 0)
        self.town.execute(self.town.new_run(self.options(), fate=dies), others=self.people())
        asked = Selection(retry_held=True)
        approval = self.town.new_run(replace(self.options(), selection=asked), only_plans=True)
        self.town.execute(approval)
        for _ in range(3):
            options = replace(self.options(), selection=asked)
            self.town.execute(self.town.new_run(options, approval=approval, fate=dies))
            self.town.pass_ms(200_000)
            if self.whim.random() < 0.7:
                self.use_up(TAGS)

    def undoes(self) -> None:
        """A commit, a run of it, the commit before once more, and the run undone; then as every night."""
        before = {location: self.town.wanted(location) for location in self.town.places}
        self.commit(always=True)
        mistake = self.run()
        self.town.execute(mistake, others=self.people())
        for location, declared in before.items():
            self.town.commit(location, declared)
        if not mistake.reports:
            return self.one()
        for location in self.town.places:
            if (report := mistake.report(location)) and report.run:
                # who reads at once where reads lag takes what the run did for undone by others
                self.town.pass_ms(10_000)
                refresh = self.whim.choice(["", "get"])
                self.town.execute(self.town.new_run(self.options(), undoes=mistake, refresh=refresh))
                break
        return self.one()

    def in_between(self) -> None:
        """What was tried by the one who died is used up or taken away; somebody looks, who is there for another tag."""
        self.town.pass_ms(200_000)
        self.use_up(self.whim.sample(TAGS, 3))
        asked = Selection(tags=frozenset({Tag(self.whim.choice((*TAGS, FOREIGN)))}))
        options = replace(self.options(), selection=asked)
        self.town.execute(self.town.new_run(options, refresh=self.whim.choice(["get", "search"])))

    def use_up(self, tags: Sequence[str]) -> None:
        for place in self.town.places.values():
            for who in PEOPLE:
                place.crm.remove(who, tags, now=self.town.clock.now(), by="human")

    def people(self) -> list[object]:
        return [self.hand(location) for location in self.town.places]

    async def hand(self, location: LocationId) -> None:
        """Somebody who edits tags while we are at work."""
        for _ in range(self.chance.choice([0, 2, 4])):
            await self.town.clock.sleep(self.chance.choice([500, 4_000, 60_000]))
            self.edit(location, TAGS)

    def edit(self, location: LocationId, tags: tuple[str, ...]) -> None:
        crm, now = self.town.places[location].crm, self.town.clock.now()
        act = self.chance.choice([crm.add, crm.remove])
        act(self.chance.choice(PEOPLE), self.chance.sample(tags, 1), now=now, by="human")

    def calm(self) -> None:
        """The faults stop, whatever is on its way lands, workflows rest."""
        for place in self.town.places.values():
            place.befall(Trouble())
        self.town.pass_ms(600_000)
        for place in self.town.places.values():
            place.settle()

    def converge(self) -> None:
        """Two runs, the first on a look at every contact; a third has nothing to do. Others touch what is theirs."""
        rules = [place.crm.assumptions for place in self.town.places.values()]
        hiding = any(each.search_row_without_tags or each.search_flickers_ms for each in rules)
        for refresh in ("get" if hiding else self.chance.choice(["get", "search"]), "", ""):
            self.town.execute(self.town.new_run(self.options(), refresh=refresh, heeds_gone=False))
            for location in self.town.places:
                if not any(each.authority == "exact" for each in self.town.wanted(location).sets):
                    self.edit(location, (FOREIGN,))
            self.town.pass_ms(1_000)

    def digest(self) -> str:
        """Everything that happened, in a few letters: two plays of one seed are the same play."""
        digest = hashlib.sha256()
        for place in self.town.places.values():
            for each in place.exchanges:
                digest.update(f"{each.run} {each.at} {each.ended} {each.url} {each.status} {each.fault}".encode())
                digest.update(each.body + (each.answer or b"-"))
            digest.update(repr(place.crm.transitions).encode())
        for run in self.town.runs:
            ends = [(report.exit_code, sorted(report.pairs.items()), report.requests) for report in run.reports]
            digest.update(f"{run.name} {run.killed} {run.plan and run.plan.change_digest} {ends}".encode())
        digest.update(str(self.town.clock.now()).encode())
        return digest.hexdigest()
