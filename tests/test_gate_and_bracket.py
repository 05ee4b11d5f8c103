"""One gate for every request, one bracket for every change of state: what both promise to whoever uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.errors import Interrupted, LeaseLost, NotApplied, QuotaExhausted, StateError
from reconciler.core.model.events import Event, Waiting
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.running.pace import Pace
from reconciler.journalled_run import journalled_run
from reconciler.ports import StateStore
from reconciler.request_gate import Halted, NoLease, RequestGate
from reconciler.store import open_store
from tests.build import HERE
from tests.fakes import START, FakeClock, hold

Request = Callable[[], Awaitable[int]]


class Gate:
    """A gate of two requests a window, and what it reported."""

    def __init__(self, **more: object) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        pace = Pace(Rate(per_window=2, window_ms=10_000, per_day=5))
        self.gate = RequestGate(HERE, pace, self.clock, self.events.append, NoLease(self.clock), **more)  # type: ignore[arg-type]

    @property
    def waits(self) -> list[int]:
        return [event.milliseconds for event in self.events if isinstance(event, Waiting)]


async def answered() -> int:
    return 7


def failing(*errors: Exception) -> Request:
    """Fails with each of the errors, then is answered."""
    left = list(errors)

    async def request() -> int:
        if left:
            raise left.pop(0)
        return 7

    return request


def test_reads_and_writes_share_one_pace() -> None:
    """Two a window: the third waits for the window to pass, whichever of both it is."""
    gate = Gate()

    async def work() -> None:
        await gate.gate.read(answered)
        await gate.gate.write(await gate.gate.take_turn(), answered())
        await gate.gate.read(answered)

    gate.clock.run(work())
    assert (gate.gate.reads, gate.gate.writes, gate.waits) == (2, 1, [10_000])


@pytest.mark.parametrize(("spill", "reads"), [(False, 5), (True, 6)])
def test_the_quota_of_the_day_holds_for_both(spill: bool, reads: int) -> None:
    gate = Gate(spill=spill, later="run it again then")
    gate.gate.pace.assume(0, START)

    async def work() -> None:
        for _ in range(6):
            await gate.gate.read(answered)

    if spill:
        gate.clock.run(work())
    else:
        with pytest.raises(QuotaExhausted) as caught:
            gate.clock.run(work())
        assert caught.value.hint.startswith("run it again then")
    assert gate.gate.reads == reads


def test_a_read_that_may_pass_is_sent_again_and_another_one_is_not() -> None:
    gate = Gate(chance=lambda: 0.5)

    async def work() -> None:
        assert (await gate.gate.read_with_retries(failing(NotApplied("reset"), NotApplied("reset"))))[1] == 7
        with pytest.raises(StateError):
            await gate.gate.read_with_retries(failing(StateError("no space left")))

    gate.clock.run(work())
    assert gate.gate.reads == 4


def test_halting_ends_those_that_wait_and_lets_those_under_way_end() -> None:
    gate = Gate()
    ended: list[str] = []

    async def under_way() -> None:
        async def slow() -> int:
            await gate.clock.sleep(5_000)
            return 7

        assert (await gate.gate.read(slow))[1] == 7
        ended.append("answered")

    async def waiting() -> None:
        with pytest.raises(Halted):
            await gate.gate.read(answered)
        ended.append("halted")

    async def work() -> None:
        tasks = [asyncio.create_task(each) for each in (under_way(), under_way(), waiting())]
        await gate.clock.sleep(1_000)
        gate.gate.halt(Interrupted(2))
        gate.gate.halt(StateError("too late to be the reason"))
        await asyncio.gather(*tasks)

    gate.clock.run(work())
    assert ended == ["halted", "answered", "answered"]
    assert isinstance(gate.gate.error, Interrupted)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with open_store(f"sqlite:///{tmp_path}/state.db") as state:
        yield state


class Unforeseen(Exception):
    pass


@pytest.mark.parametrize(
    ("ends_by", "cancelled", "status"),
    [
        (None, RunStatus.INTERRUPTED, RunStatus.COMPLETE),
        (Unforeseen, RunStatus.INTERRUPTED, RunStatus.STOPPED),
        (KeyboardInterrupt, RunStatus.INTERRUPTED, RunStatus.INTERRUPTED),
        (asyncio.CancelledError, None, RunStatus.RUNNING),
    ],
)
def test_a_run_ends_as_it_was_left(
    store: StateStore, ends_by: type[BaseException] | None, cancelled: RunStatus | None, status: RunStatus
) -> None:
    async def work() -> None:
        header = RunHeader(HERE, "test", "one", START)
        with pytest.raises(ends_by) if ends_by else nullcontext():
            async with await hold(store, FakeClock()) as held, journalled_run(held, header, cancelled=cancelled):
                if ends_by is not None:
                    raise ends_by

    asyncio.run(work())
    assert [record.status for record in store.at(HERE).read_runs()] == [status]
    assert store.at(HERE).read_lease(START) is None


def test_a_run_that_is_left_open_or_has_ended_is_not_ended_again(store: StateStore) -> None:
    async def work() -> None:
        async with await hold(store, FakeClock()) as held:
            async with journalled_run(held, RunHeader(HERE, "open", "one", START)) as run:
                run.leave_open()
            async with journalled_run(held, RunHeader(HERE, "ended", "one", START)) as run:
                await run.end(RunStatus.STOPPED)

    asyncio.run(work())
    assert [record.status for record in store.at(HERE).read_runs()] == [RunStatus.INTERRUPTED, RunStatus.STOPPED]


def test_a_lease_that_is_over_by_our_clock_lets_nothing_more_leave(store: StateStore) -> None:
    clock = FakeClock()

    async def work() -> None:
        async with await hold(store, clock) as held:
            gate = RequestGate(HERE, Pace(Rate()), clock, lambda event: None, held)
            clock.ms = held.lease.expires
            with pytest.raises(LeaseLost):
                await gate.read(answered)
            assert gate.reads == 0

    asyncio.run(work())
