"""Many processes that want the same lease at the same moment: one has it.

Rules
1. A location sees a few races: the first is for a lease that nobody ever had, the others for one that has just ended.
2. Processes are forked off one that has everything imported: to start sixteen takes a tenth of a second.
3. Where a server makes those wait a second who come second (SeaweedFS does), many series of races run at once, each on
   locations of its own and with a thread and a connection of its own in every process.
4. A server under such a load drops a connection now and then. Whoever is told so holds nothing; all others are held to
   the law, and it happens to one race in fifty at most.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest

from reconciler.core.model.errors import LeaseLost, LockHeld, StateError
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.store import open_store
from tests.fakes import START, a_holder
from tests.sizes import how_many
from tests.store.conftest import HOMES
from tests.store.test_contract import seen

MOST = 16
A_LOCATION = 5
PRELOADED = ["tests.store.test_races", "reconciler.store.object", "reconciler.store.postgres_states"]


PATIENCE_S = 60
AT_ONCE = {"s3": 16, "azure": 4}


@dataclass
class Racer:
    """A process, and the line to its part in each series."""

    process: BaseProcess
    lines: list[Connection]


def race(url: str, nth: int, line: Connection) -> None:
    """Takes part in one race after the other: told when and where it is, tells the fence that it got, None where it was
    refused, or what went wrong.
    """
    with open_store(url) as state:
        while (told := line.recv()) is not None:
            location, now = told
            store = state.at(location)
            try:
                lease = store.acquire_lease(a_holder(f"{nth}-{now}"), Instant(now))
                store.save_states(lease, {ContactId("anna"): seen(str(nth), at=now)})
                line.send(lease.fence)
            except (LockHeld, LeaseLost):
                line.send(None)
            except StateError as error:
                line.send(repr(error))


def race_at_once(url: str, nth: int, lines: list[Connection]) -> None:
    threads = [threading.Thread(target=race, args=(url, nth, line)) for line in lines]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


@pytest.fixture(params=sorted(HOMES))
def racers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Racer]]:
    url, series = HOMES[request.param](tmp_path), range(AT_ONCE.get(request.param, 1))
    with open_store(url):
        pass
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    found = []
    for nth in range(MOST):
        ours, theirs = zip(*(context.Pipe() for _ in series), strict=True)
        process = context.Process(target=race_at_once, args=(url, nth, theirs))
        process.start()
        found.append(Racer(process, list(ours)))
    yield found
    for each in found:
        for line in each.lines:
            line.send(None)
        each.process.join()


@pytest.mark.parametrize(
    "races", [pytest.param(20, id="20"), pytest.param(how_many(30, 150), id="many", marks=pytest.mark.slow)]
)
def test_of_many_that_come_at_once_one_has_the_lease(racers: list[Racer], races: int) -> None:
    at_once = len(racers[0].lines)

    def run(nth: int) -> list[str]:
        return series(nth, [each.lines[nth] for each in racers], len(range(nth, races, at_once)))

    with ThreadPoolExecutor(at_once) as threads:
        failures = [each for found in threads.map(run, range(at_once)) for each in found]
    assert len(failures) <= races // 50, failures


def series(number: int, racers: list[Connection], races: int) -> list[str]:
    """What went wrong."""
    chance, fence = Random(number), 0
    failures: list[str] = []
    for nth in range(races):
        location, turn = LocationId(f"location-{number}-{nth // A_LOCATION}"), nth % A_LOCATION
        fence = fence if turn else 0
        # each race begins where the last winner's lease has just ended
        now = START + turn * TTL_MS
        running = chance.sample(racers, chance.randrange(2, MOST + 1))
        for each in running:
            each.send((location, now))
        # waited for, but not for ever: a server may have died
        got = [each.recv() if each.poll(PATIENCE_S) else "no answer" for each in running]
        won = [each for each in got if isinstance(each, int)]
        failed = [each for each in got if isinstance(each, str)]
        assert len(won) <= 1, f"series {number}, race {nth} of {len(running)}"
        assert won or failed, f"series {number}, race {nth} of {len(running)}"
        assert all(each > fence for each in won)
        fence = max([fence, *won])
        failures += failed
    return failures
