"""A fleet under failures, with real processes and a real PostgreSQL: workers that die, are stopped, or stand still.

One location of many has a wrong token, or a guard refuses it. FLEET_KILLS and FLEET_LOCATIONS say how many there are.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.extras import need
from tests.fleet.scene import WAIT_S, FleetScene, Process, a_fleet, location_id

pytestmark = [pytest.mark.servers, pytest.mark.slow]

KILLS = int(os.environ.get("FLEET_KILLS", "3"))
LOCATIONS = int(os.environ.get("FLEET_LOCATIONS", "8"))
HEARTBEAT = ("--heartbeat", "1", "--jobs", "2")
BEGINS = r"job \d+: apply of location \S+ begins"


@contextmanager
def a_busy_fleet(locations: int = LOCATIONS, contacts: int = 6) -> Iterator[FleetScene]:
    """One whose answers take their time, so that a signal comes in the midst of a run."""
    need("procrastinate")
    with a_fleet(locations, contacts, latency_ms=150) as scene:
        yield scene


def end_well(scene: FleetScene, batch: str) -> None:
    """Every job has ended, every pair is applied or listed, none was added twice."""
    jobs = scene.jobs(batch)
    assert {job["status"] for job in jobs} <= {"ended", "held"}
    listed = {job["location"] for job in jobs if job["exit_code"]}
    assert [line for line in scene.lacking() if line.split()[0] not in listed] == []
    assert scene.doubles() == []


def test_the_jobs_of_killed_workers_go_on_elsewhere_and_nothing_is_added_twice() -> None:
    chance = random.Random(19)
    with a_busy_fleet() as scene:
        batch = scene.queue()
        workers: list[Process] = [scene.worker(*HEARTBEAT) for _ in range(2)]
        for _ in range(KILLS):
            victim = workers.pop(chance.randrange(len(workers)))
            # a moment of its own each time: in the midst of some run
            victim.wait_for(r"of \d+ requests|begins|ended", 1 + chance.randrange(4))
            victim.kill()
            victim.end()
            workers.append(scene.worker(*HEARTBEAT))
        scene.fleet("wait", batch, "--timeout", WAIT_S, expects=None)
        end_well(scene, batch)


def test_a_worker_that_is_stopped_ends_its_runs_in_order_and_its_jobs_lose_no_try() -> None:
    with a_busy_fleet(3, 12) as scene:
        batch = scene.queue()
        worker = scene.worker(*HEARTBEAT)
        worker.wait_for(BEGINS)
        worker.kill(signal.SIGTERM)
        assert worker.end() == 0
        assert "runs end in order" in worker.said
        assert {job["status"] for job in scene.jobs(batch)} <= {"queued", "ended"}
        assert all(job["tries"] == 0 for job in scene.jobs(batch) if job["status"] == "queued")
        assert scene.worker("--drain").end() == 0
        assert scene.fleet("wait", batch)
        end_well(scene, batch)


def test_a_job_whose_workers_die_thrice_is_held_and_listed_first() -> None:
    with a_busy_fleet(2, 30) as scene:
        scene.run("plan", "manifests", "--location", location_id(1), "--out", "plan.json")
        batch = re.findall(r"as batch (\w+)", scene.fleet("apply", "plan.json", "--auto-approve"))[0]
        for number in range(3):
            worker = scene.worker("--heartbeat", "1", "--jobs", "1")
            worker.wait_for(BEGINS.replace("begins", rf"begins \(try {number + 1}\)"))
            worker.kill()
            worker.end()
        scene.worker("--heartbeat", "1").wait_for("held for a person: 3 workers died")
        assert "1 held" in scene.fleet("wait", batch, expects=1)
        assert scene.doubles() == []


def test_a_wrong_token_and_a_refused_guard_end_their_own_jobs_and_the_others_go_on() -> None:
    with a_busy_fleet(4) as scene:
        scene.queue()
        scene.environment["TOKEN_1"] = "wrong"
        assert scene.worker("--drain").end() == 0
        assert Counter(job["exit_code"] for job in scene.jobs()) == {0: 3, 7: 1}
        assert scene.jobs()[1]["exit_code"] == 7
        # the manifests of one let all tags go: a guard refuses it
        scene.environment["TOKEN_1"] = f"pit-sandbox-{location_id(1)}"
        manifest = scene.directory / "manifests" / f"{location_id(2)}.yaml"
        manifest.write_text(f"location: {location_id(2)}\ncontact_sets: {{}}\n")
        scene.commit()
        scene.fleet("apply", "manifests")
        assert scene.worker("--drain").end() == 0
        codes = [job["exit_code"] for job in scene.jobs()]
        assert codes == [0, 2, 5, 0]


def test_a_paused_worker_sends_nothing_more_and_ends_no_job_that_was_taken_over() -> None:
    with a_busy_fleet(1, 20) as scene:
        batch = scene.queue()
        paused = scene.worker("--heartbeat", "1", "--jobs", "1")
        paused.wait_for(BEGINS)
        paused.kill(signal.SIGSTOP)
        other = scene.worker("--heartbeat", "1", "--jobs", "1")
        # the paused process is alive, and its lease lasts 90 s: the other waits for that
        other.wait_for(r"try 2")
        scene.fleet("wait", batch, "--timeout", WAIT_S, expects=None)
        sent = len(scene.worlds[location_id(0)].transitions)
        paused.kill(signal.SIGCONT)
        paused.wait_for("was taken over meanwhile")
        assert len(scene.worlds[location_id(0)].transitions) == sent
        end_well(scene, batch)


def test_of_two_schedules_that_meet_the_second_is_dropped_and_told() -> None:
    with a_busy_fleet(1, 2) as scene:
        for number, operation in ((1, "apply"), (2, "drift")):
            said = scene.fleet("schedule", operation, "--cron", "* * * * *")
            assert f"schedule {number}: {operation} of all locations at '* * * * *', next at" in said
        # they are due at the next full minute
        scene.worker("--heartbeat", "1").wait_for(r"schedule 2, drift: location \S+: not queued, since job \d+ \(apply")
        assert "schedule 1 is removed" in scene.fleet("schedule", "--remove", "1")
        assert "schedule 2: drift" in scene.fleet("schedule")
        assert "schedule 1: " not in scene.fleet("schedule")
        assert not scene.worlds[location_id(0)].transitions


def test_words_that_are_no_schedule_are_refused() -> None:
    with a_busy_fleet(1, 2) as scene:
        assert "is no schedule" in scene.fleet("schedule", "drift", "--cron", "each morning", expects=64)
        assert "there is no schedule 7" in scene.fleet("schedule", "--remove", "7", expects=64)
