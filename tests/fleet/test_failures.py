"""A fleet under failures, with real processes and a real PostgreSQL: workers that die, are stopped, or stand still, and
a server that restarts. One location of many has a wrong token, a guard refuses it, or its quota is used up.

The counts are small here; `tests/fleet/rehearsal.py` takes the same steps with as many as are wanted. FLEET_LOCATIONS
says of how many one is refused.
"""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.sandbox.access import Limiter, Limits
from tests.extras import need
from tests.fleet import rehearsal as rehearse
from tests.fleet.scene import FleetScene, a_fleet, location_id
from tests.store import servers
from tests.webhook import open_webhook

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LOCATIONS = int(os.environ.get("FLEET_LOCATIONS", "4"))
"""Of which one has a wrong token, one is refused by a guard, one has used its quota up."""
BEGINS = r"job \d+: apply of location \S+ begins"


def see_to_it(scene: FleetScene) -> None:
    """Every job has ended, every pair is applied or listed, none was added twice, and the state tells the truth."""
    outcome = rehearse.judge(scene)
    assert outcome.is_good, outcome


def test_a_paused_worker_sends_nothing_more_and_ends_no_job_that_was_taken_over() -> None:
    with rehearse.a_rehearsal(2, 16, seed=1) as rehearsal:
        rehearse.pause(rehearsal, 2)
        # one that stood still within a transaction keeps its locks: then the job is held, and says so
        see_to_it(rehearsal.scene)


def test_the_jobs_of_killed_workers_go_on_elsewhere_and_nothing_is_added_twice() -> None:
    with rehearse.a_rehearsal(6, 40, seed=19) as rehearsal:
        rehearse.kill(rehearsal, 2)
        rehearse.wait(rehearsal.scene)
        see_to_it(rehearsal.scene)


def test_a_worker_that_is_stopped_ends_its_runs_in_order_and_its_jobs_lose_no_try() -> None:
    with rehearse.a_rehearsal(3, 40, seed=2) as rehearsal:
        scene = rehearsal.scene
        rehearse.stop(rehearsal, 2)
        assert rehearsal.said.count("runs end in order") == 2
        rehearse.wait(scene)
        see_to_it(scene)
        assert [(job["exit_code"], job["tries"]) for job in scene.jobs()] == [(0, 1)] * 3


def test_runs_stop_with_a_state_error_when_postgresql_restarts_and_are_tried_again_after_a_pause() -> None:
    need("procrastinate")
    server = servers.start_postgres()
    with rehearse.a_rehearsal(3, 40, seed=3, server=server.url) as rehearsal:
        scene = rehearsal.scene
        rehearse.restart(rehearsal, 1, server)
        rehearse.wait(scene)
        told = re.findall(
            r"job (\d+): \S+ queued: try 1 of 3: the state postgresql://\S+ cannot be used", rehearsal.said
        )
        tries = {str(job["id"]): job["tries"] for job in scene.jobs()}
        assert told
        assert {job for job, number in tries.items() if number == 2} == set(told)
        see_to_it(scene)
        assert scene.lacking() == []


def test_a_job_whose_workers_die_thrice_is_held_and_listed_first() -> None:
    with rehearse.a_rehearsal(2, 30, seed=4) as rehearsal:
        scene = rehearsal.scene
        batch = scene.queue("--location", location_id(1))
        for number in range(3):
            worker = scene.worker("--heartbeat", "0.5", "--jobs", "1")
            worker.wait_for(BEGINS.replace("begins", rf"begins \(try {number + 1}\)"))
            worker.kill()
            worker.end()
        scene.fleet("drift", "manifests", "--location", location_id(0), "--create-state")
        with open_webhook() as webhook:
            last = scene.worker("--heartbeat", "0.5", environment={"RECONCILER_NOTIFY_URL": webhook.url})
            last.wait_for("held for a person: 3 workers died")
            assert "1 held" in scene.fleet("wait", batch, expects=1)
            last.kill(signal.SIGTERM)
            assert last.end() == 0
        told_of = [
            (notice["verdict"], notice["locations"][0]["location"]) for notice in map(json.loads, webhook.bodies)
        ]
        assert ("error", location_id(1)) in told_of
        told = scene.fleet("status")
        assert told.index(location_id(1)) < told.index(location_id(0))
        assert scene.doubles() == []


def test_a_job_that_a_person_stopped_is_not_queued_again_when_its_worker_dies() -> None:
    need("procrastinate")
    with a_fleet(1, 60, latency_ms=100) as scene:
        batch = scene.queue()
        worker = scene.worker("--jobs", "1")
        worker.wait_for(BEGINS)
        scene.requests.wait_for(3)
        worker.kill(signal.SIGSTOP)
        assert "1 running job asked to stop" in scene.fleet("cancel", batch)
        worker.kill()
        worker.end()
        assert scene.worker("--heartbeat", "0.5", "--drain").end() == 0
        (job,) = scene.jobs()
        assert (job["status"], job["exit_code"]) == ("cancelled", 3)
        assert "stopped by a person" in job["note"]


def test_one_location_with_a_wrong_token_a_guard_or_a_used_quota_lets_the_others_go_on() -> None:
    need("procrastinate")
    others = [0] * (LOCATIONS - 4)
    with a_fleet(LOCATIONS, 6, limits={3: Limits(requests_per_day=3)}) as scene:
        scene.queue()
        scene.environment["TOKEN_1"] = "wrong"
        assert scene.worker("--drain").end() == 0
        jobs = scene.jobs()
        assert [job["exit_code"] for job in jobs] == [0, 7, 0, None, *others]
        wait_for_the_reset(scene)
        # the manifests of one let all tags go: a guard refuses it
        scene.environment["TOKEN_1"] = f"pit-sandbox-{location_id(1)}"
        manifest = scene.directory / "manifests" / f"{location_id(2)}.yaml"
        manifest.write_text(f"location: {location_id(2)}\ncontact_sets: {{}}\n")
        scene.commit()
        scene.fleet("apply", "manifests")
        assert scene.worker("--drain").end() == 0
        assert [job["exit_code"] for job in scene.jobs()] == [0, 2, 5, 0, *others]
        assert scene.doubles() == []


def wait_for_the_reset(scene: FleetScene) -> None:
    """The last location's quota is used up: its job waits for the next day, which then is there."""
    waiting = scene.jobs()[3]
    assert (waiting["status"], waiting["tries"]) == ("queued", 0)
    assert "it starts anew at" in waiting["note"]
    # the day is that of UTC, as the API has it
    midnight = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert waiting["not_before"].startswith(f"{midnight}T00:00:")
    assert 1 <= len(scene.worlds[location_id(3)].transitions) < 12
    # the day is over, rather than waited for
    scene.apps[3].limiter = Limiter(Limits(), scene.apps[3].world.assumptions)
    scene.execute("UPDATE procrastinate_jobs SET scheduled_at = now()")
    scene.execute("UPDATE reconciler_fleet_jobs SET not_before = now() WHERE status = 'queued'")
    assert scene.worker("--drain").end() == 0
    assert [job["exit_code"] for job in scene.jobs()] == [0, 7, 0, 0, *[0] * (LOCATIONS - 4)]
    assert len(scene.worlds[location_id(3)].transitions) == 12


def test_a_worker_gives_up_on_a_database_that_answers_and_is_damaged() -> None:
    need("procrastinate")
    table = "procrastinate_jobs"
    with a_fleet(1, 2) as scene:
        worker = scene.worker("--heartbeat", "0.5")
        worker.wait_for("takes jobs of commit")
        scene.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        assert worker.end() == 1
        assert f"schema 'fleet_{scene.database[-10:]}', is damaged: it lacks its table {table}" in worker.said
        assert "Traceback" not in worker.said
        assert f"it lacks its table {table}" in scene.fleet("status", expects=1)


def test_of_two_schedules_that_meet_the_second_is_dropped_and_told() -> None:
    need("procrastinate")
    with a_fleet(1, 2) as scene:
        for number, operation in ((1, "apply"), (2, "drift")):
            said = scene.fleet("schedule", operation, "--cron", "* * * * *")
            assert f"schedule {number}: {operation} of all locations at '* * * * *', next at" in said
        # the minute is over, rather than waited for
        scene.execute("UPDATE reconciler_fleet_schedules SET next_at = now() - interval '1 second'")
        scene.worker("--heartbeat", "1").wait_for(r"schedule 2, drift: location \S+: not queued, since job \d+ \(apply")
        assert "schedule 1 is removed" in scene.fleet("schedule", "--remove", "1")
        assert "schedule 2: drift" in scene.fleet("schedule")
        assert "schedule 1: " not in scene.fleet("schedule")
        assert not scene.worlds[location_id(0)].transitions
        # and what is none is refused
        assert "is no schedule" in scene.fleet("schedule", "drift", "--cron", "each morning", expects=64)
        assert "there is no schedule 7" in scene.fleet("schedule", "--remove", "7", expects=64)
