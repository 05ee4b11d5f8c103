"""A run that is asked to stop, as a process: it ends soon, says so, gives up its lock, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.cli import CommandRecord
from reconciler.core.model.outcome import Action
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.world import World
from reconciler.store import open_reader, open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.terminal import heed_ctrl_c
from tests.fakes import a_holder

STATE = "sqlite:///.reconciler/state.db"
LATENCY_MS = 400
NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP (the terminal was closed)"}
Manifest = Callable[..., None]


@pytest.fixture
def sandbox(world: World) -> Iterator[Running]:
    with in_background(App(world), latency_ms=LATENCY_MS) as running:
        yield running


@contextmanager
def applying(sandbox: Running, *words: str, begins: str = "BatchAnswered") -> Iterator[subprocess.Popen[str]]:
    """One request a contact, three at once; begins with the first answer, or another event.

    `words`: another command.
    """
    environment = os.environ | {
        "RECONCILER_API_BASE_URL": sandbox.url,
        "HIGHLEVEL_TOKEN": DEMO_TOKEN,
        "RECONCILER_API_MAX_CONTACTS": "1",
        "RECONCILER_APPLY_MAX_IN_FLIGHT": "3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    more = ["--log-format", "json", "--log-level", "debug", "--format", "json"]
    command = [sys.executable, "-m", "reconciler", *(words or ("apply", "--auto-approve")), *more]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if f'"{begins}"' in line:
                break
        yield process
        process.kill()


def added(world: World) -> int:
    return sum(each.action is Action.ADD for each in world.transitions)


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_in_order(
    manifest: Manifest, project: Path, sandbox: Running, world: World, reconciler: Command, signum: int
) -> None:
    manifest(customers=(range(8), ["customer"], []))
    with applying(sandbox) as process:
        began = time.monotonic()
        os.kill(process.pid, signum)
        out, err = process.communicate(timeout=30)

    assert process.returncode == 128 + signum
    assert time.monotonic() - began < 5
    assert "nothing more is sent" in err
    sent = added(world)
    assert 1 <= sent < 8
    assert f"stopped by {NAMES[signum]}; {8 - sent} not sent" in out
    with open_reader(STATE) as state:
        reader = state.at(LOCATION)
        assert [run.status for run in reader.read_runs()] == ["stopped"]
        observed = reader.load_state().observed
    assert sum("customer" in (known.observed or ()) for _, known in observed.items()) == sent
    with open_store(STATE) as state:
        # nobody holds it any more
        store = state.at(LOCATION)
        store.release_lease(store.acquire_lease(a_holder("next"), SystemClock().now()))
    assert reconciler("apply", "--auto-approve").code == 0
    assert added(world) == 8


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(
    manifest: Manifest, project: Path, sandbox: Running, world: World, reconciler: Command
) -> None:
    manifest(customers=(range(8), ["customer"], []))
    with applying(sandbox) as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.stderr is not None
        for line in process.stderr:
            if "nothing more is sent" in line:
                break
        began = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 143
    assert time.monotonic() - began < 1
    assert "stopped by SIGTERM at once: requests that were under way may have had an effect" in err
    # what was under way is in doubt, and the next run settles it without a person
    ended = reconciler("apply", "--auto-approve", "--api-settle-s", "0", "--format", "json")
    assert ended.code in (0, 3)
    assert added(world) <= 8
    assert all(list(world.transitions).count(each) == 1 for each in world.transitions)


@pytest.mark.slow
def test_a_second_signal_leaves_tags_of_a_trial_and_says_so(
    manifest: Manifest, project: Path, sandbox: Running, world: World, reconciler: Command
) -> None:
    """The journal has none of its requests: no apply settles them, and the next trial does."""
    manifest(customers=(range(8), ["customer"], []))
    contact = contact_id(0)
    trial = ("doctor", "--try", contact, "--location", LOCATION, "--yes")
    with applying(sandbox, *trial, begins="Waiting") as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.stderr is not None
        for line in process.stderr:
            if "nothing more is sent" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 143
    assert f"at once: contact {contact} may have kept tags that begin with reconciler-try-, and no `apply`" in err
    # the removal may have been under way, and had its effect: here it had none
    sandbox.do(lambda world, now: world.add(contact, ["reconciler-try-left"], now=now, by="a trial"))
    assert reconciler("apply", "--auto-approve").code == 0
    assert any(tag.startswith("reconciler-try-") for tag in world.tags_of(contact))
    assert reconciler(*trial).code == 0
    assert not any(tag.startswith("reconciler-try-") for tag in world.tags_of(contact))


READING = {
    "plan": ("plan", "--refresh", "get"),
    "drift": ("drift", "--refresh", "get"),
    "apply": ("apply", "--refresh", "get", "--auto-approve"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", READING)
def test_whoever_is_interrupted_reading_is_told_that_nothing_was_sent(
    manifest: Manifest, project: Path, sandbox: Running, world: World, command: str
) -> None:
    """These commands store nothing of what they read before they send: no journal holds it."""
    manifest(customers=(range(8), ["customer"], []))
    environment = os.environ | {
        "RECONCILER_API_BASE_URL": sandbox.url,
        "HIGHLEVEL_TOKEN": DEMO_TOKEN,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    words = [sys.executable, "-m", "reconciler", *READING[command], "--log-level", "debug", "--report", "it.json"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c) as process:
        assert process.stderr is not None
        assert "reading by" in process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)

    told = "interrupted: nothing was sent; what was read until then is not kept"
    assert (process.returncode, told in err, "Traceback" in err, "journal" in err) == (130, True, False, False)
    assert told in (project / "it.json").read_text()
    assert not world.transitions


def test_what_an_interrupted_command_says_of_itself() -> None:
    record = CommandRecord()
    assert record.interrupted == "interrupted: nothing was sent"
    record.begin_reading(kept=True)
    assert record.interrupted.endswith("nothing was sent; what was read until then is kept")
    record.begin_sending()
    assert "in the journal" in record.interrupted
