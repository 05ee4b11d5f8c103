"""The only way to a request, read or write: pace, quota, back-off, heartbeat, halt. Law: sees ports and core.

Rules
1. A request leaves where its gate is not halted, today's quota less its reserve has room for it, the rate limit lets
   one more go, and the lease that it needs is alive. One at a time waits for that, and reports its wait. Halt and
   lease are looked at once more when its intent is durable.
2. While a wait or a request lasts the lease is renewed.
3. An error that may pass is followed by a pause and another try: a read's here, a write's by the sender, which journals
   each attempt.
4. A pause before another try is drawn evenly between nothing and a ceiling that doubles with each attempt: many clients
   that were turned away together do not come back together. The wait that the server asks for comes on top of it.
5. Halting lets no more leave: it ends the requests that wait, and lets those under way end.
6. No write leaves once its plan has ended, and none waits for that: it halts the gate.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import random
from typing import Any, TypeVar

from reconciler.core.model.errors import (
    InDoubt,
    Interrupted,
    NotApplied,
    NoWay,
    QuotaExhausted,
    RateLimited,
    ReconcilerError,
    StalePlan,
)
from reconciler.core.model.events import WaitCause, Waiting
from reconciler.core.model.journal import ReadFor
from reconciler.core.model.names import Instant, LocationId, iso
from reconciler.core.running.pace import Pace, quota_wait_ms, refuse_starved
from reconciler.ports import Clock, Heartbeat, Reporter

T = TypeVar("T")
Listener = Callable[[ReconcilerError], None]
READ_LATER = "run it again then; a search reads 500 contacts a request"
PASSING = (NotApplied, InDoubt, QuotaExhausted)
"""Errors after which a request that only reads may be sent again."""


class Halted(Exception):
    """No further request may leave: unwinds the tasks that wait for their turn. Never leaves apply."""


@dataclass(frozen=True, slots=True)
class NoLease:
    """The heartbeat of a command that stores nothing, and so holds no lease."""

    clock: Clock

    async def renew(self) -> None:
        return

    def refuse_ended(self) -> None:
        return

    async def during(self, work: Awaitable[T]) -> T:
        return await work

    async def sleep(self, milliseconds: int) -> None:
        await self.clock.sleep(milliseconds)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Milliseconds of the first ceiling and of the highest, and how often a request is tried again."""

    first_ms: int = 1_000
    most_ms: int = 30_000
    retries: int = 5

    def pause(self, attempt: int, chance: float, *, asked_ms: int | None = None) -> int | None:
        """Milliseconds before the next attempt; None where enough was tried. `chance`: from 0 to 1, drawn evenly."""
        if attempt >= self.retries:
            return None
        # the draw on top: clients that were told the same wait would come back together
        return (asked_ms or 0) + round(chance * self.ceiling(attempt))

    def ceiling(self, attempt: int) -> int:
        # 60 doublings are beyond any ceiling; more would only make large numbers
        return min(self.most_ms, self.first_ms << min(attempt, 60))


@dataclass(slots=True)
class Tries:
    """How often one request failed that may be sent again. A 429 is no failure of its own: it is waited out."""

    backoff: Backoff = Backoff(retries=4)
    failed: int = 0

    def pause(
        self, location: LocationId, pace: Pace, error: NotApplied | InDoubt, now: Instant, *, chance: float
    ) -> int | None:
        """Milliseconds before the next try, 0 where the pace alone rules; None where enough was tried.

        Raises QuotaExhausted where the rate limit lets no request through for too long to wait.
        """
        # another try would end alike
        if isinstance(error, NoWay):
            return None
        asked = pace.heed(error, now)
        if isinstance(error, RateLimited):
            refuse_starved(location, pace, error, now)
            return self.backoff.pause(0, chance, asked_ms=asked) if asked else 0
        self.failed += 1
        return self.backoff.pause(self.failed - 1, chance, asked_ms=asked)


@dataclass(slots=True)
class RequestGate:
    """One location's gate. `error` is the first one that halted it."""

    location: LocationId
    pace: Pace
    clock: Clock
    report: Reporter
    heartbeat: Heartbeat
    chance: Callable[[], float] = random
    """Drawn evenly from 0 to 1, for the pauses."""
    spill: bool = False
    """Whether to wait for tomorrow's quota where today's is used up."""
    later: str = READ_LATER
    """The hint for a person where today's quota is used up, and nothing waits for tomorrow's."""
    valid_until: Instant | None = None
    """The plan ends then, and no write leaves from then on; None: it does not end."""
    error: ReconcilerError | None = None
    reads_for: Counter[ReadFor] = field(default_factory=Counter)
    """The requests that read, by their purpose."""
    writes: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _halted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reads(self) -> int:
        return self.reads_for.total()

    def halt(self, error: ReconcilerError) -> None:
        """Lets nothing more leave. The first error stays."""
        if self.error is None:
            self.error = error
            self._halted.set()

    def raise_if_halted(self) -> None:
        if self.error is not None:
            raise Halted

    def halt_if_ended(self, wait_ms: int = 0) -> None:
        """Lets no write leave that after such a wait would be of a plan that has ended; raises Halted then."""
        if self.valid_until is not None and self.clock.now() + wait_ms >= self.valid_until:
            self.halt(
                StalePlan(
                    f"the plan is stale from {iso(self.valid_until)} on: a set becomes active or expires then",
                    hint="what was sent before is told above; plan again from then on, for what is left",
                )
            )
        self.raise_if_halted()

    async def read(self, request: Callable[[], Awaitable[T]], purpose: ReadFor = ReadFor.DOUBTS) -> tuple[Instant, T]:
        """When the request left, and its answer. Raises its error, and those of `take_turn`."""
        ticket = await self.take_turn()
        self.reads_for[purpose] += 1
        asked = self.clock.now()
        return asked, await self._await_answer(ticket, request())

    async def read_with_retries(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        gives_up: Callable[[], bool] = lambda: False,
        purpose: ReadFor = ReadFor.DOUBTS,
    ) -> tuple[Instant, T]:
        """As `read`; sent again for as long as that may help: to read twice harms no contact."""
        tries = Tries()
        while True:
            try:
                return await self.read(request, purpose)
            except PASSING as error:
                if gives_up() or not await self.wait_to_retry(tries, error):
                    raise

    @contextmanager
    def returning(self, ticket: int) -> Iterator[None]:
        """Gives a ticket back where what comes before its request fails: who asks next would wait for it."""
        try:
            yield
        except BaseException:
            self.pace.take_back(ticket)
            raise

    def refuse_late(self, ticket: int) -> None:
        """Lets a request go for which an intent was journalled since it had its ticket.

        Raises Halted and LeaseLost: that took its time. Then the request does not leave, and its ticket is void.
        """
        with self.returning(ticket):
            self.halt_if_ended()
            self.heartbeat.refuse_ended()
        self.pace.leave_late(ticket, self.clock.now())

    async def write(self, ticket: int, request: Awaitable[T]) -> T:
        """The answer to a write that has its ticket already, and was let go."""
        self.writes += 1
        return await self._await_answer(ticket, request)

    async def take_turn(self, prepare: Callable[[], Awaitable[None]] | None = None) -> int:
        """Waits until one more request may leave; its ticket. `prepare` gets the token that a write needs.

        Raises Halted, LeaseLost, QuotaExhausted, and the errors of `prepare`.
        """
        async with self._turn:
            self.raise_if_halted()
            # asked anew after each pause: a request under way may hold its place, or bring new limits
            while wait := self._next_wait():
                # nor does a reading hold the lease for a day that the plan does not see
                if prepare is not None or wait.cause is WaitCause.QUOTA:
                    self.halt_if_ended(wait.milliseconds)
                await self._wait_out(wait)
            if prepare is not None:
                # a doubt is dated from its intent: nothing may take time between that and the request
                await self._prepare(prepare)
                self.halt_if_ended()
            # last: the lease may have ended during the wait
            await self.heartbeat.renew()
            # to renew it may have taken time
            self.raise_if_halted()
            return self.pace.leave(self.clock.now())

    async def _prepare(self, prepare: Callable[[], Awaitable[None]]) -> None:
        tries = Tries()
        while True:
            try:
                return await self.heartbeat.during(prepare())
            except NotApplied as error:
                if not await self.wait_to_retry(tries, error):
                    raise

    def _next_wait(self) -> Waiting | None:
        """The time for which nothing may leave, and why."""
        now = self.clock.now()
        if quota := quota_wait_ms(self.location, self.pace, now, spill=self.spill, hint=self.later):
            return Waiting(self.location, quota, self.pace.why_today(), WaitCause.QUOTA)
        wait = self.pace.wait(now)
        return Waiting(self.location, wait, self.pace.why(now), WaitCause.PACE) if wait else None

    async def wait_to_retry(self, tries: Tries, error: NotApplied | InDoubt | QuotaExhausted) -> bool:
        """Whether a request that failed may be sent again; the pause before that is over then."""
        if isinstance(error, QuotaExhausted):
            # `take_turn` waits for tomorrow
            return self.spill
        pause = tries.pause(self.location, self.pace, error, self.clock.now(), chance=self.chance())
        # 0: the pace alone decides when the request leaves again; None: enough was tried
        if pause:
            await self._wait_out(Waiting(self.location, pause, error.message, WaitCause.RETRY))
        return pause is not None

    async def pause(self, milliseconds: int, why: str) -> None:
        """A wait with heartbeats; raises Halted as soon as nothing more may leave."""
        await self._wait_out(Waiting(self.location, milliseconds, why))

    async def _wait_out(self, wait: Waiting) -> None:
        self.report(wait)
        await until(self._halted.wait, self.heartbeat.sleep(wait.milliseconds))
        self.raise_if_halted()

    async def _await_answer(self, ticket: int, request: Awaitable[T]) -> T:
        answered = False
        try:
            answer = await self.heartbeat.during(request)
            answered = True
        finally:
            self.pace.end(ticket, self.clock.now(), answered=answered)
        # all answers that are here are dated before one of them is recorded: to write takes its time
        await asyncio.sleep(0)
        return answer


@dataclass(slots=True)
class Stop:
    """Asked by a signal, or by an error; asks the runs that listen, and those that begin to listen later."""

    interrupted: ReconcilerError | None = None
    _listeners: list[Listener] = field(default_factory=list)

    def ask(self, signum: int) -> None:
        """Runs send nothing more from now on; requests under way end."""
        self.end(Interrupted(signum))

    def end(self, error: ReconcilerError) -> None:
        """As `ask`, for another reason. The first one stays."""
        if self.interrupted is None:
            self.interrupted = error
            for listener in tuple(self._listeners):
                listener(error)

    async def wait(self) -> None:
        """Returns once a signal has asked."""
        asked = asyncio.Event()

        def listener(_: ReconcilerError) -> None:
            asked.set()

        self.listen(listener)
        try:
            await asked.wait()
        finally:
            self.forget(listener)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)
        # the signal may have come before the run began
        if self.interrupted is not None:
            listener(self.interrupted)

    def forget(self, listener: Listener) -> None:
        self._listeners.remove(listener)


async def until(stopped: Callable[[], Awaitable[object]], work: Awaitable[T]) -> T | None:
    """The result of `work`, or None where `stopped` came first."""
    stopping, working = asyncio.ensure_future(stopped()), asyncio.ensure_future(work)
    try:
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        # both have ended when this returns: no part of the work goes on unseen
        for task in (stopping, working):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})


async def run_jobs(jobs: Iterable[Callable[[], Coroutine[Any, Any, None]]], most: int) -> None:
    """Does all of the jobs, at most so many at the same time; the first that fails ends them all."""
    # one queue for all workers: jobs are made when a worker is free, however many there are
    queue = iter(jobs)
    workers = [asyncio.ensure_future(_do_jobs(queue)) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    except QuotaExhausted:
        # requests that left before the limit was used up are answered all the same, and not lost
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _do_jobs(queue: Iterator[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    for job in queue:
        await job()
