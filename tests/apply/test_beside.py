"""The state at work beside the event loop: whatever comes while it takes its time is heeded when it has answered."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply import ApplyOptions, Services
from reconciler.apply.batch_journal import journal_answer, journal_intent
from reconciler.apply.books import LocationBook, RunProgress
from reconciler.apply.run import Run
from reconciler.beside import Places, ThreadWorker, connect_location, to_the_end
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import LocationFacts, Rate
from reconciler.core.model.batch import Batch
from reconciler.core.model.errors import ExitCode, LeaseLost, StateError
from reconciler.core.model.events import BatchAnswered, Event, Queued
from reconciler.core.model.journal import BatchStatus, RunHeader, RunStatus
from reconciler.core.model.lease import HEARTBEAT_MS, TTL_MS
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.settings import ApiSettings, Settings
from reconciler.core.planning.approved_scope import derive_ceiling
from reconciler.core.planning.plan import PlanOptions
from reconciler.core.running.pace import Pace
from reconciler.journalled_run import journalled_run
from reconciler.operations.workspace import latest_ms_from, settle_ms_from
from reconciler.ports import StateStore
from reconciler.request_gate import RequestGate
from reconciler.store import open_reader, open_store
from reconciler.store.sqlite_file import Turn
from tests.apply.test_scenarios import FREE, converged, faults, pairs
from tests.build import HERE, a_set, contact, declare, who
from tests.fakes import START, FakeClock, SlowWorker, a_holder, hold
from tests.sandbox.faults import FaultKind
from tests.scene import Scene, one_by_one

ALL = declare(a_set("s", who("anna bert cara"), "vip"))
NOBODY = {"anna": "", "bert": "", "cara": ""}
Work = Callable[[Run], Awaitable[None]]
LONE = replace(FREE, caps=replace(FREE.caps, contacts=1))


class HookedStore:
    """A state that calls `after` with the name of each method that a run has called on a connection."""

    def __init__(self, store: Any, after: Callable[[str], None]) -> None:
        self._store, self._after = store, after

    @contextmanager
    def connect(self, location: LocationId) -> Iterator[HookedStore]:
        with self._store.connect(location) as store:
            yield HookedStore(store, self._after)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*arguments: Any, **more: Any) -> Any:
            result = method(*arguments, **more)
            self._after(name)
            return result

        return call


def batches(scene: Scene) -> list[BatchStatus]:
    return [batch.status for batch in scene.log(scene.runs()[-1].id).batches]


def doubtful(scene: Scene) -> list[str]:
    with open_reader(scene.url) as reader:
        return [contact for contact, known in reader.at(HERE).load_state().observed.items() if known.doubtful]


def once(name: str, nth: int, act: Callable[[], None]) -> Callable[[str], None]:
    """Acts after the nth call of a method, from 1."""
    calls: list[str] = []

    def after(called: str) -> None:
        calls.append(called)
        if called == name and calls.count(name) == nth:
            act()

    return after


def run_hooked(scene: Scene, after: Callable[[str], None], **more: object) -> Any:
    with open_store(scene.url) as store:
        return scene.run(ALL, store=HookedStore(store, after), **more)


@pytest.mark.slow
def test_nothing_leaves_that_was_halted_while_its_intent_was_written(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, NOBODY)
    report = run_hooked(scene, once("record_intent", 2, lambda: scene.stop.ask(signal.SIGTERM)))

    assert (report.status, len(scene.updates)) == (RunStatus.STOPPED, 1)
    assert batches(scene) == [BatchStatus.ANSWERED, BatchStatus.WITHDRAWN]
    assert doubtful(scene) == []
    assert pairs(scene.run(ALL)) == {"applied": 2}


def test_nothing_leaves_where_its_plan_ended_while_its_intent_was_written(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, NOBODY)
    ends = START + 60_000

    def wait() -> None:
        scene.clock.ms = ends

    with open_store(scene.url) as store:
        ending = declare(a_set("s", who("anna bert cara"), "vip", until=ends))
        report = scene.run(ending, store=HookedStore(store, once("record_intent", 2, wait)))

    assert (report.exit_code, len(scene.updates)) == (ExitCode.STALE, 1)
    assert batches(scene) == [BatchStatus.ANSWERED, BatchStatus.WITHDRAWN]
    assert doubtful(scene) == []


def test_nothing_leaves_where_the_lease_ended_while_its_intent_was_written(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, NOBODY)

    def wait() -> None:
        scene.clock.ms += TTL_MS

    report = run_hooked(scene, once("record_intent", 2, wait))

    assert (report.status, len(scene.updates)) == (RunStatus.STOPPED, 1)
    assert "this process was paused" in report.error
    assert batches(scene) == [BatchStatus.ANSWERED, BatchStatus.WITHDRAWN]
    assert doubtful(scene) == []


def test_a_doubt_is_dated_by_when_the_request_left(tmp_path: Path) -> None:
    """What it may have done is looked for from then on, and not from the date of its intent."""
    scene = one_by_one(tmp_path, NOBODY, faults=faults(None, FaultKind.RESET_AFTER))

    def wait(name: str) -> None:
        scene.clock.ms += 5_000 if name == "record_intent" else 0

    run_hooked(scene, wait)
    _, lost, _ = scene.here.sent
    log = scene.log(scene.runs()[-1].id).batches
    assert [lost.began - batch.intended for batch in log if batch.answers.keys() == set(lost.contacts)] == [5_000]
    with open_reader(scene.url) as reader:
        states = dict(reader.at(HERE).load_state().observed.items())
    (doubt,) = filter(None, (state.doubt for state in states.values()))
    assert doubt.sent == lost.began


@pytest.mark.parametrize(("took_ms", "anew"), [(10_000, False), (10_001, True)])
def test_an_intent_that_took_long_is_written_anew_before_its_request_leaves(
    tmp_path: Path, took_ms: int, anew: bool
) -> None:
    """A doubt is settled by the date of its intent: a request that left much later could land after that."""
    scene = one_by_one(tmp_path, NOBODY)

    def wait() -> None:
        scene.clock.ms += took_ms

    report = run_hooked(scene, once("record_intent", 2, wait))

    assert pairs(report) == {"applied": 3}
    withdrawn = [BatchStatus.WITHDRAWN] * anew
    assert batches(scene) == [BatchStatus.ANSWERED, *withdrawn, *[BatchStatus.ANSWERED] * 2]
    assert len(scene.updates) == 3
    # the one that did not leave gave its place of the day back
    answered = [event for event in scene.events if isinstance(event, BatchAnswered)]
    assert [event.quota_left for event in answered] == [199_998, 199_997, 199_996]


def test_a_state_that_is_always_slow_ends_the_run_without_a_doubt(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, NOBODY)

    def wait(name: str) -> None:
        scene.clock.ms += 11_000 if name == "record_intent" else 0

    report = run_hooked(scene, wait)
    assert (report.exit_code, scene.updates, doubtful(scene)) == (ExitCode.ERROR, [], [])
    assert batches(scene) == [BatchStatus.WITHDRAWN] * 3
    assert "takes longer than 10 s to write down what is about to be sent" in report.error


def landing_within(seconds: int) -> PlanOptions:
    settings = Settings(api=ApiSettings(settle_s=seconds))
    return replace(FREE, latest_ms=latest_ms_from(settings), settle_ms=settle_ms_from(settings))


@pytest.mark.parametrize(("seconds", "late_ms"), [(200, 10_000), (10, 10_000), (4, 4_000), (0, 1_000)])
def test_a_request_may_leave_no_later_than_it_takes_to_land(seconds: int, late_ms: int) -> None:
    """So whoever sets a short time waits no ten seconds more, and a state has a second at least."""
    options = landing_within(seconds)
    assert (options.latest_ms, options.settle_ms) == (late_ms, seconds * 1000 + late_ms)


def test_what_a_killed_run_sent_is_read_once_it_can_no_longer_land(tmp_path: Path) -> None:
    """Nobody knows when its request left: here nine seconds after the date of its intent. The API may carry it out up
    to `settle_s` after that, and a read before then does not tell whether it will."""
    scene = Scene(tmp_path, contact("anna"), options=landing_within(200))
    scene.want(a_set("s", "anna", "vip"))
    quick = scene.start_worker
    slowly(scene, takes_ms=4_500)
    scene.apply_and_die(before=0)
    scene.start_worker = quick
    (sent,) = scene.here.sent
    scene.apply()
    (read, _), *_ = scene.here.reads
    assert read >= sent.began + 200_000


def test_the_time_that_an_intent_takes_is_none_of_the_answers(tmp_path: Path) -> None:
    """The pace learns how long an answer takes; it would let the next request go too early."""
    pace = Pace(Rate(2, 10_000))
    ticket = pace.leave(START)
    pace.leave_late(ticket, START + 5_000)  # type: ignore[arg-type]
    pace.end(ticket, START + 5_100, answered=True)  # type: ignore[arg-type]
    assert pace._spread[1] == 100


def test_a_request_that_did_not_leave_gives_its_place_and_its_part_of_the_day_back() -> None:
    pace = Pace(Rate(1, 10_000, per_day=2, reserve_pct=0))
    pace.assume(0, START)
    pace.take_back(pace.leave(START))
    assert (pace.wait(START), pace.left_today(START)) == (0, 2)


def slowly(scene: Scene, *, takes_ms: int) -> None:
    scene.start_worker = partial(SlowWorker, scene.clock, lambda: (takes_ms, takes_ms))


@pytest.mark.slow
def test_two_answers_that_teach_at_once_teach_both(tmp_path: Path) -> None:
    """Each shows another spelling; both are being recorded when the second one comes."""
    people, tags = ["anna", "bert", "cara", "dora"], ["a  1", "b  2", "c  3", "d  4"]
    scene = Scene(tmp_path, *map(contact, people), options=LONE, collapses_spaces=True)
    slowly(scene, takes_ms=150)
    sets = [a_set(person, person, [tag]) for person, tag in zip(people, tags, strict=True)]
    scene.want(a_set("all", people, "vip"), *sets)
    assert scene.apply().exit_code == ExitCode.DONE

    with open_reader(scene.url) as reader:
        state = reader.at(HERE).load_state()
    assert dict(state.facts.aliases) == {tag: tag.replace("  ", " ") for tag in tags}
    converged(scene)


@contextmanager
def a_run(
    directory: Path, desired: Desired, tags: dict[str, str], options: PlanOptions = LONE
) -> Iterator[Callable[[Work], Run]]:
    """Does work in a run whose state takes its time; the contacts were seen with these tags. Returns the run."""
    scene = Scene(directory, *(contact(person, carried) for person, carried in tags.items()), options=options)
    slow = partial(SlowWorker, scene.clock, lambda: (5, 5))

    async def begin(work: Work, store: StateStore) -> Run:
        async with await hold(store, scene.clock, slow) as held:
            header = RunHeader(HERE, "apply", "anna", scene.clock.now())
            async with journalled_run(held, header) as journal:
                request = ApplyOptions({HERE: desired}, {HERE: options}, a_holder())
                (plan,) = scene.plan_for(desired).locations
                gate = RequestGate(HERE, Pace(Rate()), scene.clock, scene.listen, held)
                services = Services(scene.api, store, scene.clock, scene.listen, start_worker=slow)
                book = LocationBook(await held.call(held.store.load_state), desired)
                run = Run(
                    plan, derive_ceiling(plan), options, None, request, services, journal, gate, (), START, book,
                    RunProgress(0),
                )  # fmt: skip
                await work(run)
                return run

    with open_store(scene.url) as store:
        yield lambda work: scene.clock.run(begin(work, store))


def test_facts_that_are_learnt_at_once_are_all_saved(tmp_path: Path) -> None:
    async def learn(run: Run) -> None:
        await asyncio.gather(
            run.learn(lambda facts: replace(facts, moves_updated=True)),
            run.learn(lambda facts: facts.with_aliases([(Tag("A"), Tag("a"))])),
            run.learn(lambda facts: facts.limited(50, None, START)),
        )
        saved = (await run.call(run.store.load_state)).facts
        assert saved == run.facts
        assert (saved.moves_updated, saved.aliases) == (True, (("A", "a"),))
        assert saved != saved.without_limits()

    with a_run(tmp_path, ALL, NOBODY) as work_in_run:
        work_in_run(learn)


def test_an_answer_is_read_in_the_spelling_that_is_known_when_it_is_recorded(tmp_path: Path) -> None:
    """While the one is being recorded, the other teaches the spelling of a tag that its contact carries."""
    sent, kept = Tag("a  1"), Tag("a 1")
    desired = declare(a_set("s", who("anna bert"), (sent, "vip")))
    anna, bert = who("anna"), who("bert")

    def answer(one: str, carried: set[str], added: str) -> dict[ContactId, ContactOutcome]:
        old, tags = frozenset(map(Tag, carried)), frozenset({Tag(added)})
        return {ContactId(one): ContactOutcome(Outcome.APPLIED, "", old=old, added=tags)}

    async def record(run: Run) -> None:
        first = await journal_intent(run, Batch(Action.ADD, (ContactId(anna),), (sent,)))
        second = await journal_intent(run, Batch(Action.ADD, (ContactId(bert),), (Tag("vip"),)))
        await asyncio.gather(
            journal_answer(run, first, answer(anna, set(), kept)),
            journal_answer(run, second, answer(bert, {kept}, "vip")),
        )

    with a_run(tmp_path, desired, {"anna": "", "bert": ""}) as work_in_run:
        run = work_in_run(record)
    assert run.observed[ContactId(anna)].observed == {sent}
    assert run.observed[ContactId(bert)].observed == {sent, "vip"}


@pytest.mark.slow
def test_whole_runs_go_as_well_while_the_state_takes_its_time(tmp_path: Path) -> None:
    people = [f"c{nth:02}" for nth in range(40)]
    scene = Scene(tmp_path, *map(contact, people), options=LONE, latency_ms=100)
    slowly(scene, takes_ms=30)
    scene.want(a_set("s", people, "vip"))
    report = scene.apply()
    assert (pairs(report), report.requests) == ({"applied": 40}, 40)
    converged(scene)


def test_a_heartbeat_behind_a_long_call_lets_nothing_leave_past_the_lease(tmp_path: Path) -> None:
    """The renewal waits in the thread; when it is made at last, the lease that it was for is over."""
    clock = FakeClock()

    async def work() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            takes: list[int] = [0]
            async with await hold(store, clock, partial(SlowWorker, clock, lambda: (takes[0], 0))) as held:
                gate = RequestGate(HERE, Pace(Rate()), clock, lambda event: None, held)
                await clock.sleep(HEARTBEAT_MS)
                takes[0] = TTL_MS - HEARTBEAT_MS
                long = asyncio.create_task(held.call(held.store.load_state))
                await asyncio.sleep(0)
                takes[0] = 2 * TTL_MS
                with pytest.raises(LeaseLost):
                    await gate.take_turn()
                takes[0] = 0
                await long

    clock.run(work())


def test_a_request_has_its_turn_with_a_lease_that_is_not_due(tmp_path: Path) -> None:
    """A renewal that waited is dated when it is made: what it waited for is not taken off the lease twice."""
    clock = FakeClock()

    async def work() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            takes: list[int] = [0]
            async with await hold(store, clock, partial(SlowWorker, clock, lambda: (takes[0], 0))) as held:
                gate = RequestGate(HERE, Pace(Rate()), clock, lambda event: None, held)
                await clock.sleep(HEARTBEAT_MS)
                takes[0] = TTL_MS - 2 * HEARTBEAT_MS
                long = asyncio.create_task(held.call(held.store.load_state))
                await asyncio.sleep(0)
                takes[0] = 0
                await gate.take_turn()
                assert held.lease.expires - clock.now() > TTL_MS - HEARTBEAT_MS
                await long

    clock.run(work())


def test_an_intent_that_fails_gives_its_place_in_the_pace_back(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, NOBODY)

    def fail() -> None:
        raise StateError("the disk is full")

    scene.options = replace(scene.options, rate=Rate(per_window=1))
    report = run_hooked(scene, once("record_intent", 1, fail))
    assert (report.error, scene.updates) == ("the disk is full", [])
    assert scene.pace(HERE).wait(scene.clock.now()) == 0


def test_who_no_longer_waits_for_a_turn_holds_up_nobody() -> None:
    """As a second Ctrl-C does it: the wait ends by an error, and the one before has its turn still."""
    holds, left, had = threading.Event(), threading.Event(), threading.Event()

    class Interrupted(Exception):
        pass

    class OnceInterrupted(Turn):
        def _wait(self, own: threading.Lock) -> None:
            raise Interrupted

    turn = OnceInterrupted()

    def hold_it() -> None:
        with turn:
            holds.set()
            assert left.wait(10)

    holder = threading.Thread(target=hold_it)
    holder.start()
    assert holds.wait(10)
    with pytest.raises(Interrupted), turn:
        pass
    left.set()
    holder.join(10)

    def take_it() -> None:
        with turn:
            had.set()

    threading.Thread(target=take_it, daemon=True).start()
    assert had.wait(10)


def test_many_requests_renew_a_lease_that_is_due_once(tmp_path: Path) -> None:
    clock, called = FakeClock(), list[str]()

    async def work() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            hooked: Any = HookedStore(store, called.append)
            async with await hold(hooked, clock, partial(SlowWorker, clock, lambda: (20, 20))) as held:
                await clock.sleep(HEARTBEAT_MS)
                await asyncio.gather(*(held.renew() for _ in range(20)))

    clock.run(work())
    assert called.count("renew_lease") == 1


def test_cancelled_in_the_midst_of_a_call_the_call_ends_before_the_lease_is_given_back(tmp_path: Path) -> None:
    """In a real thread: the call is held up until the run has been cancelled."""
    entered, go_on = threading.Event(), threading.Event()
    called: list[str] = []

    def hold_up(name: str) -> None:
        called.append(name)
        if name == "load_state":
            entered.set()
            assert go_on.wait(20)

    async def work(store: Any) -> None:
        async with await hold(store, FakeClock(), ThreadWorker) as held:
            loads = asyncio.create_task(held.call(held.store.load_state))
            waits = asyncio.create_task(held.call(held.store.read_runs))
            await asyncio.gather(loads, waits)

    async def main() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            task = asyncio.create_task(work(HookedStore(store, hold_up)))
            await asyncio.to_thread(entered.wait, 20)
            # impatient: the release and the end of the connection are not cut short either
            for _ in range(5):
                task.cancel()
                await asyncio.sleep(0.01)
            assert not task.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            # whoever comes next has the location, and the connection is closed
            store.at(HERE).acquire_lease(a_holder("two"), START)

    asyncio.run(main())
    # what had not begun is never made
    assert called == ["acquire_lease", "load_state", "release_lease"]


def test_cancelled_while_the_lease_is_being_taken_it_is_given_back(tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold_up(name: str) -> None:
        if name == "acquire_lease":
            entered.set()
            assert go_on.wait(20)

    async def main() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            hooked: Any = HookedStore(store, hold_up)
            task = asyncio.create_task(hold(hooked, FakeClock(), ThreadWorker))
            await asyncio.to_thread(entered.wait, 20)
            task.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store.at(HERE).read_lease(START) is None

    asyncio.run(main())


def test_a_slow_state_of_one_location_holds_up_no_other(tmp_path: Path) -> None:
    """Each in a real thread: one is stuck in its state until the other has done all of its calls."""
    other = LocationId("other")
    others_done = threading.Event()

    def stuck(name: str) -> None:
        if name == "load_state":
            assert others_done.wait(20), "the other location waited"

    async def use(store: Any, location: LocationId) -> None:
        async with connect_location(store, location, ThreadWorker) as connection:
            for _ in range(20):
                await connection.call(connection.store.load_state)
        if location == other:
            others_done.set()

    async def main() -> None:
        url = f"sqlite:///{tmp_path}/{{location}}.db"
        with open_store(url) as slow, open_store(url) as quick:
            await asyncio.gather(use(HookedStore(slow, stuck), HERE), use(quick, other))

    asyncio.run(main())


@pytest.mark.slow
def test_connections_of_one_file_take_turns(tmp_path: Path) -> None:
    """Real threads, each with its location: none of them waits until its time is up."""
    locations = [LocationId(f"location{nth}") for nth in range(12)]

    async def use(store: Any, location: LocationId) -> None:
        async with connect_location(store, location, ThreadWorker) as connection:
            lease = await connection.call(connection.store.acquire_lease, a_holder(location), START)
            for nth in range(20):
                facts = LocationFacts(aliases=((f"A{nth}", f"a{nth}"),))  # type: ignore[arg-type]
                await connection.call(connection.store.save_facts, lease, facts)
                assert (await connection.call(connection.store.load_state)).facts == facts

    async def main() -> None:
        with open_store(f"sqlite:///{tmp_path}/state.db") as store:
            await asyncio.gather(*(use(store, location) for location in locations))
            assert [store.at(location).load_state().serial for location in locations] == [20] * 12

    asyncio.run(main())


def test_work_that_is_waited_for_to_the_end_is_cancelled_after_it() -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.append("work")

    async def main() -> None:
        task = asyncio.create_task(to_the_end(work()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["work"]

    asyncio.run(main())


def test_an_error_of_the_thread_is_raised_where_it_was_asked() -> None:
    def fail() -> None:
        raise LeaseLost("gone")

    async def main() -> None:
        worker = ThreadWorker()
        with pytest.raises(LeaseLost):
            await worker(fail)
        assert await worker(threading.get_ident) not in (threading.get_ident(), None)
        await worker.close()

    asyncio.run(main())


@pytest.mark.slow
def test_so_many_locations_at_once_the_others_in_their_order(tmp_path: Path) -> None:
    names = [LocationId(f"{letter * 20}") for letter in "edcba"]
    scene = Scene(tmp_path, options=LONE, latency_ms=1_000)
    del scene.places[HERE]
    for location in names:
        scene.add_place(location, *(contact(f"c{nth}", location=location) for nth in range(3)))
        scene.want(a_set("s", [f"c{nth}" for nth in range(3)], "vip"), location=location)
    places = Places(2, scene.listen)
    reports = scene.apply_all(places=places, order=names)

    assert [pairs(report) for report in reports] == [{"applied": 3}] * 5
    began = [scene.places[location].sent[0].began for location in names]
    assert began == sorted(began)
    times = [(place.sent[0].began, place.sent[-1].ended or 0) for place in scene.places.values()]
    for instant, _ in times:
        assert sum(first <= instant < last for first, last in times) <= 2
    queued = [event for event in scene.events if isinstance(event, Queued)]
    assert queued == [Queued(location, 2) for location in names[2:]]


def test_a_run_that_waits_for_its_place_is_stopped_by_a_signal(tmp_path: Path) -> None:
    names = [LocationId(f"{letter * 20}") for letter in "ab"]
    scene = Scene(tmp_path, options=LONE, latency_ms=1_000)
    del scene.places[HERE]
    for location in names:
        scene.add_place(location, contact("anna", location=location), contact("bert", location=location))
        scene.want(a_set("s", ["anna", "bert"], "vip"), location=location)

    def stop(event: Event) -> None:
        if isinstance(event, Queued):
            scene.stop.ask(signal.SIGTERM)

    scene.hear = stop
    reports = scene.apply_all(places=Places(1, scene.listen))
    assert {report.status for report in reports} == {RunStatus.STOPPED}
    assert not scene.places[names[1]].sent
