"""The lease of a run: waited for, kept alive, and once it is lost nothing more is sent or written."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.errors import ExitCode, LeaseLost, LockHeld
from reconciler.core.model.events import Event, Waiting
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.lease import HEARTBEAT_MS, TTL_MS, retry_pauses
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Outcome
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

    waits = [each.milliseconds for each in scene.events if isinstance(each, Waiting)]
    assert report.exit_code == ExitCode.DONE
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000, 16_000, 16_000]


def test_a_wait_for_the_lock_ends_with_its_time(scene: Scene) -> None:
    with open_store(scene.url) as other:
        other.at(HERE).acquire_lease(a_holder("two"), START)
        report = scene.run(ALL, lock_timeout_ms=20_000)

    assert (report.exit_code, scene.clock.ms - START) == (ExitCode.LOCKED, 20_000)


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


@pytest.mark.parametrize(
    "takes_ms", [pytest.param(30, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.slow), 3_000]
)
def test_a_wait_of_a_day_ends_in_time_however_long_each_heartbeat_takes(tmp_path: Path, takes_ms: int) -> None:
    clock = FakeClock()

    async def wait() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            held = await hold(store, clock, lambda: SlowWorker(clock, lambda: (takes_ms, 0)))
            began = clock.now()
            await held.sleep(DAY_MS)
            assert DAY_MS <= clock.now() - began <= DAY_MS + takes_ms

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


def test_a_wait_for_the_lock_ends_with_its_time_however_long_each_try_takes(tmp_path: Path) -> None:
    clock = FakeClock()

    async def wait() -> None:
        with open_store(f"sqlite:///{tmp_path / 'state.db'}") as store:
            store.at(HERE).acquire_lease(a_holder("two"), START)
            with pytest.raises(LockHeld):
                await hold(store, clock, lambda: SlowWorker(clock, lambda: (0, 2_000)), lock_timeout_ms=20_000)
            # the last try begins as the time ends; after it the connection is given back, by two calls
            assert clock.now() - START == 20_000 + 3 * 2_000

    clock.run(wait())


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
