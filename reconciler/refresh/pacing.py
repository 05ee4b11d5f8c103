"""Requests that read, within the rate limit; reading twice harms nobody, so what may pass is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from reconciler.core.errors import InDoubt, NotApplied
from reconciler.core.event import Waiting
from reconciler.core.names import LocationId
from reconciler.core.pace import Pace
from reconciler.ports import Clock, Reporter, TagReader

PAUSES_MS = (500, 1_000, 2_000, 4_000)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading needs of the world."""

    reader: TagReader
    clock: Clock
    report: Reporter
    pace: Pace


async def paced(location: LocationId, request: Callable[[], Awaitable[T]], reading: Reading) -> T:
    """The answer to one request, which is sent again where that may help."""
    for pause in PAUSES_MS:
        try:
            return await _once(location, request, reading)
        except (NotApplied, InDoubt) as error:
            asked = getattr(error, "retry_after_ms", None) or 0
            reading.report(Waiting(location, max(pause, asked), error.message))
            await reading.clock.sleep(max(pause, asked))
    return await _once(location, request, reading)


async def _once(location: LocationId, request: Callable[[], Awaitable[T]], reading: Reading) -> T:
    while wait := reading.pace.wait(reading.clock.now()):
        reading.report(Waiting(location, wait, "rate limit"))
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
