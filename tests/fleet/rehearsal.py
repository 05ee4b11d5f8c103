"""Failures at random moments: workers that are killed, stopped or paused, and a PostgreSQL that restarts, under load.

    python -m tests.fleet.rehearsal kill|stop|pause|restart [--times 20] [--locations 40] [--contacts 100] [--seed 19]

The tests call the same functions with small counts. A moment is found by the requests that reach the API, so that a
signal comes in the midst of runs; the seed gives the moments and the victims. Prints what came of it as JSON, and ends
with 1 where a pair was added twice, a job did not end, or a pair is neither applied nor in a job that tells why.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event

from reconciler.core.model.lease import TTL_MS
from tests.extras import need
from tests.fleet.processes import PATIENCE_S, Process
from tests.fleet.scene import TAGS, WAIT_S, FleetScene, a_fleet, location_id
from tests.store import servers

WORKER = ("--heartbeat", "1", "--jobs", "2")
ONE_JOB = ("--heartbeat", "1", "--jobs", "1")
BEGINS = r"job \d+: \w+ of location \S+ begins"
LATENCY_MS = 150
"""Answers take their time, so that a signal comes in the midst of a run."""
LATEST = 12
"""Requests that are let by between two failures, at most."""
PAUSED_AT_ONCE = 5


@dataclass
class Rehearsal:
    """A fleet under load; `chance` gives moments and victims."""

    scene: FleetScene
    chance: random.Random
    workers: list[Process] = field(default_factory=list)
    past: list[Process] = field(default_factory=list)
    """Those that were killed or stopped."""
    late: int = 0
    """Requests that workers sent after they had been paused past their lease."""

    def start(self, number: int = 1, *arguments: str) -> None:
        self.workers += [self.scene.worker(*(arguments or WORKER)) for _ in range(number)]

    def queue(self) -> None:
        """Queues a job for each location once each worker takes jobs, so that each is given some."""
        for worker in self.workers:
            worker.wait_for("takes jobs of commit")
        self.scene.queue()

    def wait_for_moment(self) -> None:
        """Lets some requests by; without any more there is no load."""
        assert self.scene.requests.wait_for(self.chance.randint(1, LATEST)), self.said

    def take_busy(self) -> Process:
        """One that has begun a job, and is no more among the workers."""
        with self.scene.more:
            self.scene.more.wait_for(self._find_busy, PATIENCE_S)
        busy = self._find_busy()
        assert busy, f"no worker has begun a job:\n{self.said}"
        victim = self.chance.choice(busy)
        self.workers.remove(victim)
        self.past.append(victim)
        return victim

    def _find_busy(self) -> list[Process]:
        return [worker for worker in self.workers if worker.has_said(BEGINS)]

    @property
    def said(self) -> str:
        return "\n".join(worker.said for worker in (*self.past, *self.workers))


def kill(rehearsal: Rehearsal, times: int) -> None:
    """SIGKILL; another worker is started each time."""
    rehearsal.start(3)
    rehearsal.queue()
    for _ in range(times):
        victim = rehearsal.take_busy()
        rehearsal.wait_for_moment()
        victim.kill()
        victim.end()
        rehearsal.start()


def stop(rehearsal: Rehearsal, times: int) -> None:
    """SIGTERM, after which a worker ends in order; another one is started each time."""
    rehearsal.start(2, *ONE_JOB)
    rehearsal.queue()
    for _ in range(times):
        victim = rehearsal.take_busy()
        rehearsal.wait_for_moment()
        victim.kill(signal.SIGTERM)
        rehearsal.start(1, *ONE_JOB)
        assert victim.end() == 0, victim.said


def pause(rehearsal: Rehearsal, times: int) -> None:
    """SIGSTOP past the lease of a run; the paused ones wake up when others have ended their jobs."""
    scene = rehearsal.scene
    for first in range(0, times, PAUSED_AT_ONCE):
        numbers = range(first, min(times, first + PAUSED_AT_ONCE))
        rehearsal.start(len(numbers), *ONE_JOB)
        for worker in rehearsal.workers:
            worker.wait_for("takes jobs of commit")
        # each takes one
        scene.queue(*(part for number in numbers for part in ("--location", location_id(number))))
        paused = [_pause_one(rehearsal) for _ in numbers]
        last = time.monotonic()
        # these are alive, and their leases last 90 s: whoever takes over waits for that
        other = scene.worker("--heartbeat", "1", "--jobs", str(PAUSED_AT_ONCE), "--drain")
        assert other.end() == 0, other.said
        rehearsal.past.append(other)
        # a job is held sooner where the paused one stood still within a transaction: its lease is then still its own
        Event().wait(max(0.0, TTL_MS / 1000 - (time.monotonic() - last)))
        _wake(rehearsal, paused)


def _pause_one(rehearsal: Rehearsal) -> Process:
    victim = rehearsal.take_busy()
    rehearsal.wait_for_moment()
    victim.kill(signal.SIGSTOP)
    return victim


def _wake(rehearsal: Rehearsal, paused: Sequence[Process]) -> None:
    """None does anything more. One request may leave, whose bytes were on their way to the system at that instant."""
    scene = rehearsal.scene
    sent, changed = len(scene.requests.seen), count_transitions(scene)
    for victim in paused:
        victim.kill(signal.SIGCONT)
    for victim in paused:
        victim.wait_for("was taken over meanwhile")
        victim.kill()
        victim.end()
    late = scene.requests.seen[sent:]
    told = "\n".join([*late, *(victim.said for victim in paused)])
    assert len(late) <= len(paused), told
    assert count_transitions(scene) == changed, told
    rehearsal.late += len(late)


def count_transitions(scene: FleetScene) -> int:
    return sum(len(world.transitions) for world in scene.worlds.values())


def restart(rehearsal: Rehearsal, times: int, server: servers.PostgresServer) -> None:
    """PostgreSQL ends all sessions in order, or as if it crashed, and is back at once."""
    rehearsal.start(2)
    rehearsal.queue()
    for worker in rehearsal.workers:
        worker.wait_for(BEGINS)
    for number in range(times):
        rehearsal.wait_for_moment()
        server.restart(("fast", "immediate")[number % 2])


@dataclass(frozen=True)
class Outcome:
    """What came of a rehearsal."""

    statuses: Mapping[str, int]
    exit_codes: Mapping[str, int]
    most_tries: int
    notes: tuple[str, ...]
    """Of jobs that did not end with 0."""
    pairs: int
    lacking: int
    """Pairs that are desired and not there."""
    unlisted: tuple[str, ...]
    """Those of them in a location whose job ended well."""
    doubles: tuple[str, ...]
    late: int
    untrue: tuple[str, ...]
    """Contacts of locations whose jobs ended well, and of which the state has something else than is there."""

    @property
    def is_good(self) -> bool:
        ended = set(self.statuses) <= {"ended", "held"}
        return ended and not (self.unlisted or self.doubles or self.untrue)


def judge(scene: FleetScene, late: int = 0) -> Outcome:
    """Looks at the latest job of each location, at what is in the CRM, and at what the state believes."""
    jobs, lacking = scene.jobs(), scene.lacking()
    listed = {job["location"] for job in jobs if job["exit_code"]}
    return Outcome(
        statuses=dict(Counter(job["status"] for job in jobs)),
        exit_codes=dict(Counter(str(job["exit_code"]) for job in jobs)),
        most_tries=max(job["tries"] for job in jobs),
        notes=tuple(sorted({job["note"] for job in jobs if job["exit_code"]})),
        pairs=sum(len(world.contacts) * len(TAGS) for world in scene.worlds.values()),
        lacking=len(lacking),
        unlisted=tuple(line for line in lacking if line.split()[0] not in listed),
        doubles=tuple(scene.doubles()),
        late=late,
        untrue=tuple(line for line in scene.untrue() if line.split()[0] not in listed),
    )


@contextmanager
def a_rehearsal(locations: int, contacts: int, seed: int, *, server: str = "") -> Iterator[Rehearsal]:
    need("procrastinate")
    with a_fleet(locations, contacts, latency_ms=LATENCY_MS, server=server) as scene:
        yield Rehearsal(scene, random.Random(seed))


def wait(scene: FleetScene) -> None:
    scene.fleet("wait", "--timeout", WAIT_S, expects=None)


FAILURES = {"kill": kill, "stop": stop, "pause": pause}


def rehearse(failure: str, times: int, locations: int, contacts: int, seed: int) -> tuple[Outcome, str]:
    """What came of it, and what the workers said."""
    server = servers.start_postgres()
    locations = times if failure == "pause" else locations
    with a_rehearsal(locations, contacts, seed, server=server.url) as rehearsal:
        if failure == "restart":
            restart(rehearsal, times, server)
        else:
            FAILURES[failure](rehearsal, times)
        wait(rehearsal.scene)
        return judge(rehearsal.scene, rehearsal.late), rehearsal.said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("failure", choices=[*FAILURES, "restart"])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--locations", type=int, default=40)
    parser.add_argument("--contacts", type=int, default=100, help="in each location: a request for each")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--log", help="a file for what the workers say")
    arguments = parser.parse_args()
    began = time.monotonic()
    outcome, said = rehearse(
        arguments.failure, arguments.times, arguments.locations, arguments.contacts, arguments.seed
    )
    if arguments.log:
        Path(arguments.log).write_text(said)
    took = {"seconds": round(time.monotonic() - began), "load": round(os.getloadavg()[0], 1)}
    told = {"failure": arguments.failure, "times": arguments.times, "seed": arguments.seed} | took | asdict(outcome)
    sys.stdout.write(f"{json.dumps(told)}\n")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        servers.RUNNING.close()
