"""Two people at one location: who is refused is told who works there, and how to end a lease left behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.names import Instant
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.world import World
from reconciler.store import open_reader, open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.fakes import a_holder

Manifest = Callable[..., None]
STATE = "sqlite:///.reconciler/state.db"


@pytest.fixture
def locked(project: Path, manifest: Manifest) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with open_store(STATE) as store:
        store.at(LOCATION).acquire_lease(a_holder("anna"), SystemClock().now())


@pytest.mark.usefixtures("locked")
def test_the_refusal_prints_the_holder_and_the_very_command(reconciler: Command, world: World) -> None:
    refused = reconciler("apply", "--auto-approve")
    assert refused.code == 6
    assert "anna@elsewhere" in refused.out
    assert "https://ci.example/7" in refused.out
    assert not world.transitions
    command = re.search(r"reconciler (state unlock \S+ --location \S+)", " ".join(refused.out.split()))
    assert command is not None
    assert reconciler(*shlex.split(command[1])).code == 0
    assert reconciler("apply", "--auto-approve").code == 0
    assert len(world.holders("customer")) == 3


@pytest.mark.usefixtures("locked")
def test_json_tells_the_refusal_too(reconciler: Command) -> None:
    refused = reconciler("apply", "--auto-approve", "--format", "json")
    (report,) = json.loads(refused.out)["locations"]
    assert (refused.code, report["exit_code"]) == (6, 6)
    assert "reconciler state unlock lease-anna" in report["hint"]


@pytest.mark.usefixtures("locked")
def test_plan_and_drift_take_no_lease(reconciler: Command) -> None:
    assert reconciler("plan").code == 0
    assert reconciler("drift").code == 0


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("given", ["lease-ann", "", "lease-bert"])
def test_unlock_needs_the_exact_id(reconciler: Command, given: str) -> None:
    ended = reconciler("state", "unlock", given, "--location", LOCATION)
    assert ended.code == 64
    assert "lease-anna" in ended.err
    assert reconciler("apply", "--auto-approve").code == 6


def test_there_is_nothing_to_unlock(reconciler: Command, project: Path) -> None:
    ended = reconciler("state", "unlock", "x", "--location", LOCATION)
    assert ended.code == 64
    assert "not locked" in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
def test_a_wait_ends_as_soon_as_the_lock_does(reconciler: Command, world: World) -> None:
    def release() -> None:
        with open_store(STATE) as store:
            store.at(LOCATION).unlock_lease("lease-anna")

    timer = threading.Timer(0.2, release)
    timer.start()
    assert reconciler("apply", "--auto-approve", "--lock-timeout", "20").code == 0
    timer.join()
    assert len(world.holders("customer")) == 3


@pytest.fixture
def slow_sandbox(world: World) -> Iterator[Running]:
    """What the API says of its limits rules over what is configured."""
    with in_background(App(world, limits=Limits(requests=1))) as running:
        yield running


@pytest.mark.slow
def test_a_stopped_process_that_wakes_up_sends_nothing_more(
    manifest: Manifest, project: Path, slow_sandbox: Running, world: World
) -> None:
    """One request in ten seconds: the process is stopped while it waits for the second."""
    manifest(customers=(range(4), ["customer"], []))
    environment = os.environ | {
        "RECONCILER_API_BASE_URL": slow_sandbox.url,
        "HIGHLEVEL_TOKEN": DEMO_TOKEN,
        "RECONCILER_API_MAX_CONTACTS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [
        sys.executable,
        "-m",
        "reconciler",
        "apply",
        "--auto-approve",
        "--log-format",
        "json",
        "--log-level",
        "debug",
    ]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"Waiting"' in line:
                break
        os.kill(process.pid, signal.SIGSTOP)
        with open_store(STATE) as state:
            other = state.at(LOCATION)
            later = Instant(SystemClock().now() + TTL_MS)
            lease = other.acquire_lease(a_holder("bert"), later)
            os.kill(process.pid, signal.SIGCONT)
            out, _ = process.communicate(timeout=60)
            assert other.load_state().observed[contact_id(1)].ledger.tags == frozenset()
            other.release_lease(lease)
    assert process.returncode == 1
    assert "was taken over" in " ".join(out.split())
    assert len(world.transitions) == 1
    with open_reader(STATE) as reader:
        assert [run.status for run in reader.at(LOCATION).read_runs()] == ["running"]
