"""Worlds in which a tag is given slowly: runs one after another and two at a time, faults, deaths, waits. What holds in
each is judged by the log of the location and of the requests: pace, window, ends.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.release_rules import TagPace, TagWindow
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.plan import PlanOptions
from tests.build import plan_options
from tests.sandbox.faults import EVERYDAY, FaultPlan
from tests.simulation.declared import PEOPLE, PLACE, Declared, Rules, SetText
from tests.simulation.place import BULK, RUNS, Trouble
from tests.simulation.process import AFTER, BEFORE, Fate
from tests.simulation.program import Run
from tests.simulation.story import NO_LIMITS
from tests.simulation.town import HERE, Town

SLOW = "slow"
MINUTE_MS = 60_000
MOST_SLICES = 12
DAY_MINUTES = 24 * 60
LANDS_MS = 180_000
"""So long after its time a request may land that waited for its answer, was lost or was late."""


@dataclass(frozen=True)
class SlowRules(Rules):
    """Rules with one tag that is given slowly."""

    pace: TagPace | None = None
    window: TagWindow | None = None

    def values(self) -> list[TagRule]:
        return [*Rules.values(self), TagRule(Tag(SLOW), PLACE, pace=self.pace, window=self.window)]


class Slowly:
    """A world from its beginning to its end; `tell` plays it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = chance = random.Random(f"{seed}: slowly")
        self.town = Town(directory, chance)
        self.pace = TagPace(chance.choice([1, 2, 3]), chance.choice([2, 5, 10]) * MINUTE_MS)
        minute = self.town.clock.now() // MINUTE_MS % DAY_MINUTES
        opens = (minute + chance.choice([-3, 0, 5])) % DAY_MINUTES
        closes = (opens + chance.choice([6, 20])) % DAY_MINUTES
        self.window = TagWindow(tuple(range(7)), opens, closes, "UTC") if chance.random() < 0.4 else None
        self.caps = Caps(contacts=chance.choice([1, 2, 500]))
        self.met: Counter[tuple[str, str]] = Counter()
        rules = SlowRules(once=False, pace=self.pace, window=self.window)
        self.town.commit(HERE, Declared((SetText(PEOPLE, tags=(SLOW,)),), rules))

    def tell(self) -> None:
        chance = self.chance
        for _ in range(chance.choice([2, 3, 4])):
            rate = chance.choice([0.0, 0.5, 0.9])
            faults = FaultPlan(seed=chance.randrange(1_000_000), rate=rate, kinds=EVERYDAY)
            place = self.town.places[HERE]
            place.befall(Trouble(faults=faults, latency_ms=chance.choice([(20, 20), (100, 2_500)])))
            # the rarest faults, of which some take long to play, are met elsewhere
            place.network.plan = faults
            self.act()
            self.town.pass_ms(chance.choice([1_000, MINUTE_MS, 4 * MINUTE_MS, 11 * MINUTE_MS]))
        self.calm()

    def act(self) -> None:
        """One run, or two at a time; who waits may be killed while he does."""
        both = self.chance.random() < 0.4
        runs = [self.run() for _ in range(2 if both else 1)]
        self.town.execute(*runs, apart_ms=self.chance.choice([0, 300, 5_000]))
        self.met["runs", "two at a time" if both else "one"] += 1
        self.met.update(("run", "killed") for run in runs if run.killed)
        self.met.update(("run", "waits") for run in runs if run.waits_for_pace and run.reports)
        self.met.update(
            ("run", "locked") for run in runs if any(each.error_code == ExitCode.LOCKED for each in run.reports)
        )

    def run(self) -> Run:
        chance = self.chance
        fate = None
        if chance.random() < 0.5:
            what = chance.choice(["send", "record_intent", "record_answer", "renew_lease", "end_run"])
            frozen = chance.choice([0, 0, 150_000]) if what == "send" else 0
            fate = Fate(what, chance.choice([BEFORE, AFTER]), chance.choice([0, 0, 1, 2]), frozen)
        waits = chance.random() < 0.4
        return self.town.new_run(
            self.options(), fate=fate, waits_for_pace=waits, waits_ms=chance.choice([0, 120_000]),
        )  # fmt: skip

    def options(self) -> PlanOptions:
        now: Instant = self.town.clock.now()
        return plan_options(caps=self.caps, limits=NO_LIMITS, effort=0, now=now)

    def calm(self) -> None:
        """The faults stop, and somebody looks; then one run gives the rest."""
        place = self.town.places[HERE]
        place.befall(Trouble())
        self.town.pass_ms(10 * MINUTE_MS)
        place.settle()
        # by runs that do not wait: each moment of a wait has its heartbeats
        for nth in range(MOST_SLICES):
            options = replace(self.options(), selection=Selection(retry_held=True))
            last = self.town.new_run(options, refresh="" if nth else "get", heeds_gone=False)
            self.town.execute(last)
            report = last.report(HERE)
            if report is not None and report.exit_code == 0:
                break
            until = self.town.clock.now() + self.pace.per_ms + LANDS_MS
            if self.window is not None:
                until = max(until, self.window.find_opening(Instant(until))[0])
            self.town.pass_ms(until - self.town.clock.now())

    def violations(self) -> Iterator[str]:
        yield from self._pace()
        yield from self._window()
        yield from self._ends()

    def _given_at(self) -> list[int]:
        log = self.town.places[HERE].crm.transitions
        return [each.at for each in log if each.action is Action.ADD and each.tag == SLOW and each.by in RUNS]

    def _pace(self) -> Iterator[str]:
        """In no period are more additions than are allowed, whatever run made them, known or in doubt."""
        times = self._given_at()
        most = max((sum(begins <= at < begins + self.pace.per_ms for at in times) for begins in times), default=0)
        if most > self.pace.adds:
            yield f"pace: {most} additions within {self.pace}, at {times}"

    def _window(self) -> Iterator[str]:
        """No request that adds the tag leaves while the window is closed."""
        for each in self.town.places[HERE].exchanges:
            if self.window is None or BULK + "add" not in each.path or SLOW not in json.loads(each.body)["tags"]:
                continue
            opens, closes = self.window.find_opening(each.at)
            if not opens <= each.at < closes + 1_000:
                yield f"window: a request left at {each.at}, and the window opens at {opens}"

    def _ends(self) -> Iterator[str]:
        """What the slices gave is the plan: everybody has the tag, and got it once."""
        crm = self.town.places[HERE].crm
        without = [who for who in PEOPLE if SLOW not in crm.tags_of(who)]
        if without:
            yield f"ends: {without} wait for ever: {self.town.runs[-1].problem or self.town.runs[-1].reports}"
        given = Counter(each.contact for each in crm.transitions if each.tag == SLOW and each.action is Action.ADD)
        if twice := sorted(who for who, number in given.items() if number > 1):
            yield f"ends: {twice} were given the tag more than once"
