"""How jobs end, and those of the queue that no worker can take: with real processes and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
from importlib import import_module
from typing import Any

import pytest

from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.model.names import Instant
from reconciler.fleet import JobChoice, open_fleet
from reconciler.output.fleet import JobStatus
from tests.extras import need
from tests.fleet.scene import FleetScene, location_id

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def test_jobs_that_ended_long_ago_are_removed_but_the_latest_of_each_location(scene: FleetScene) -> None:
    for _ in range(2):
        scene.fleet("cancel", *filter(None, [scene.queue()]))
    # the second job of a location that is queued already is dropped: it is not the latest
    kept = scene.queue("--location", location_id(0))
    scene.fleet("drift", "manifests", "--location", location_id(0), expects=6)
    scene.execute("UPDATE reconciler_fleet_jobs SET ended = now() - interval '31 days' WHERE ended IS NOT NULL")
    worker = scene.worker("--keep-days", "30", "--heartbeat", "0.5", environment={"TOKEN_0": ""})
    worker.wait_for("removed 4 jobs that ended more than 30 days ago")
    worker.kill(signal.SIGTERM)
    assert worker.end() == 0
    assert len(scene.jobs(kept)) == 1
    assert [job["location"] for job in scene.jobs()] == [location_id(number) for number in range(3)]


def test_a_batch_that_was_cancelled_before_it_began_is_no_success(scene: FleetScene) -> None:
    batch = scene.queue()
    scene.fleet("cancel", batch)
    assert "cancelled" in scene.fleet("wait", batch, expects=3)
    # a word that is misspelt looks like jobs that are stopped, or ended well
    for command in ("cancel", "status", "wait"):
        assert "no job is of batch 'typo'" in scene.fleet(command, "typo", expects=64)
    known = str(scene.jobs()[0]["id"])
    assert "no job is of id 99:" in scene.fleet("cancel", "--job", known, "--job", "99", expects=64).replace("\n", ":")
    both = ["--location", location_id(0), "--location", "typo"]
    assert "no job is of location 'typo'" in scene.fleet("wait", *both, expects=64)


def test_a_job_that_a_person_stopped_is_not_queued_again_by_an_error_that_would_pass(scene: FleetScene) -> None:
    """The error ends its try before the worker has looked whether a person asked."""
    scene.queue("--location", location_id(0))

    rows = import_module("reconciler.fleet.rows")

    async def claim_and_fail() -> Any:
        async with open_fleet(scene.database) as fleet:
            (job,) = await fleet.find(JobChoice())
            async with fleet.transaction() as connection:
                (opened,) = await rows.find_open(connection, "true")
            claim = await fleet.claim(job.id, opened.engine_job, "a worker")
            assert claim is not None
            assert await fleet.cancel([job]) == (0, 1)
            again = rows.JobEnd(JobStatus.QUEUED, ExitCode.ERROR, "try 1 of 3", pause_s=10)
            return await fleet.end(claim.open, again)

    end = asyncio.run(claim_and_fail())
    assert (end.status, end.exit_code) == (JobStatus.CANCELLED, ExitCode.PARTIAL)
    assert [(job["status"], job["exit_code"]) for job in scene.jobs()] == [("cancelled", 3)]


def test_a_job_whose_options_this_version_cannot_read_is_held_and_one_without_a_carrier_is_queued_anew(
    scene: FleetScene,
) -> None:
    scene.queue()
    scene.execute(
        f'UPDATE reconciler_fleet_jobs SET request = \'{{"refresh": "by-crystal-ball"}}\' '
        f"WHERE location = '{location_id(0)}'"
    )
    # as a bug before the claim, or a restore of the engine's tables, leaves it
    scene.execute(
        "DELETE FROM procrastinate_jobs WHERE id = "
        f"(SELECT engine_job FROM reconciler_fleet_jobs WHERE location = '{location_id(1)}')"
    )
    worker = scene.worker("--heartbeat", "0.5")
    scene.fleet("wait", expects=1)
    worker.kill(signal.SIGTERM)
    assert worker.end() == 0
    held, *others = scene.jobs()
    assert (held["status"], held["exit_code"]) == ("held", 1)
    assert "this version cannot read its options" in held["note"]
    assert [job["exit_code"] for job in others] == [0, 0]


def test_a_plan_file_with_contacts_does_not_outlast_its_job(scene: FleetScene) -> None:
    scene.queue("--location", location_id(0))
    assert scene.worker("--drain", environment={"TOKEN_0": ""}).end() == 0
    assert [job["exit_code"] for job in scene.jobs()] == [7]
    assert list(scene.directory.glob("work-*/*")) == []


def test_a_broken_schedule_is_told_and_holds_up_no_other(scene: FleetScene) -> None:
    for _ in range(2):
        scene.fleet("schedule", "drift", "--cron", "0 6 * * *", "--location", location_id(0), "--create-state")
    scene.execute("UPDATE reconciler_fleet_schedules SET next_at = now() - interval '1 second'")
    scene.execute('UPDATE reconciler_fleet_schedules SET request = \'{"refresh": "by-crystal-ball"}\' WHERE id = 1')
    worker = scene.worker("--heartbeat", "0.5")
    worker.wait_for("schedule 2, drift: 1 job queued")
    worker.wait_for("a schedule cannot be queued: schedule 1: this version cannot read its options")
    worker.kill(signal.SIGTERM)
    assert worker.end() == 0
    assert "schedule 1: this version cannot read its options" in scene.fleet("schedule", expects=1)
    scene.fleet("schedule", "--remove", "1")
    assert "schedule 2" in scene.fleet("schedule")


def test_a_worker_of_no_directory_takes_no_job(scene: FleetScene) -> None:
    scene.queue()
    ended = scene.run("fleet", "worker", "manifest", "--drain")
    assert (ended.returncode, "no such directory" in ended.stderr) == (64, True)
    assert [job["status"] for job in scene.jobs()] == ["queued"] * 3


def test_two_who_queue_all_locations_in_opposite_orders_do_not_wait_for_one_another(scene: FleetScene) -> None:
    names = [location_id(number) for number in range(3)]
    orders = [[part for name in order for part in ("--location", name)] for order in (names, names[::-1])]
    for arguments in orders:
        scene.fleet("drift", "manifests", *arguments, expects=None)
    # each in the order of the locations, as a lock is taken for each
    assert [job["location"] for job in sorted(scene.jobs(), key=lambda job: int(job["id"]))] == names


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("0 0 31 4 *", "names a day that no month has"),
        ("R R * * *", "is no schedule"),
        ("R(0-5) 3 * * *", "is no schedule"),
        ("0 6 * *", "is no schedule"),
        ("0 6 * * 1-5 30", "is no schedule"),
        ("often", "is no schedule"),
    ],
)
def test_words_that_are_no_schedule_are_refused(cron: str, why: str) -> None:
    need("procrastinate")
    schedules = import_module("reconciler.fleet.schedules")
    with pytest.raises(UsageError, match=why):
        schedules.find_next(cron, Instant(0))
    assert schedules.find_next("0 6 * MAR FRI", Instant(0)) > 0


def test_options_of_another_operation_are_refused_by_a_schedule(scene: FleetScene) -> None:
    assert "--full is of pull" in scene.fleet("schedule", "apply", "--cron", "0 6 * * *", "--full", expects=64)
    refused = scene.fleet("schedule", "pull", "--cron", "0 6 * * *", "--fail-on", "missing", expects=64)
    assert "--fail-on is of drift" in refused
    assert "no operation is named" in scene.fleet("schedule", "--cron", "0 6 * * *", expects=64)
    digests = [f"{location_id(0)}=sha256:{digit * 64}" for digit in "ab"]
    twice = [part for digest in digests for part in ("--approved", digest)]
    assert "names two digests" in scene.fleet("apply", "manifests", *twice, expects=64)
