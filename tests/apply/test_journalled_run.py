"""The lease of a run: waited for, kept alive, and once it is lost nothing more is sent or written."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.errors import ExitCode, LeaseLost, LockHeld, StateError
from reconciler.core.model.events import Event, Waiting
from reconciler.core.model.journal import RunEnding, RunHeader, RunStatus
from reconciler.core.model.lease import HEARTBEAT_MS, TTL_MS, retry_pauses
from reconciler.core.model.names import Instant, LocationId, SetName
from reconciler.core.model.outcome import Outcome
from reconciler.journalled_run import HeldLease, JournalledRun, journalled_run
from reconciler.sandbox.access import Limits
from reconciler.store import open_reader, open_store
from reconciler.system import SystemClock
from tests.build import HERE, a_set, declare, who
from tests.fakes import START, FakeClock, SlowWorker, a_holder, hold
from tests.scene import Scene, one_by_one

ALL = declare(a_set("s", who("anna bert cara"), "vip"))
NOBODY = {"anna": "", "bert": "", "cara": ""}
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return one_by_one(tmp_path, NOBODY)


def take_over(scene: Scene, *, at: int) -> None:
    """Somebody else comes, at a time when the lease is over, and goes again."""
    with open_store(scene.url) as state:
        other = state.at(HERE)
        other.release_lease(other.acquire_lease(a_holder("two"), Instant(at)))


def test_the_pauses_of_a_wait_double_up_to_16_seconds() -> None:
    assert list(retry_pauses(60_000)) == [1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 13_000]
    assert list(retry_pauses(2_500)) == [1_000, 1_500]
    assert list(retry_pauses(0)) == []


def test_a_locked_location_is_refused_at_once(scene: Scene) -> None:
    with open_store(scene.url) as other:
        other.at(HERE).acquire_lease(a_holder("two"), START)
        report = scene.run(ALL)

    assert (report.exit_code, scene.updates) == (ExitCode.LOCKED, [])
    assert "two@elsewhere" in report.error
    assert f"reconciler state unlock lease-two --location {HERE}" in report.hint


def test_a_wait_for_the_lock_ends_when_the_lease_does(scene: Scene) -> None:
    with open_store(scene.url) as other:
        other.at(HERE).acquire_lease(a_holder("two"), START)
        report = scene.run(ALL, lock_timeout_ms=120_000)

    waits = [each for each in scene.events if isinstance(each, Waiting)]
    assert report.exit_code == ExitCode.DONE
    assert [each.milliseconds for each in waits] == [1_000, 2_000, 4_000, 8_000, *[16_000] * 5]
    assert {each.location for each in waits} == {HERE}
    assert all("two@elsewhere" in each.why for each in waits)


def test_a_wait_for_the_lock_ends_with_its_time(scene: Scene) -> None:
    with open_store(scene.url) as other:
        other.at(HERE).acquire_lease(a_holder("two"), START)
        report = scene.run(ALL, lock_timeout_ms=20_000)

    assert (report.exit_code, scene.clock.ms - START) == (ExitCode.LOCKED, 20_000)


@pytest.mark.slow
def test_the_lease_is_alive_during_requests_of_any_length(scene: Scene) -> None:
    def nobody_comes_between(nth: int) -> None:
        with open_store(scene.url) as other, pytest.raises(LockHeld):
            other.at(HERE).acquire_lease(a_holder("two"), scene.clock.now())

    scene.takes_ms = 10 * TTL_MS
    scene.after = nobody_comes_between
    report = scene.run(ALL)

    assert (report.exit_code, len(scene.updates)) == (ExitCode.DONE, 3)


def test_the_lease_is_alive_during_waits_of_any_length(tmp_path: Path) -> None:
    clock = FakeClock()

    async def wait() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            held = await hold(store, clock)
            await held.sleep(20 * TTL_MS)
            assert held.lease.expires > clock.now() + TTL_MS - HEARTBEAT_MS - 5_000

    asyncio.run(wait())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waits_ms", "takes_ms"),
    [(DAY_MS // 12, 3_000), *(pytest.param(DAY_MS, each, marks=pytest.mark.slow) for each in (30, 500, 3_000))],
)
def test_a_long_wait_ends_in_time_however_long_each_heartbeat_takes(
    tmp_path: Path, waits_ms: int, takes_ms: int
) -> None:
    clock = FakeClock()

    async def wait() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            held = await hold(store, clock, lambda: SlowWorker(clock, lambda: (takes_ms, 0)))
            began = clock.now()
            await held.sleep(waits_ms)
            assert waits_ms <= clock.now() - began <= waits_ms + takes_ms

    clock.run(wait())


def test_a_wait_is_no_longer_where_the_clock_is_put_back(tmp_path: Path) -> None:
    class PutBack(FakeClock):
        """A time server puts it back after the first sleep."""

        def __init__(self) -> None:
            super().__init__()
            self.slept: list[int] = []

        async def sleep(self, milliseconds: int) -> None:
            self.slept.append(milliseconds)
            self.ms += milliseconds if len(self.slept) > 1 else -1_000

    clock = PutBack()

    async def wait() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            held = await hold(store, clock)
            await held.sleep(30_000)

    asyncio.run(wait())
    assert sum(clock.slept) == 30_000


@pytest.mark.parametrize(
    ("takes_ms", "timeout_ms", "tried_until"),
    [
        # a try that is refused fails before its pause: the last one begins as the time ends
        ((0, 2_000), 20_000, 20_000),
        # after pauses of 1, 2 and 4 seconds 5 are left, and then one more try
        ((2_000, 0), 20_000, 22_000),
        # the fourth try ends with the time: there is no fifth one
        ((2_000, 0), 15_000, 15_000),
    ],
)
def test_a_wait_for_the_lock_ends_with_its_time_however_long_each_try_takes(
    tmp_path: Path, takes_ms: tuple[int, int], timeout_ms: int, tried_until: int
) -> None:
    clock = FakeClock()

    async def wait() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            store.at(HERE).acquire_lease(a_holder("two"), START)
            with pytest.raises(LockHeld):
                await hold(store, clock, lambda: SlowWorker(clock, lambda: takes_ms), lock_timeout_ms=timeout_ms)
            # after it the connection is given back, by calls that take their time, too
            assert clock.now() - START == tried_until + 3 * 2_000

    clock.run(wait())


def in_lease(directory: Path, work: Callable[[HeldLease], Awaitable[None]], clock: FakeClock, *takes_ms: int) -> None:
    """Does the work under a lease; `takes_ms`: before and after each call of the state."""

    async def hold_and_work() -> None:
        with open_store(f"sqlite:///{directory / 'state.db'}") as store:
            before, after = takes_ms or (0, 0)
            async with (
                await hold(store, clock)
                if not takes_ms
                else await hold(store, clock, lambda: SlowWorker(clock, lambda: (before, after))) as held
            ):
                await work(held)

    clock.run(hold_and_work())


def test_a_lease_is_renewed_once_a_heartbeat_is_due_and_no_sooner(tmp_path: Path) -> None:
    clock = FakeClock()

    async def work(held: HeldLease) -> None:
        assert (held.renewed, held.lease.expires) == (START, START + TTL_MS)
        await clock.sleep(HEARTBEAT_MS - 1)
        await held.renew()
        assert (held.renewed, held.lease.expires) == (START, START + TTL_MS)
        await clock.sleep(1)
        # whoever asks while it is renewed has no other renewal
        await asyncio.gather(held.renew(), held.renew())
        assert (held.renewed, held.lease.expires) == (clock.now(), clock.now() + TTL_MS)

    in_lease(tmp_path, work, clock)


def test_heartbeats_at_once_are_one(tmp_path: Path) -> None:
    clock = FakeClock()

    async def work(held: HeldLease) -> None:
        await clock.sleep(HEARTBEAT_MS)
        began = clock.now()
        await asyncio.gather(held.renew(), held.renew(), held.renew())
        assert clock.now() - began == 1_000

    in_lease(tmp_path, work, clock, 400, 600)


def test_a_state_that_takes_a_heartbeats_time_to_renew_is_asked_three_times_in_a_row(tmp_path: Path) -> None:
    clock = FakeClock()

    async def work(held: HeldLease) -> None:
        began = clock.now()
        await held.renew()
        assert clock.now() - began == 3 * HEARTBEAT_MS
        # the lease holds on from the last of them
        assert held.lease.expires == clock.now() - HEARTBEAT_MS + TTL_MS

    in_lease(tmp_path, work, clock, 0, HEARTBEAT_MS)


@pytest.mark.parametrize(
    ("milliseconds", "slept"), [(12_000, [5_000, 5_000, 2_000]), (5_001, [5_000, 1]), (5_000, [5_000]), (0, [])]
)
def test_a_wait_looks_at_the_lease_every_five_seconds(tmp_path: Path, milliseconds: int, slept: list[int]) -> None:
    class Recording(FakeClock):
        slices: list[int]

        async def sleep(self, milliseconds: int) -> None:
            self.slices.append(milliseconds)
            await super().sleep(milliseconds)

    clock = Recording()
    clock.slices = []

    async def work(held: HeldLease) -> None:
        await held.sleep(milliseconds)

    in_lease(tmp_path, work, clock)
    assert clock.slices == slept


def test_a_lease_lets_nothing_more_leave_from_its_end_on(tmp_path: Path) -> None:
    clock = FakeClock()

    async def work(held: HeldLease) -> None:
        clock.ms = held.lease.expires - 1
        held.refuse_ended()
        clock.ms += 1
        with pytest.raises(LeaseLost):
            held.refuse_ended()
        # however late it is due, it is not renewed then
        with pytest.raises(LeaseLost):
            await held.renew()

    in_lease(tmp_path, work, clock)


def test_the_end_of_a_run_is_dated_and_has_its_sizes_and_its_report(tmp_path: Path) -> None:
    clock, ending = FakeClock(), RunEnding(rounds=3)

    async def work(held: HeldLease) -> None:
        header = RunHeader(HERE, "apply", "anna", START)
        async with journalled_run(held, header) as run:
            clock.ms += 7_000
            await run.end(RunStatus.COMPLETE, set_sizes={SetName("s"): 2}, ending=ending)
        (record,) = held.store.read_runs()
        assert (record.id, record.header, record.status, record.ended) == (
            run.id,
            header,
            RunStatus.COMPLETE,
            START + 7_000,
        )
        assert held.store.read_ending(run.id) == ending
        assert dict(held.store.load_state().set_sizes) == {"s": 2}

    in_lease(tmp_path, work, clock)


class Failing:
    """A state whose method of that name fails so many times."""

    def __init__(self, store: Any, name: str, times: int) -> None:
        self._store, self._name, self._left = store, name, [times]
        self.calls: list[str] = []

    @contextmanager
    def connect(self, location: LocationId) -> Iterator[Any]:
        with self._store.connect(location) as store:
            failing = Failing(store, self._name, 0)
            failing._left, failing.calls = self._left, self.calls
            yield failing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.calls.append(name)
            if name == self._name and self._left[0]:
                self._left[0] -= 1
                raise StateError("the disk is full")
            return getattr(self._store, name)(*arguments, **more)

        return call


@pytest.mark.parametrize(("times", "tries", "released"), [(0, 1, True), (1, 2, True), (2, 2, False)])
def test_a_lease_that_cannot_be_given_back_is_tried_once_more(
    tmp_path: Path, times: int, tries: int, released: bool
) -> None:
    """One that stays ends by itself, and the run that is over says nothing of it."""

    async def work() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            failing = Failing(store, "release_lease", times)
            async with await hold(failing, FakeClock()):  # type: ignore[arg-type]
                pass
            assert failing.calls.count("release_lease") == tries
            assert (store.at(HERE).read_lease(START) is None) is released

    asyncio.run(work())


async def fail_in_run(held: HeldLease, prepare: Callable[[JournalledRun], Awaitable[None]]) -> None:
    async with journalled_run(held, RunHeader(HERE, "apply", "anna", START)) as run:
        await prepare(run)
        raise ValueError("the reason")


async def do_nothing(run: JournalledRun) -> None:
    return


async def end_complete(run: JournalledRun) -> None:
    await run.end(RunStatus.COMPLETE)


async def leave_open(run: JournalledRun) -> None:
    run.leave_open()


def test_the_error_that_ended_a_run_says_more_than_a_failure_to_write_that_down(tmp_path: Path) -> None:
    async def work() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            failing = Failing(store, "end_run", 1)
            async with await hold(failing, FakeClock()) as held:  # type: ignore[arg-type]
                with pytest.raises(ValueError, match="the reason"):
                    await fail_in_run(held, do_nothing)
            assert [each.status for each in store.at(HERE).read_runs()] == [RunStatus.RUNNING]

    asyncio.run(work())


def test_a_run_that_ended_before_its_error_keeps_its_end(tmp_path: Path) -> None:
    async def work(held: HeldLease) -> None:
        for prepare in (end_complete, leave_open):
            with pytest.raises(ValueError, match="the reason"):
                await fail_in_run(held, prepare)
        assert [each.status for each in held.store.read_runs()] == [RunStatus.COMPLETE, RunStatus.RUNNING]

    in_lease(tmp_path, work, FakeClock())


def test_a_lost_lease_ends_the_run_before_the_next_request(scene: Scene) -> None:
    scene.after = lambda nth: take_over(scene, at=START + 10 * TTL_MS)
    report = scene.run(ALL)

    assert (report.exit_code, report.status, len(scene.updates)) == (ExitCode.ERROR, RunStatus.STOPPED, 1)
    assert "was taken over" in report.error
    with open_reader(scene.url) as reader:
        # the answer of the one request was refused: what is left of it is a doubt
        assert [contact for contact, known in reader.at(HERE).load_state().observed.items() if known.doubtful] == [
            who("anna")
        ]


def test_a_lease_lost_before_an_intent_leaves_nothing_behind(scene: Scene) -> None:
    with open_store(scene.url) as store:
        scene.before = lambda nth: take_over(scene, at=START + 10 * TTL_MS) if nth == 2 else None
        report = scene.run(ALL, store=store)

    assert (report.status, len(scene.updates)) == (RunStatus.STOPPED, 2)
    assert scene.tags("cara") == set()


def test_a_paused_process_sends_nothing_when_it_wakes_after_its_lease(scene: Scene) -> None:
    def sleep_through(nth: int) -> None:
        scene.clock.ms += TTL_MS

    scene.after = sleep_through
    report = scene.run(ALL)

    assert (report.status, len(scene.updates)) == (RunStatus.STOPPED, 1)
    assert "this process was paused" in report.error
    scene.after = lambda nth: None
    assert scene.run(ALL, holder=a_holder("two")).exit_code == ExitCode.DONE
    assert [scene.tags(name) for name in NOBODY] == [{"vip"}] * 3


def test_a_process_paused_just_before_a_request_leaves_no_doubt(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, NOBODY, limits=Limits(requests=1))
    scene.options = replace(scene.options, rate=Rate(per_window=1))

    def sleep_through_the_wait(event: Event) -> None:
        scene.clock.ms += TTL_MS if isinstance(event, Waiting) else 0

    scene.hear = sleep_through_the_wait
    report = scene.run(ALL)

    assert (report.status, len(scene.updates)) == (RunStatus.STOPPED, 1)
    with open_reader(scene.url) as reader:
        assert not any(known.doubtful for _, known in reader.at(HERE).load_state().observed.items())


def test_a_paused_process_that_wakes_in_time_goes_on(scene: Scene) -> None:
    def nap(nth: int) -> None:
        scene.clock.ms += TTL_MS - 1

    scene.after = nap
    assert (scene.run(ALL).exit_code, len(scene.updates)) == (ExitCode.DONE, 3)


def test_what_a_paused_process_writes_after_a_take_over_is_refused(scene: Scene) -> None:
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder(), START)
        take_over(scene, at=START + TTL_MS)
        for write in (store.renew_lease, store.release_lease):
            with pytest.raises(LeaseLost):
                write(lease, START) if write == store.renew_lease else write(lease)


def test_the_real_clock_beats_while_work_lasts() -> None:
    beats: list[int] = []
    done = asyncio.Event()

    async def work() -> str:
        await done.wait()
        return "done"

    async def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 3:
            done.set()

    async def main() -> str:
        return await SystemClock().during(work(), beat, every_ms=1)

    assert asyncio.run(main()) == "done"
    assert beats == [0, 1, 2]


def test_the_real_clock_passes_an_error_on() -> None:
    async def work() -> None:
        raise LeaseLost("gone")

    async def nothing() -> None:
        return

    async def main() -> None:
        await SystemClock().during(work(), nothing, every_ms=1_000)

    with pytest.raises(LeaseLost):
        asyncio.run(main())


def test_nothing_leaves_once_the_run_is_stopped_while_its_token_is_exchanged(scene: Scene) -> None:
    scene.prepare = lambda: scene.stop.ask(signal.SIGTERM)
    report = scene.run(ALL)

    assert scene.updates == []
    assert report.pairs == {Outcome.NOT_SENT: 3}
