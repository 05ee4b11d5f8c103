"""Two people at one location: who is refused is told who works there, and how to end a lease left behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.cli.options import WAIT
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


@pytest.mark.one_in(4)
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


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)])
def test_a_wait_is_a_number_of_seconds_or_an_age(text: str, seconds: float) -> None:
    assert WAIT.convert(text, None, None) == seconds


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e300", "2592001", "ten", "31d", "5 m"])
def test_a_wait_that_is_none_is_refused(reconciler: Command, seconds: str) -> None:
    refused = reconciler("apply", "--lock-timeout", seconds)
    assert refused.code == 64
    assert "Invalid value for '--lock-timeout'" in refused.err


@contextmanager
def applying(url: str, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process that applies, from the moment on when it says that it waits."""
    environment = os.environ | {
        "RECONCILER_API_BASE_URL": url,
        "HIGHLEVEL_TOKEN": DEMO_TOKEN,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "reconciler", "apply", "--auto-approve", "--log-format", "json", *options]
    with subprocess.Popen(
        [*command, "--log-level", "debug"],
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any('"Waiting"' in line for line in process.stderr)
        yield process


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
def test_a_wait_ends_as_soon_as_the_lock_does(sandbox: Running, world: World) -> None:
    """The lock is given up when the run has met it, and says that it waits for it."""
    with applying(sandbox.url, "--lock-timeout", "20") as process:
        assert not world.transitions
        with open_store(STATE) as store:
            store.at(LOCATION).unlock_lease("lease-anna")
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(world.holders("customer")) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
def test_a_wait_for_a_lock_ends_when_its_time_is_over(sandbox: Running, world: World) -> None:
    with applying(sandbox.url, "--lock-timeout", "0.5") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "is locked by anna@elsewhere" in " ".join(out.split())
    assert not world.transitions


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
    with applying(slow_sandbox.url, RECONCILER_API_MAX_CONTACTS="1") as process:
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
