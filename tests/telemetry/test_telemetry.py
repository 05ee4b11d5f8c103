"""Seen from outside: what leaves by OpenTelemetry, what never does, and an endpoint that is no good."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.model.events import RoundStarted, WaitCause, Waiting
from reconciler.core.model.measured import HeldCounted, JobEnded, JobStarted, LocationEnded
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.observing.metrics import METRICS
from reconciler.sandbox import Running
from reconciler.sandbox.app import DEMO_TOKEN
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, clock, manifest, project, reconciler, sandbox
from tests.extras import need
from tests.privacy import Scanner

__all__ = ["clock", "manifest", "project", "reconciler", "sandbox"]
pytestmark = pytest.mark.extras
need("opentelemetry.sdk")

# these import it
from reconciler.telemetry import Telemetry  # noqa: E402
from reconciler.telemetry.export import FLUSH_S  # noqa: E402
from tests.telemetry.listener import Listener, attributes, listening  # noqa: E402

MARK = "qzxvjwkpfb"
PLANTED = {number: ContactId(f"{MARK}{number:010d}") for number in range(6)}
TAG, OTHER = f"{MARK}-vip", f"{MARK}-foreign"
SCANNER = Scanner([MARK, DEMO_TOKEN])


@pytest.fixture
def world() -> World:
    return World(
        LOCATION,
        [
            Contact(contact, LOCATION, frozenset({Tag(OTHER)}), person=Person(f"p{number}@{MARK}.com"))
            for number, contact in PLANTED.items()
        ],
    )


@pytest.fixture
def listener(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with listening() as listener:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listener.url)
        yield listener


def write(project: Path) -> None:
    (project / "manifests" / "people.csv").write_text(f"mail\np1@{MARK}.com\np2@{MARK}.com\n")
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  {MARK}-set:\n    contacts: [{', '.join(PLANTED.values())}]\n"
        f"    tags: [{TAG}]\n"
        f"  {MARK}-mail: {{contacts: {{file: people.csv, match: {{email: mail}}}}, tags: [{TAG}-mail]}}\n"
    )


def test_everything_is_measured_and_no_contact_tag_or_token_leaves(
    reconciler: Command, project: Path, sandbox: Running, listener: Listener
) -> None:
    """The planted values are in the manifests, in the CRM, on the command line and in errors; the wire has none."""
    write(project)
    commands = [
        ("pull",),
        ("apply", "--auto-approve", "--tag", TAG, "--tag", f"{TAG}-mail"),
        ("refresh",),
        ("drift", "--refresh", "get", "--show", "foreign"),
        ("plan", "--refresh", "get"),
        ("plan", "--tag", f"{MARK}-mistyped"),
    ]
    for command in commands[:3]:
        assert (reconciler(*command).code, reconciler("--help").code) == (0, 0), command
    sandbox.do(lambda world, now: _meddle(world, now))
    for command in commands[3:]:
        ended = reconciler(*command)
        assert ended.code in (0, 64), ended.err
        assert "telemetry" not in ended.err
    assert len(listener.posts) >= 2 * len(commands)
    assert SCANNER.search(listener.wire) == []
    # the scanner finds what is there
    assert SCANNER.search(listener.wire + TAG.encode()) != []
    assert attributes_of(listener, "reconciler.run.duration")[-1] == {
        "reconciler.operation": "plan",
        "reconciler.exit_code": 64,
    }


def _meddle(world: World, now: Instant) -> None:
    world.remove(PLANTED[1], [TAG], now=now, by=MARK)
    world.delete(PLANTED[2], now=now)


def attributes_of(listener: Listener, metric: str) -> list[dict[str, object]]:
    return [attributes(point) for point in listener.metrics()[metric]]


@pytest.mark.slow
def test_the_metrics_of_the_table_and_no_others_are_emitted(
    reconciler: Command, project: Path, listener: Listener
) -> None:
    write(project)
    reconciler("pull")
    assert reconciler("apply", "--auto-approve").code == 0
    reconciler("drift", "--refresh", "get")
    emitted = listener.metrics()
    # without a wait there is no time of one
    assert {str(metric.name) for metric in METRICS} - emitted.keys() <= {"reconciler.pace.wait.duration"}
    table = {str(metric.name): set(metric.attributes) for metric in METRICS}
    assert emitted.keys() <= table.keys()
    for name, points in emitted.items():
        assert all(attributes(point).keys() <= table[name] for point in points), name
    (age,) = emitted["reconciler.last_success.age"]
    # from its end to the last numbers
    assert (0 <= age.as_double < 60, attributes(age)) == (True, {"reconciler.location": LOCATION})
    outcomes = {attributes(point)["reconciler.outcome"]: point for point in emitted["reconciler.pairs"]}
    assert outcomes["applied"].as_double or outcomes["applied"].as_int == 8


@pytest.mark.slow
def test_spans_run_to_round_to_request(
    reconciler: Command, project: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tags of acme")
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process,otel")
    write(project)
    reconciler("pull")
    listener.posts.clear()
    assert reconciler("apply", "--auto-approve").code == 0
    spans = {span.span_id: span for span in listener.spans()}
    (run,) = (span for span in spans.values() if not span.parent_span_id)
    assert (run.name, attributes(run)["reconciler.exit_code"]) == ("reconciler apply", 0)
    requests = [span for span in spans.values() if span.name == "POST /contacts/bulk/tags/update/add"]
    assert requests
    for request in requests:
        around = spans[request.parent_span_id]
        assert (around.name, around.parent_span_id) == ("round", run.span_id)
        assert run.start_time_unix_nano <= request.start_time_unix_nano <= request.end_time_unix_nano
    assert listener.resource()["service.name"] == "tags of acme"
    # no detector of the library tells the command line
    assert not any(key.startswith("process.") for key in listener.resource())


@pytest.mark.one_in(6)
@pytest.mark.parametrize("mode", ["500", "302", "endless", "silent", "down"])
def test_an_endpoint_that_is_no_good_changes_nothing_and_is_told_once(
    mode: str, reconciler: Command, project: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project)
    reconciler("pull")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    plain = reconciler("apply", "--dry-run")
    listener.mode = mode
    url = "http://127.0.0.1:9" if mode == "down" else listener.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:{MARK}@{url[7:]}")
    began = time.monotonic()
    ended = reconciler("apply", "--dry-run")
    assert time.monotonic() - began < FLUSH_S + 5
    assert (ended.code, ended.out) == (plain.code, plain.out)
    lines = [line for line in ended.err.splitlines() if line not in plain.err.splitlines()]
    assert (mode == "endless" and lines == []) or (len(lines) == 1 and "OTEL_EXPORTER_OTLP_ENDPOINT" in lines[0]), lines
    assert MARK not in ended.err
    assert (listener.others, [path for path, _, _ in listener.posts if "elsewhere" in path]) == ([], [])


OFF: dict[str, dict[str, str]] = {
    "disabled": {"OTEL_SDK_DISABLED": "true"},
    "no exporter": {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
}
ODD: dict[str, dict[str, str]] = {
    "http/protobuf": {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    "OTEL_TRACES_EXPORTER": {"OTEL_TRACES_EXPORTER": "console"},
    "is no address": {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
    "value that cannot be used": {"OTEL_METRIC_EXPORT_INTERVAL": "-1"},
}


@pytest.mark.parametrize(("why", "variables"), [*OFF.items(), *ODD.items()])
def test_what_keeps_it_off_is_told_in_one_line(
    why: str,
    variables: dict[str, str],
    reconciler: Command,
    project: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(project)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = reconciler("validate")
    assert ended.code == 0
    assert ended.err.count("telemetry is off") == (why in ODD)
    assert why in OFF or why in ended.err
    assert listener.posts == []


def test_no_file_names_an_endpoint(
    reconciler: Command, project: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    write(project)
    (project / ".env").write_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={listener.url}\n")
    (project / "manifests" / "reconciler.yaml").write_text(f"otel: {{endpoint: '{listener.url}'}}\n")
    assert reconciler("validate").code == 1
    (project / "manifests" / "reconciler.yaml").unlink()
    assert reconciler("validate").code == 0
    assert listener.posts == []


def test_a_gauge_is_told_once_for_the_worker_that_ran_a_location_last_knows_how_it_is(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    telemetry = Telemetry("fleet worker", "1", lambda: Instant(0), metrics=True, traces=True)
    telemetry(HeldCounted(LOCATION, 5))
    telemetry(JobStarted(LOCATION, "apply"))
    telemetry(JobEnded(LOCATION, 0))
    # the counter comes again and again
    assert listener.wait_for("reconciler.run.duration", 4)
    assert telemetry.close(0) == ""
    assert listener.count("reconciler.held") == 1


def test_a_wait_is_measured_by_its_cause(listener: Listener) -> None:
    telemetry = Telemetry("apply", "1", lambda: Instant(0), metrics=True, traces=True)
    for milliseconds, cause in ((1_500, WaitCause.PACE), (500, WaitCause.PACE), (2_000, WaitCause.RETRY)):
        telemetry(Waiting(LOCATION, milliseconds, f"{MARK} said so", cause))
    assert telemetry.close(0) == ""
    waits = {
        attributes(point)["reconciler.cause"]: point for point in listener.metrics()["reconciler.pace.wait.duration"]
    }
    assert {cause: (point.count, point.sum) for cause, point in waits.items()} == {"pace": (2, 2.0), "retry": (1, 2.0)}
    assert SCANNER.search(listener.wire) == []


def test_a_worker_tells_of_each_job_as_of_a_command(listener: Listener) -> None:
    """Its jobs are runs, each with a span of its own; and it is one of many that serve a location in turn."""
    telemetry = Telemetry("fleet worker", "1", lambda: Instant(1_795_000_000_000), metrics=True, traces=True)
    other = LocationId("zzzrwHvLUxlfw5SqKVCN")
    for location, operation, code in ((LOCATION, "apply", 0), (other, "drift", 2)):
        telemetry(JobStarted(location, operation))
        telemetry(RoundStarted(location, 1, 3))
        telemetry(LocationEnded(location, code, ()))
        telemetry(JobEnded(location, code))
    assert telemetry.close(0) == ""
    (age,) = listener.metrics()["reconciler.last_success.age"]
    assert (age.as_double, attributes(age)) == (0.0, {"reconciler.location": LOCATION})
    runs = [tuple(point.values()) for point in attributes_of(listener, "reconciler.run.duration")]
    assert sorted(runs) == [("apply", 0), ("drift", 2), ("fleet worker", 0)]
    spans = {span.name: span for span in listener.spans()}
    assert {"reconciler apply", "reconciler drift", "reconciler fleet worker"} <= spans.keys()
    assert len({span.trace_id for span in listener.spans()}) == 3
    # counters are those of a process; a gauge tells of a location, whoever served it last
    assert listener.resource()["service.instance.id"]
    assert "service.instance.id" not in listener.resource("reconciler.last_success.age")


@pytest.mark.slow
def test_without_the_extra_one_line_says_so_and_the_command_goes_on(project: Path, listener: Listener) -> None:
    write(project)
    program = "import sys; sys.modules['opentelemetry'] = None\nfrom reconciler.cli import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", program, "validate"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stderr.count("telemetry is off") == 1
    assert (
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, and its extra is missing: pip install 'tagreconciler[otel]'"
        in ended.stderr
    )
    assert listener.posts == []
