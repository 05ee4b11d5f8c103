"""The fleet's main path, with real processes and a real PostgreSQL: queued, taken, sent, told."""

from __future__ import annotations

import json
import re
import signal

import pytest

from reconciler.sandbox.app import sandbox_token
from tests.extras import need
from tests.fleet.scene import TAGS, FleetScene, address_of, location_id
from tests.privacy import Scanner
from tests.telemetry.listener import attributes, listening
from tests.webhook import open_webhook

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def test_a_plan_file_is_queued_location_by_location_and_sent(scene: FleetScene) -> None:
    batch = scene.queue()
    assert [job["status"] for job in scene.jobs(batch)] == ["queued"] * 3
    with open_webhook() as webhook:
        assert scene.worker("--drain", environment={"RECONCILER_NOTIFY_URL": webhook.url}).end() == 0
    # a notice of each job, as of the command that it stands for
    notices = [json.loads(body) for body in webhook.bodies]
    assert [(notice["command"], notice["verdict"]) for notice in notices] == [("apply", "done")] * 3
    assert {notice["locations"][0]["location"] for notice in notices} == set(scene.worlds)
    assert all(notice["locations"][0]["counts"]["applied"] == 8 for notice in notices)
    told = scene.fleet("wait", batch)
    assert "3 ended" in told
    assert (scene.lacking(), scene.doubles()) == ([], [])
    (first,) = scene.jobs("--job", str(scene.jobs()[0]["id"]))
    assert first["exit_code"] == 0
    assert first["result"]["locations"][0]["pairs"] == {"applied": 8}
    assert first["result"]["made"]["commit"] == first["commit"]
    assert scene.fleet("wait", "--timeout", "0")
    assert scene.run("fleet", "apply", "plan.json", "--auto-approve").returncode == 0
    assert scene.worker("--drain").end() == 0
    assert scene.doubles() == []


def test_without_an_approval_a_job_plans_and_sends_nothing_and_with_it_sends(scene: FleetScene) -> None:
    scene.fleet("apply", "manifests", "--location", location_id(0))
    assert scene.worker("--drain").end() == 0
    assert "1 planned" in scene.fleet("wait", expects=2)
    location = location_id(0)
    assert not scene.worlds[location].transitions
    digest = scene.jobs()[0]["note"].rpartition("=")[2]
    scene.fleet("apply", "manifests", "--location", location, "--approved", f"{location}={digest}")
    assert scene.worker("--drain").end() == 0
    assert json.loads(scene.run("fleet", "status", "--format", "json").stdout)["jobs"][0]["approved"] == digest
    scene.fleet("wait")
    assert len(scene.worlds[location].transitions) == 8


def test_what_was_approved_for_one_location_is_sent_to_no_other(scene: FleetScene) -> None:
    scene.run("plan", "manifests", "--out", "plan.json")
    plan = json.loads((scene.directory / "plan.json").read_text())
    digests = [location["change_digest"] for location in plan["locations"]]
    scene.fleet("apply", "manifests", "--approved", f"{location_id(0)}={digests[1]}", "--location", location_id(0))
    assert scene.worker("--drain").end() == 0
    assert "has the change digest" in scene.fleet("wait", expects=4)
    assert not any(world.transitions for world in scene.worlds.values())


def test_a_worker_at_another_commit_leaves_a_job_queued_and_says_so(scene: FleetScene) -> None:
    batch = scene.queue()
    scene.commit("another")
    worker = scene.worker("--heartbeat", "0.5")
    worker.wait_for(r"left queued: 3 jobs of commit \w{12}, format 1.0; taken here is commit \w{12}")
    assert [job["status"] for job in scene.jobs(batch)] == ["queued"] * 3
    scene.fleet("cancel", batch)
    # the checkout moves under an idle worker: it ends, and queues no schedule at the commit that it has left
    scene.git("checkout", "--quiet", "--detach", "HEAD~1")
    scene.fleet("schedule", "drift", "--cron", "* * * * *")
    scene.execute("UPDATE reconciler_fleet_schedules SET next_at = now() - interval '1 second'")
    assert worker.end() == 0
    assert worker.said.count("the checkout has left commit") == 1
    assert [job["status"] for job in scene.jobs()] == ["cancelled"] * 3
    assert not any(world.transitions for world in scene.worlds.values())


def test_a_second_job_of_a_location_is_dropped_and_told(scene: FleetScene) -> None:
    batch = scene.queue()
    told = scene.fleet("drift", "manifests", "--location", location_id(1), expects=6)
    assert re.search(r"location \S+: not queued, since job \d+ \(apply, commit \w{12}\) has not ended", told)
    assert [job["operation"] for job in scene.jobs(batch)] == ["apply"] * 3
    scene.fleet("cancel", "--location", location_id(1))
    scene.fleet("drift", "manifests", "--location", location_id(1), "--fail-on", "missing")
    assert scene.worker("--drain").end() == 0
    assert {job["operation"]: job["status"] for job in scene.jobs()} == {"apply": "ended", "drift": "ended"}
    assert len(scene.lacking()) == 8


def test_a_job_of_a_later_format_stays_queued_and_is_told(scene: FleetScene) -> None:
    """As after a release, while older workers still run: its queue is another one."""
    batch = scene.queue()
    psycopg = need("psycopg")
    with psycopg.connect(scene.plain_database, autocommit=True) as connection:
        connection.execute("UPDATE reconciler_fleet_jobs SET format_version = '2.0'")
        connection.execute("UPDATE procrastinate_jobs SET queue_name = 'v2/' || substr(queue_name, 4)")
    worker = scene.worker("--drain")
    assert worker.end() == 0
    assert re.search(r"left queued: 3 jobs of commit \w{12}, format 2.0; taken here is .*, format 1.0", worker.said)
    assert [(job["status"], job["tries"]) for job in scene.jobs(batch)] == [("queued", 0)] * 3
    assert not any(world.transitions for world in scene.worlds.values())


def test_what_breaks_the_settings_is_told_by_a_notice_and_a_schedule_waits_until_they_are_mended(
    scene: FleetScene,
) -> None:
    settings = scene.directory / "manifests" / "reconciler.yaml"
    whole = settings.read_text()
    scene.fleet("drift", "manifests", "--location", location_id(0), "--create-state")
    scene.fleet("schedule", "drift", "--cron", "* * * * *")
    scene.execute("UPDATE reconciler_fleet_schedules SET next_at = now() - interval '1 second'")
    settings.write_text(f"{whole}guards: 7\n")
    with open_webhook() as webhook:
        shape = {"RECONCILER_NOTIFY_URL": webhook.url, "RECONCILER_NOTIFY_SHAPE": "slack"}
        worker = scene.worker("--heartbeat", "0.5", environment=shape)
        worker.wait_for(r"job 1: \S+ ended with exit code 1")
        worker.wait_for("a schedule cannot be queued")
        settings.write_text(whole)
        worker.wait_for("schedule 1, drift: 3 jobs queued")
        assert worker.said.count("a schedule cannot be queued") == 1
        worker.kill(signal.SIGTERM)
        assert worker.end() == 0
    assert list(json.loads(webhook.bodies[0])) == ["text"]


def test_what_a_worker_tells_a_collector_and_the_queue_holds_no_contact_tag_or_token(scene: FleetScene) -> None:
    need("opentelemetry.sdk")
    tokens = [sandbox_token(location) for location in scene.worlds]
    scanner = Scanner(["x000000000000000", max(TAGS, key=len), *tokens])
    with listening() as listener:
        scene.queue()
        worker = scene.worker(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": listener.url})
        scene.fleet("wait")
        worker.kill(signal.SIGTERM)
        assert worker.end() == 0
        # told when it was asked to end, long before the minute of the next numbers
        runs = [attributes(point) for point in listener.metrics()["reconciler.run.duration"]]
    assert [run["reconciler.exit_code"] for run in runs if run["reconciler.operation"] == "apply"] == [0]
    assert {span.name for span in listener.spans()} >= {"reconciler apply", "round"}
    assert scanner.search(listener.wire) == []
    # a plan in the queue holds contacts and tags, and no token; that of a job that has ended is gone
    assert Scanner(tokens).search(scene.dump()) == []
    assert scanner.search(listener.wire + tokens[0].encode()) != []


def test_no_command_tells_the_password_of_the_database(scene: FleetScene) -> None:
    url = "postgresql://me:pa55-secret@127.0.0.1:1/crm"
    for arguments in (["migrate"], ["status"], ["wait"], ["worker"], ["apply", "manifests", "--format", "json"]):
        done = scene.run("fleet", *arguments, "--database", url)
        assert done.returncode == 1
        assert "fleet's database postgresql://me@127.0.0.1:1/crm cannot be used" in done.stderr
        assert "pa55" not in done.stdout + done.stderr


def test_a_pull_finds_people_and_what_is_planned_next_is_about_them(scene: FleetScene) -> None:
    location = location_id(0)
    (scene.directory / "manifests" / "people.csv").write_text(
        "mail\n" + "".join(f"{address_of(0, number)}\n" for number in (1, 3)) + "nobody@location0.example\n"
    )
    (scene.directory / "manifests" / f"{location}.yaml").write_text(
        f"location: {location}\ncontact_sets:\n  some: {{contacts: {{file: people.csv, match: {{email: mail}}}}, "
        "tags: [vip]}\n"
    )
    scene.commit()
    scene.fleet("pull", "manifests", "--location", location, "--create-state")
    assert scene.worker("--drain").end() == 0
    (pulled,) = scene.jobs("--job", str(scene.jobs()[0]["id"]))
    assert (pulled["operation"], pulled["exit_code"]) == ("pull", 0)
    (counted,) = pulled["result"]["locations"][0]["sets"]
    assert {"rows": 3, "matched": 2, "not_found": 1}.items() <= counted["counts"].items()
    # snapshots are in the state: a job, or whoever plans next, goes by them
    planned = json.loads(scene.run("plan", "manifests", "--location", location, "--format", "json").stdout)
    assert planned["locations"][0]["summary"]["adds"] == 2
    assert not scene.worlds[location].transitions
