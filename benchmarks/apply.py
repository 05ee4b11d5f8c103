"""How close apply comes to the rate limit when every request takes 2 s, and what it costs beside a bare httpx loop.

    python benchmarks/apply.py [--seconds 60] [--latency-ms 2000] [--lanes 20] [--overhead 400]

The real command line against an emulated location in a process of its own, over HTTP on loopback, state in SQLite. The
rate: requests from the first to the last answer, beside the limit, and beside what a sender would reach that wastes
nothing: once with requests whose contacts allow only so many lanes side by side, once with requests that share none.
The overhead:
the same requests without limit and latency, by `apply` (journal, two durable transactions a request, rows judged) and
by `httpx` alone, with as many in flight, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from reconciler.core.model.api_limits import Rate, duration
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import ApiSettings
from reconciler.sandbox import in_background
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.world import Contact, World
from reconciler.wire import API_VERSION, BulkUpdate, bulk_body, bulk_path

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
LIMITS = Limits()
NO_LIMITS = Limits(1_000_000, 10_000, 1_000_000_000)
CONTACTS = 50
"""In one request."""

IN_FLIGHT = 50


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one tag each: `lanes` that share no contact, and in each of them so many, one after the other."""

    lanes: int
    tags: int = 1

    @property
    def requests(self) -> int:
        return self.lanes * self.tags

    @property
    def contacts(self) -> list[ContactId]:
        return [ContactId(f"contact{number:013d}") for number in range(self.lanes * CONTACTS)]

    @property
    def manifest(self) -> str:
        tags = ", ".join(f"customer-{number}" for number in range(self.tags))
        return f"location: {HERE}\ncontact_sets:\n  customers: {{contacts: {{file: customers.csv}}, tags: [{tags}]}}\n"

    def ideal(self, limit: Rate, latency_ms: int) -> float:
        """Seconds that no sender can better."""
        return max(duration(self.requests, limit) + latency_ms, self.tags * latency_ms) / 1000


def serve(pipe: Connection, load: Load, limits: Limits, latency_ms: int) -> None:
    """A location in a process of its own; answers with its address, ends with what happened in it."""
    world = World(HERE, [Contact(each, HERE) for each in load.contacts])
    with in_background(App(world, limits=limits), latency_ms=latency_ms) as running:
        pipe.send(running.url)
        pipe.recv()
    pipe.send(len(world.transitions))


@contextmanager
def a_location(load: Load, limits: Limits, latency_ms: int) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, load, limits, latency_ms))
    process.start()
    try:
        yield ours.recv()
        ours.send("stop")
        changed = ours.recv()
        if changed != load.requests * CONTACTS:
            sys.exit(f"{changed:,} tags were added, {load.requests * CONTACTS:,} were to be")
    finally:
        process.join(10)


def apply(load: Load, url: str, *settings: str) -> list[dict[str, object]]:
    """The events of one apply."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "customers.csv").write_text("contact_id\n" + "\n".join(load.contacts) + "\n")
        (place / "acme.yaml").write_text(load.manifest)
        flags = ("--auto-approve", "--create-state", "--format", "json", "--log-format", "json", "--log-level", "debug")
        caps = ("--api-max-contacts", str(CONTACTS), "--api-max-tags", "1")
        more = (*caps, "--state", f"sqlite:///{place / 'state.db'}", *settings)
        environment = os.environ | {"HIGHLEVEL_TOKEN": DEMO_TOKEN, "RECONCILER_API_BASE_URL": url}
        command = [sys.executable, "-m", "reconciler", "apply", str(place), *flags, *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"apply ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"time"')]


def seconds(events: list[dict[str, object]]) -> float:
    """From the beginning of the first round to the last answer."""
    began = next(each for each in events if each["event"] == "RoundStarted")
    last = [each for each in events if each["event"] == "BatchAnswered"][-1]
    moments = [datetime.fromisoformat(str(each["time"])) for each in (began, last)]
    return (moments[1] - moments[0]).total_seconds()


def measure_rate(load: Load, latency_ms: int, reserve_pct: float) -> None:
    limit = Rate(LIMITS.requests, LIMITS.interval_ms)
    with a_location(load, LIMITS, latency_ms) as url:
        events = apply(load, url, "--api-reserve-pct", f"{reserve_pct:g}")
    took, ideal = seconds(events), load.ideal(limit, latency_ms)
    rate, ours = load.requests / took, replace(limit, reserve_pct=reserve_pct).ours
    share, of_ours = (100 * rate * limit.window_ms / 1000 / each for each in (limit.per_window, ours))
    refused = sum("429" in str(each.get("why", "")) for each in events)
    print(f"{load.requests} requests of {latency_ms} ms in {load.lanes} lanes, reserve {reserve_pct:g} %:")
    print(f"  took {took:.1f} s, {rate:.2f} a second; at least {ideal:.1f} s by any sender, whatever the reserve")
    print(f"  {share:.1f} % of the limit, {of_ours:.1f} % of what the reserve leaves, {refused} answered with 429")
    sys.stdout.flush()


def measure_rates(wanted_s: float, latency_ms: int, lanes: int) -> None:
    """Runs of so many seconds at the limit: with conflicts, with and without a reserve; and without conflicts."""
    requests = round(LIMITS.requests * wanted_s * 1000 / LIMITS.interval_ms)
    reserve = ApiSettings().reserve_pct
    for load, left in ((Load(lanes, requests // lanes), 0), (Load(lanes, requests // lanes), reserve)):
        measure_rate(load, latency_ms, left)
    measure_rate(Load(requests), latency_ms, reserve)


async def bare(load: Load, url: str) -> float:
    """The same requests by httpx alone."""
    whole = load.contacts
    parts = (tuple(whole[start : start + CONTACTS]) for start in range(0, len(whole), CONTACTS))
    queue = iter([BulkUpdate(Action.ADD, HERE, part, ("customer-0",)) for part in parts])
    headers = {"Authorization": f"Bearer {DEMO_TOKEN}", "Version": API_VERSION, "Content-Type": "application/json"}

    async def worker(client: httpx.AsyncClient) -> None:
        for each in queue:
            (await client.post(bulk_path(each), content=bulk_body(each))).raise_for_status().json()

    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        began = time.perf_counter()
        await asyncio.gather(*(worker(client) for _ in range(IN_FLIGHT)))
        return time.perf_counter() - began


def measure_overhead(load: Load, runs: int) -> None:
    ours, alone = [], []
    for _ in range(runs):
        with a_location(load, NO_LIMITS, 0) as url:
            ours.append(seconds(apply(load, url, "--api-requests-per-10s", "1000000")) * 1000 / load.requests)
        with a_location(load, NO_LIMITS, 0) as url:
            alone.append(asyncio.run(bare(load, url)) * 1000 / load.requests)
    by_apply, by_httpx = statistics.median(ours), statistics.median(alone)
    print(f"{load.requests} requests of {CONTACTS} contacts without limit and latency, median of {runs} runs:")
    print(f"  apply {by_apply:.2f} ms a request, httpx alone {by_httpx:.2f} ms: {by_apply - by_httpx:.2f} ms more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--latency-ms", type=int, default=2_000)
    parser.add_argument("--lanes", type=int, default=20, help="requests whose contacts allow them side by side")
    parser.add_argument("--overhead", type=int, default=400, metavar="REQUESTS")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.overhead:
        measure_overhead(Load(arguments.overhead), arguments.runs)
    if arguments.seconds:
        measure_rates(arguments.seconds, arguments.latency_ms, arguments.lanes)


if __name__ == "__main__":
    main()
