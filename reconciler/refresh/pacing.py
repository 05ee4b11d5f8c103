"""Requests that read, within the rate limit; reading twice harms nobody, so what may pass is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import random
from typing import Any, TypeVar

from reconciler.core.backoff import Backoff
from reconciler.core.errors import InDoubt, NotApplied
from reconciler.core.event import Waiting
from reconciler.core.names import LocationId
from reconciler.core.pace import Pace
from reconciler.ports import Clock, Reporter, TagReader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading needs of the world. `turn`: one request at a time waits for its place, and says so. `chance`:
    drawn evenly from 0 to 1, for the pauses."""

    reader: TagReader
    clock: Clock
    report: Reporter
    pace: Pace
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    backoff: Backoff = Backoff(retries=4)
    chance: Callable[[], float] = random


async def paced(location: LocationId, request: Callable[[], Awaitable[T]], reading: Reading) -> T:
    """The answer to one request, which is sent again where that may help."""
    for attempt in count():
        try:
            return await _once(location, request, reading)
        except (NotApplied, InDoubt) as error:
            asked = reading.pace.heed(error, reading.clock.now())
            pause = reading.backoff.pause(attempt, reading.chance(), asked_ms=asked)
            if pause is None:
                raise
            reading.report(Waiting(location, pause, error.message))
            await reading.clock.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


async def _once(location: LocationId, request: Callable[[], Awaitable[T]], reading: Reading) -> T:
    async with reading.turn:
        while wait := reading.pace.wait(reading.clock.now()):
            reading.report(Waiting(location, wait, reading.pace.why(reading.clock.now())))
            await reading.clock.sleep(wait)
        ticket, answered = reading.pace.leave(reading.clock.now()), False
    try:
        found = await request()
        answered = True
    finally:
        reading.pace.end(ticket, reading.clock.now(), answered=answered)
    return found


async def at_once(jobs: Iterable[Callable[[], Coroutine[Any, Any, None]]], most: int) -> None:
    """All of the jobs, at most so many at the same time; the first that fails ends them all."""
    left = iter(jobs)
    workers = [asyncio.ensure_future(_work(left)) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _work(jobs: Iterator[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    for job in jobs:
        await job()
