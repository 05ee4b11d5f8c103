"""Many small worlds: random manifests, faults, crashes, people and workflows; the invariants hold in each, and once the
faults stop and the doubts are settled, every one of them converges.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reconciler.core.errors import ExitCode
from reconciler.core.manifest import Authority, ContactSet, OnLeave
from reconciler.core.names import Tag
from reconciler.core.observed import Known, Origin, Seen
from reconciler.core.plan import Plan, combine, plan_location
from reconciler.sandbox.faults import FaultPlan
from reconciler.store import open_reader
from tests.apply.scene import HERE, THERE, Killed, Scene, a_rule, a_set, contact, name, without_limits

PEOPLE = [f"p{nth}q" for nth in range(8)]
GONE, AWAY = "gone", "away"
TAGS = ["a", "b", "c", "lead", "customer", "welcome"]
RULES = [a_rule("lead", group="cycle"), a_rule("customer", group="cycle")]
RUNS = 4


class Simulation:
    """One world, all of it decided by its seed."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        crowd = [contact(each, *self.some(TAGS, least=0)) for each in PEOPLE]
        strangers = [contact(GONE, "a", deleted=True), contact(AWAY, "a", location=THERE)]
        self.scene = Scene(directory, *crowd, *strangers, options=without_limits())
        self.log: list[object] = []

    def some(self, items: list[str], *, least: int = 1) -> list[str]:
        return self.chance.sample(items, self.chance.randrange(least, len(items)))

    def declare(self) -> None:
        """Another commit of the manifests."""
        sets = [self.a_set(nth) for nth in range(self.chance.randrange(1, 4))]
        self.scene.want(*sets, rules=RULES)

    def a_set(self, nth: int) -> ContactSet:
        # what is declared present is never declared absent: the checks of the manifests see to that
        present = self.some([*TAGS[:3], "welcome"], least=0)
        present += [self.chance.choice(["lead", "customer"])] if nth == 0 else []
        absent = ["d"] if self.chance.random() < 0.3 else []
        people = [*self.some(PEOPLE), *self.chance.choice([[], [GONE], [AWAY], [GONE, AWAY]])]
        authority = self.chance.choice([None, None, Authority.OWNED, Authority.EXACT])
        leave = self.chance.choice([OnLeave.REMOVE, OnLeave.REMOVE, OnLeave.KEEP])
        return a_set(f"s{nth}", people, *present, absent=absent, authority=authority, on_leave=leave)

    def run(self) -> None:
        for nth in range(RUNS):
            if nth == 0 or self.chance.random() < 0.6:
                self.declare()
            self.trouble(nth)
            self.apply()
            self.meddle()
        self.calm()
        self.converge()

    def trouble(self, nth: int) -> None:
        place = self.scene.here
        place.network.plan = FaultPlan(seed=self.seed * 100 + nth, rate=self.chance.choice([0.0, 0.3, 0.6]))
        last = len(place.sent) + self.chance.randrange(4)
        kill, where = self.chance.random() < 0.25, self.chance.choice(["before", "after"])

        def die(sent: int) -> None:
            if kill and sent == last:
                raise Killed

        def consume(sent: int) -> None:
            now = self.scene.clock.now()
            for each in place.crm.holders("welcome"):
                place.crm.remove(each, ["welcome"], now=now, by="workflow")
            if where == "after":
                die(sent)

        place.before = die if where == "before" else lambda sent: None
        place.after = consume

    def apply(self, plan: Plan | None = None) -> int:
        try:
            report = self.scene.apply(plan)
        except Killed:
            self.scene.die()
            self.log.append("killed")
            return -1
        self.log.append((report.exit_code, sorted(report.pairs.items()), report.outside, report.requests))
        return report.exit_code

    def meddle(self) -> None:
        """Somebody edits tags by hand, and time passes."""
        for each in self.some(PEOPLE, least=0):
            if self.chance.random() < 0.3:
                self.scene.edit(each, add=self.some(TAGS, least=0), remove=self.some(TAGS, least=0))
        self.scene.clock.ms += self.chance.choice([1_000, 30_000, 100_000, 3_600_000])

    def calm(self) -> None:
        place = self.scene.here
        place.network.plan = FaultPlan()
        place.before = place.after = lambda nth: None
        self.scene.clock.ms += 180_000
        place.network.land(self.scene.clock.now())

    def observed(self) -> Plan:
        """A plan on a refresh of everybody who can be read."""
        scene, now = self.scene, self.scene.clock.now()
        seen = tuple(
            Seen(frozenset(scene.here.crm.tags_of(name(each))), now, Origin.GET, (name(each),)) for each in PEOPLE
        )
        with open_reader(scene.url) as reader:
            state = reader.load(HERE)
        for each in seen:
            state.observed.update(dict(each.absorb(state.observed)))
        located = plan_location(scene.wanted[HERE], state, scene.options, observations=seen)
        return combine([located], as_of=now, manifests="")

    def converge(self) -> None:
        self.apply(self.observed())
        assert self.apply() in (ExitCode.DONE, ExitCode.PARTIAL)
        plan = self.scene.plan()
        sent = len(self.scene.here.sent)
        assert not plan.locations[0].batches
        assert self.apply(plan) == ExitCode.DONE
        assert len(self.scene.here.sent) == sent
        self.check_the_end()

    def check_the_end(self) -> None:
        scene, wanted = self.scene, self.scene.wanted[HERE]
        for each in PEOPLE:
            want, carried = wanted.want(name(each)), scene.tags(each)
            assert want.present.keys() <= carried
            assert not want.absent.keys() & carried
            known = scene.known(each)
            assert isinstance(known, Known)
            assert not known.doubt
            # no pair is orphaned
            assert known.ledger <= want.present.keys() | known.kept
            if want.authority is Authority.EXACT:
                assert carried == want.present.keys()

    def story(self) -> list[object]:
        """Everything that happened, to compare two plays of one seed."""
        place = self.scene.here
        requests = [(each.path, repr(each.body), each.status) for each in place.sent]
        return [*self.log, requests, place.crm.transitions, self.scene.clock.ms]


def play(directory: Path, seed: int) -> Simulation:
    directory.mkdir()
    simulation = Simulation(directory, seed)
    simulation.run()
    return simulation


@pytest.mark.parametrize("seeds", [range(120), pytest.param(range(120, 3_000), marks=pytest.mark.slow)], ids=str)
def test_every_world_keeps_the_invariants_and_converges(tmp_path: Path, seeds: range) -> None:
    met, killed, partial = set(), 0, 0
    for seed in seeds:
        simulation = play(tmp_path / str(seed), seed)
        met |= {fault.kind for _, fault in simulation.scene.here.network.met}
        killed += simulation.log.count("killed")
        partial += sum(each != "killed" and each[0] == ExitCode.PARTIAL for each in simulation.log)  # type: ignore[index]

    assert len(met) == 12
    assert killed > len(seeds) / 20
    assert partial > len(seeds) / 2


def test_a_seed_is_the_same_story_every_time(tmp_path: Path) -> None:
    for seed in range(5):
        first, second = (play(tmp_path / f"{seed}{take}", seed).story() for take in "ab")
        assert first == second


def test_no_pair_is_added_twice_while_nobody_takes_it_away(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, PEOPLE), options=without_limits())
    scene.want(a_set("s", PEOPLE, "vip"))
    for nth in range(6):
        scene.here.network.plan = FaultPlan(seed=nth, rate=0.7)
        scene.apply()
        scene.clock.ms += 30_000
    scene.here.network.land(scene.clock.now())

    assert all(number == 1 for number in scene.adds().values())
    assert {tag for _, tag in scene.adds()} <= {Tag("vip")}
