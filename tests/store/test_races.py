"""Many processes that want the same lease at the same moment: one has it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest

from reconciler.core.errors import LeaseLost, LockHeld
from reconciler.core.lease import TTL_MS
from reconciler.core.names import ContactId, Instant, LocationId
from reconciler.store import open_store
from tests.fakes import START, a_holder
from tests.store.conftest import HOMES
from tests.store.test_contract import seen

MOST = 16
HERE = LocationId("asdrwHvLUxlfw5SqKVCN")


@dataclass
class Racer:
    process: BaseProcess
    line: Connection


def race(url: str, nth: int, line: Connection) -> None:
    """Takes part in one race after the other: told when it is, tells the fence that it got, None for a refusal."""
    with open_store(url) as store:
        while (now := line.recv()) is not None:
            try:
                lease = store.acquire(HERE, a_holder(f"{nth}-{now}"), Instant(now))
                store.learn(lease, {ContactId("anna"): seen(str(nth), at=now)})
                line.send(lease.fence)
            except (LockHeld, LeaseLost):
                line.send(None)


@pytest.fixture(params=sorted(HOMES))
def racers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Racer]]:
    url = HOMES[request.param](tmp_path)
    with open_store(url):
        pass
    context = multiprocessing.get_context("spawn")
    found = []
    for nth in range(MOST):
        ours, theirs = context.Pipe()
        process = context.Process(target=race, args=(url, nth, theirs))
        process.start()
        found.append(Racer(process, ours))
    yield found
    for each in found:
        each.line.send(None)
        each.process.join()


@pytest.mark.parametrize("races", [pytest.param(20, id="20"), pytest.param(500, id="500", marks=pytest.mark.slow)])
def test_of_many_that_come_at_once_one_has_the_lease(racers: list[Racer], races: int) -> None:
    chance, fence = Random(races), 0
    for nth in range(races):
        # each race begins where the last winner's lease has just ended
        now = START + nth * TTL_MS
        running = chance.sample(racers, chance.randrange(2, MOST + 1))
        for each in running:
            each.line.send(now)
        won = [got for got in (each.line.recv() for each in running) if got is not None]
        assert len(won) == 1, f"race {nth} of {len(running)}"
        assert won[0] > fence
        fence = won[0]
