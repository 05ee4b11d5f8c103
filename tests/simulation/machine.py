"""A state machine over the whole product: Hypothesis chooses what happens next, step by step, and shrinks what fails.

It plays in the worlds of `story.py` (town, program, processes that die, a virtual clock), and each is judged at its end
by the same invariants. A story has a plot; here any step may follow any other: a state moves while a dead run's
requests are on their way, a plan is put up, and applied after a revert, a pull and a lease ended by hand.
"""

from __future__ import annotations

import io
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from multiprocessing import get_context

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from reconciler.core.planning.changes import Selection
from tests.fakes import directory_in_memory
from tests.sandbox.faults import EVERYDAY, FaultPlan
from tests.simulation.acts import chance_of, fate_of_a_pull, migrate, people, pull, unlock
from tests.simulation.beliefs import check_beliefs
from tests.simulation.declared import PEOPLE, PLAIN, TAGS
from tests.simulation.ending import check_ending
from tests.simulation.invariants import Violated, check
from tests.simulation.place import RUNS, Trouble
from tests.simulation.process import AFTER, BEFORE, Fate
from tests.simulation.program import Run
from tests.simulation.proposing import forge
from tests.simulation.story import POINTS, Story

STEPS = 50
PART = 125
"""So many examples are played by one process, from one seed."""
MOST_PULLS = 2
"""A pull takes as long as three runs."""
MOST_RUNS = len(RUNS) - 10
SEEDS = st.integers(0, 2**20)
SIDES = st.sampled_from([BEFORE, AFTER])
DEATHS = st.builds(Fate, st.sampled_from(POINTS), SIDES, st.integers(0, 3))
STANDSTILLS = st.builds(Fate, st.just("send"), SIDES, st.integers(0, 3), st.sampled_from([20_000, 150_000]))
FATES = st.one_of(st.none(), st.none(), DEATHS, STANDSTILLS)
REFRESHES = st.sampled_from(["", "", "", "get", "search"])
CANCELLED = st.one_of(st.none(), st.none(), st.none(), st.sampled_from([0, 50, 400, 5_000]))
TROUBLES = st.builds(
    Trouble,
    faults=st.builds(FaultPlan, seed=SEEDS, rate=st.sampled_from([0.0, 0.3, 0.6]), kinds=st.just(EVERYDAY)),
    mischief=st.sampled_from([0.0, 0.0, 0.15]),
    latency_ms=st.sampled_from([(20, 20), (100, 2_500)]),
    consumes_after_ms=st.sampled_from([None, 0, 1_500, 40_000]),
)


class ProductMachine(RuleBasedStateMachine):
    """One world; what is drawn is what happens in it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.story: Story
        self.approval: Run | None = None
        self.pulls = 0

    @initialize(seed=SEEDS)
    def is_founded(self, seed: int) -> None:
        directory = self.opened.enter_context(directory_in_memory())
        self.story = Story(directory, seed)
        self.town = self.story.town
        self.opened.callback(self.town.close)
        self.story.commit(always=True)

    def new_run(self, *, retries: bool = False, **more: object) -> Run:
        options = replace(self.story.options(), selection=Selection(retry_held=retries))
        if more.get("refresh") == "get" and self.story.reads_lag:
            # a refresh by id is taken for current; nobody knows whether the API's is
            more["refresh"] = "search"
        return self.town.new_run(options, **more)

    @property
    def has_room(self) -> bool:
        return len(self.town.runs) < MOST_RUNS

    # manifests, people, workflows, time

    @rule(seed=SEEDS)
    def manifests_change(self, seed: int) -> None:
        self.story.chance = chance_of(seed)
        self.story.commit(always=False)

    @rule(trouble=TROUBLES)
    def the_network_and_workflows_change(self, trouble: Trouble) -> None:
        for place in self.town.places.values():
            place.befall(replace(trouble))

    @rule(who=st.sampled_from(PEOPLE), tag=st.sampled_from(TAGS), adds=st.booleans())
    def somebody_edits(self, who: str, tag: str, adds: bool) -> None:
        for place in self.town.places.values():
            act = place.crm.add if adds else place.crm.remove
            act(who, [tag], now=self.town.clock.now(), by="human")

    @rule(tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=3, unique=True))
    def tags_are_used_up(self, tags: list[str]) -> None:
        self.story.use_up(tags)

    @rule(milliseconds=st.sampled_from([1_000, 30_000, 100_000, 3_600_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.town.pass_ms(milliseconds)

    # runs

    @rule(fate=FATES, refresh=REFRESHES, retries=st.booleans(), cancelled=CANCELLED, hands=SEEDS)
    def somebody_applies(
        self, fate: Fate | None, refresh: str, retries: bool, cancelled: int | None, hands: int
    ) -> None:
        if self.has_room:
            self.story.chance = chance_of(hands)
            applied = self.new_run(fate=fate, refresh=refresh, retries=retries, cancelled_after_ms=cancelled)
            self.town.execute(applied, others=self.story.people())

    @rule(fate=FATES, waits=st.sampled_from([0, 120_000]), apart=st.sampled_from([0, 300, 5_000]))
    def two_jobs_run(self, fate: Fate | None, waits: int, apart: int) -> None:
        if self.has_room:
            self.town.execute(self.new_run(fate=fate), self.new_run(waits_ms=waits), apart_ms=apart)

    @rule(refresh=REFRESHES)
    def a_plan_is_put_up(self, refresh: str) -> None:
        if self.has_room:
            saved = self.new_run(only_plans=True, refresh=refresh)
            self.town.execute(saved)
            self.story.saved = saved if saved.plan else self.story.saved

    @precondition(lambda self: self.story.saved is not None)
    @rule(fate=FATES, forged=st.booleans())
    def the_plan_is_applied(self, fate: Fate | None, forged: bool) -> None:
        saved = self.story.saved
        assert saved is not None
        if self.has_room and saved.declared == {place: self.town.wanted(place) for place in self.town.places}:
            file = forge(saved.file()) if forged else saved.file()
            self.town.execute(self.new_run(saved=file, honest=saved.plan, fate=fate))

    @rule(retries=st.booleans())
    def changes_are_approved(self, retries: bool) -> None:
        if self.has_room:
            approval = self.new_run(only_plans=True, retries=retries)
            self.town.execute(approval)
            self.approval = approval if approval.plan else self.approval

    @precondition(lambda self: self.approval is not None)
    @rule(fate=FATES)
    def the_approved_is_sent(self, fate: Fate | None) -> None:
        approval = self.approval
        assert approval is not None
        if self.has_room:
            self.town.execute(self.new_run(approval=approval, retries=approval.retries, fate=fate))

    @rule(fate=FATES)
    def the_last_run_is_undone(self, fate: Fate | None) -> None:
        ended = [run for run in self.town.runs if any(report.run for report in run.reports)][-1:]
        if self.has_room and ended:
            # who reads at once where reads lag takes what the run did for undone by others
            self.town.pass_ms(10_000)
            self.town.execute(self.new_run(undoes=ended[0], fate=fate))

    # the state, and people who are matched

    @rule()
    def the_lease_of_the_dead_is_ended(self) -> None:
        for location in self.town.places:
            unlock(self.town, location)

    @rule()
    def the_state_moves(self) -> None:
        migrate(self.town)

    @precondition(lambda self: not any(place.agency for place in self.town.places.values()))
    @rule(
        chosen=st.sets(st.integers(0, len(PEOPLE) - 1), min_size=1, max_size=3),
        tag=st.sampled_from(PLAIN),
        fate=FATES,
    )
    def people_are_pulled(self, chosen: set[int], tag: str, fate: Fate | None) -> None:
        if self.has_room and self.pulls < MOST_PULLS:
            self.pulls += 1
            pull(self.town, self.new_run(fate=fate_of_a_pull(fate)), people(chosen), tag)

    def teardown(self) -> None:
        """The faults stop, everything is applied twice, and the whole world is judged."""
        with self.opened:
            if hasattr(self, "story"):
                self.story.calm()
                self.story.converge()
                check(self.town)
                check_beliefs(self.town)
                check_ending(self.town)


def play(nth: int, examples: int, *, steps: int = STEPS, shrinks: bool = True) -> None:
    """Plays so many examples, others for each `nth`; raises what the first of them ends by that breaks an invariant."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    machine = seed(nth)(type("ProductMachine", (ProductMachine,), {}))
    run_state_machine_as_test(machine, settings=chosen)


def find_fault(part: tuple[int, int]) -> str:
    """What is wrong in a part of the examples, its number and its size, with the steps that led there; else nothing."""
    nth, examples = part
    told = io.StringIO()
    try:
        with redirect_stdout(told):
            play(nth, examples, shrinks=False)
    except Violated as error:
        return f"{error}\n{told.getvalue()}"
    except Exception:  # noqa: BLE001  whatever it is, the steps belong to it
        return f"{traceback.format_exc()}\n{told.getvalue()}"
    return ""


def main() -> int:
    """`python -m tests.simulation.machine EXAMPLES [SEED]`: 1 where an example breaks an invariant. On two processors,
    other examples for each SEED.
    """
    examples, first = int(sys.argv[1]), int((sys.argv[2:] or ["1000"])[0])
    parts = [(first + nth, min(PART, examples - start)) for nth, start in enumerate(range(0, examples, PART))]
    if len(parts) == 1:
        faults = [find_fault(parts[0])]
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            faults = list(pool.map(find_fault, parts))
    for (nth, _), fault in zip(parts, faults, strict=True):
        if fault:
            sys.stdout.write(f"{fault}\nseed {nth}\n")
    return int(any(faults))


if __name__ == "__main__":
    sys.exit(main())
