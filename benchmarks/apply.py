"""How close apply comes to the rate limit when every request takes 2 s, and what it costs beside a bare httpx loop.

    python benchmarks/apply.py [--seconds 60] [--latency-ms 2000] [--overhead 400]

The real command line against an emulated location in a process of its own, over HTTP on loopback, state in SQLite. The
rate: requests from the first to the last answer, beside what a sender would reach that wastes nothing. The overhead:
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
from dataclasses import replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from reconciler.core.names import ContactId, LocationId
from reconciler.core.outcome import Action
from reconciler.core.pace import Rate, duration
from reconciler.core.settings import ApiSettings
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.limiter import Limits
from reconciler.sandbox.server import in_background
from reconciler.sandbox.world import Contact, World
from reconciler.wire import API_VERSION, BulkUpdate, bulk_body, bulk_path

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
LIMITS = Limits()
NO_LIMITS = Limits(1_000_000, 10_000, 1_000_000_000)
CONTACTS = 50
"""In one request."""

IN_FLIGHT = 50


def contacts(requests: int) -> list[ContactId]:
    return [ContactId(f"contact{number:013d}") for number in range(requests * CONTACTS)]


def serve(pipe: Connection, requests: int, limits: Limits, latency_ms: int) -> None:
    """A location in a process of its own; answers with its address, ends with what happened in it."""
    world = World(HERE, [Contact(each, HERE) for each in contacts(requests)])
    with in_background(App(world, limits=limits), latency_ms=latency_ms) as running:
        pipe.send(running.url)
        pipe.recv()
    pipe.send(len(world.transitions))


@contextmanager
def a_location(requests: int, limits: Limits, latency_ms: int) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, requests, limits, latency_ms))
    process.start()
    try:
        yield ours.recv()
        ours.send("stop")
        changed = ours.recv()
        if changed != requests * CONTACTS:
            sys.exit(f"{changed:,} tags were added, {requests * CONTACTS:,} were to be")
    finally:
        process.join(10)


def apply(requests: int, url: str, *settings: str) -> list[dict[str, object]]:
    """The events of one apply."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "customers.csv").write_text("contact_id\n" + "\n".join(contacts(requests)) + "\n")
        sets = "contact_sets:\n  customers: {contacts: {file: customers.csv}, tags: [customer]}\n"
        (place / "acme.yaml").write_text(f"location: {HERE}\n{sets}")
        flags = ("--auto-approve", "--format", "json", "--log-format", "json", "--log-level", "debug")
        more = ("--api-max-contacts", str(CONTACTS), "--state", f"sqlite:///{place / 'state.db'}", *settings)
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


def measure_rate(wanted_s: float, latency_ms: int) -> None:
    """A run that lasts so many seconds at what the default reserve leaves of the limit."""
    limit = Rate(LIMITS.requests, LIMITS.interval_ms)
    windows = max(1, round(wanted_s * 1000 / limit.window_ms))
    requests = replace(limit, reserve_pct=ApiSettings().reserve_pct).ours * (windows + 1)
    with a_location(requests, LIMITS, latency_ms) as url:
        events = apply(requests, url)
    took, ideal = seconds(events), (duration(requests, limit) + latency_ms) / 1000
    refused = sum("429" in str(each.get("why", "")) for each in events)
    print(f"{requests} requests of {latency_ms} ms at {LIMITS.requests} in {LIMITS.interval_ms / 1000:.0f} s:")
    print(f"  took {took:.1f} s, {requests / took:.2f} a second; at least {ideal:.1f} s by any sender")
    print(f"  {100 * ideal / took:.1f} % of the allowed rate, {refused} answered with 429")


async def bare(requests: int, url: str) -> float:
    """The same requests by httpx alone."""
    whole = contacts(requests)
    parts = (tuple(whole[start : start + CONTACTS]) for start in range(0, len(whole), CONTACTS))
    queue = iter([BulkUpdate(Action.ADD, HERE, part, ("customer",)) for part in parts])
    headers = {"Authorization": f"Bearer {DEMO_TOKEN}", "Version": API_VERSION, "Content-Type": "application/json"}

    async def worker(client: httpx.AsyncClient) -> None:
        for each in queue:
            (await client.post(bulk_path(each), content=bulk_body(each))).raise_for_status().json()

    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        began = time.perf_counter()
        await asyncio.gather(*(worker(client) for _ in range(IN_FLIGHT)))
        return time.perf_counter() - began


def measure_overhead(requests: int, runs: int) -> None:
    ours, alone = [], []
    for _ in range(runs):
        with a_location(requests, NO_LIMITS, 0) as url:
            ours.append(seconds(apply(requests, url, "--api-requests-per-10s", "1000000")) * 1000 / requests)
        with a_location(requests, NO_LIMITS, 0) as url:
            alone.append(asyncio.run(bare(requests, url)) * 1000 / requests)
    by_apply, by_httpx = statistics.median(ours), statistics.median(alone)
    print(f"{requests} requests of {CONTACTS} contacts without limit and latency, median of {runs} runs:")
    print(f"  apply {by_apply:.2f} ms a request, httpx alone {by_httpx:.2f} ms: {by_apply - by_httpx:.2f} ms more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--latency-ms", type=int, default=2_000)
    parser.add_argument("--overhead", type=int, default=400, metavar="REQUESTS")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    measure_overhead(arguments.overhead, arguments.runs)
    measure_rate(arguments.seconds, arguments.latency_ms)


if __name__ == "__main__":
    main()
