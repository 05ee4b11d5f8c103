"""Requests that read, within rate limit and quota; reading twice harms nobody, so what may pass is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from random import random
from typing import Any, TypeVar

from reconciler.core.model.errors import InDoubt, NotApplied, QuotaExhausted
from reconciler.core.model.events import Waiting
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import THE_TOKEN
from reconciler.core.running.pace import Pace
from reconciler.core.running.quota import Tries, room
from reconciler.ports import Clock, Reporter, TagReader

T = TypeVar("T")
READ_LATER = "run it again then; a search reads 500 contacts a request"


@dataclass(frozen=True, slots=True)
class ReadServices:
    """What reading needs of the world. `turn`: one request at a time waits for its place, and says so. `chance`:
    drawn evenly from 0 to 1, for the pauses. `token`: what it is called, and where it is held."""

    reader: TagReader
    clock: Clock
    report: Reporter
    pace: Pace
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    chance: Callable[[], float] = random
    token: str = THE_TOKEN


async def paced(location: LocationId, request: Callable[[], Awaitable[T]], reading: ReadServices) -> T:
    """The answer to one request, which is sent again where that may help. Raises QuotaExhausted where only the reserve
    is left of today's quota, or others use up the rate limit."""
    tries = Tries()
    while True:
        try:
            return await _once(location, request, reading)
        except (NotApplied, InDoubt) as error:
            pause = tries.pause(location, reading.pace, error, reading.clock.now(), chance=reading.chance())
            if pause is None:
                raise
            if pause:
                reading.report(Waiting(location, pause, error.message))
                await reading.clock.sleep(pause)


async def _once(location: LocationId, request: Callable[[], Awaitable[T]], reading: ReadServices) -> T:
    async with reading.turn:
        while wait := _wait(location, reading):
            reading.report(Waiting(location, wait, reading.pace.why(reading.clock.now())))
            await reading.clock.sleep(wait)
        ticket, answered = reading.pace.leave(reading.clock.now()), False
    try:
        found = await request()
        answered = True
    finally:
        reading.pace.end(ticket, reading.clock.now(), answered=answered)
    return found


def _wait(location: LocationId, reading: ReadServices) -> int:
    now = reading.clock.now()
    return room(location, reading.pace, now, spill=False, hint=READ_LATER) or reading.pace.wait(now)


async def at_once(jobs: Iterable[Callable[[], Coroutine[Any, Any, None]]], most: int) -> None:
    """All of the jobs, at most so many at the same time; the first that fails ends them all. What was let through
    before a limit was used up is answered all the same, and not lost."""
    left = iter(jobs)
    workers = [asyncio.ensure_future(_work(left)) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    except QuotaExhausted:
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _work(jobs: Iterator[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    for job in jobs:
        await job()
