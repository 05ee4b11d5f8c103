"""A value that a second process works out: the same value, and nothing of the first process is touched."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.contact_state import ContactState, Ledger, Observation, ObservationOrigin
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.names import ContactId
from reconciler.planfile import load_plan
from reconciler.second_core import MANY
from reconciler.store import open_store
from tests.build import HERE, tags
from tests.fakes import START, a_holder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process is forked on Linux alone")
OPENING = """
import os, signal, sys, threading
from reconciler.second_core import Beside
fork = lambda: True
"""


def play(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A process with one thread, as a command has: the runner of the tests has several."""
    return subprocess.run(
        [sys.executable, "-c", OPENING + code], capture_output=True, text=True, check=False, timeout=60, **options
    )


def test_a_value_comes_from_another_process_where_this_one_has_one_thread_and_a_core_to_spare() -> None:
    code = """
alone, forced = Beside(os.getpid), Beside(os.getpid, may_fork=fork)
expected = len(os.sched_getaffinity(0)) > 1
assert (alone() != os.getpid()) == expected and forced() != os.getpid(), (alone(), forced(), os.getpid())
assert forced() == forced(), "it is worked out once"
go_on = threading.Event()
other = threading.Thread(target=go_on.wait)
other.start()
assert Beside(os.getpid)() == os.getpid(), "what the other thread has locked would stay locked"
go_on.set()
other.join()
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
assert Beside(os.getpid)() == os.getpid(), "there is no second core"
"""
    assert play(code).stderr == ""


def test_what_fails_in_the_other_process_is_done_here() -> None:
    """An error is raised by who asks for the value, and a process that the kernel ends costs time alone."""
    code = """
here = os.getpid()
def fail():
    raise LookupError(os.getpid())
try:
    Beside(fail, may_fork=fork)()
except LookupError as error:
    assert error.args == (here,), error
else:
    raise AssertionError("no error")
def end():
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return "value"
assert Beside(end, may_fork=fork)() == "value"
def answer_with_what_cannot_be_pickled():
    return lambda: 7
assert Beside(answer_with_what_cannot_be_pickled, may_fork=fork)()() == 7
"""
    assert play(code).stderr == ""


def test_the_other_process_writes_and_ends_nothing_of_this_one() -> None:
    """Buffers, handlers of signals and finalizers are copied with the process, and would work a second time."""
    code = """
import atexit, gc
class Connection:
    def __del__(self):
        os.write(1, b"closed ")
kept = Connection()
ring = Connection()
ring.itself = ring
del ring
atexit.register(lambda: os.write(1, b"left"))
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"handled "))
print("buffered", end=" ")
def work():
    kept = [[] for _ in range(200_000)]
    os.kill(os.getpid(), signal.SIGTERM)
    return 7
here = os.getpid()
assert Beside(lambda: 7 if os.getpid() == here else work(), may_fork=fork)() == 7
sys.stdout.flush()
gc.collect()
"""
    played = play(code)
    assert (played.stdout, played.stderr) == ("buffered closed leftclosed ", "")


def test_a_process_whose_value_nobody_takes_ends() -> None:
    code = """
pids = os.pipe()
def work():
    os.write(pids[1], b"%d\\n" % os.getpid())
    return bytes(10_000_000)
beside = Beside(work, may_fork=fork)
process = int(os.read(pids[0], 100))
del beside
try:
    os.kill(process, 0)
except ProcessLookupError:
    print("ended")
"""
    played = play(code)
    assert (played.stdout, played.stderr) == ("ended\n", "")


def test_a_process_ends_with_the_one_that_began_it() -> None:
    """That one is killed: nobody is left to tell the other."""
    code = """
os.dup2(os.dup(1), 9)
def work():
    os.write(9, b"%d\\n" % os.getpid())
    sys.stdin.buffer.read()
    return bytes(10_000_000)
Beside(work, may_fork=fork)()
"""
    with subprocess.Popen(
        [sys.executable, "-c", OPENING + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watched = os.pidfd_open(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        assert select.select([watched], [], [], 30)[0], "it goes on for nobody"
        os.close(watched)


TAGS, CHANGED = 14, 20
"""One contact of so many has other tags than the manifests say."""


def write_state(path: Path, tags_of: dict[str, int]) -> None:
    """The state of contacts that have these tags, as bits, and got them by earlier runs."""
    made = {
        number: ContactState(Observation(carried, START, ObservationOrigin.WRITE), Ledger(carried))
        for number in set(tags_of.values())
        for carried in (tags(" ".join(f"t{place}" for place in range(TAGS) if number >> place & 1)),)
    }
    with open_store(f"sqlite:///{path}") as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder(), START)
        store.save_states(lease, {ContactId(contact): made[number] for contact, number in tags_of.items()})


@pytest.mark.slow
def test_a_plan_is_the_same_on_one_core_and_on_two(tmp_path: Path) -> None:
    """Of as many contacts as are worth a process, with thousands of different additions and removals."""
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        pytest.skip("this machine has one core")
    chance = random.Random(1)
    ids = [f"{number * 48271 % 2147483647:020}" for number in range(MANY)]
    wanted = {who: 1 if number % CHANGED else chance.randrange(1, 1 << TAGS) for number, who in enumerate(ids)}
    there = {who: 1 if number % CHANGED else chance.randrange(1, 1 << TAGS) for number, who in enumerate(ids)}
    write_state(tmp_path / "state.db", there)
    lines = [f"location: {HERE}", "contact_sets:"]
    for place in range(TAGS):
        lines.append(f"  s{place}: {{contacts: {{file: s{place}.csv}}, tags: [t{place}]}}")
        members = [contact for contact, number in wanted.items() if number >> place & 1]
        (tmp_path / f"s{place}.csv").write_text("\n".join(["id", *members]) + "\n")
    (tmp_path / "here.yaml").write_text("\n".join(lines) + "\n")

    def plan(chosen: set[int]) -> dict[str, Any]:
        code = f"import os; os.sched_setaffinity(0, {chosen}); from reconciler.cli import main; main()"
        words = [
            "plan",
            str(tmp_path),
            "--state",
            f"sqlite:///{tmp_path / 'state.db'}",
            "--out",
            str(tmp_path / "plan"),
        ]
        played = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
        assert played.returncode in (ExitCode.DONE, ExitCode.GUARD), played.stderr.decode()
        document: dict[str, Any] = json.loads((tmp_path / "plan").read_bytes())
        load_plan(tmp_path / "plan")
        return {name: value for name, value in document.items() if name not in ("as_of", "digest")}

    both = plan(cores)
    assert both == plan({min(cores)})
    (location,) = both["locations"]
    assert {batch["action"] for batch in location["batches"]} == {"add", "remove"}
    for action in ("add", "remove"):
        kinds = {
            str([change for change in delta["changes"] if change["action"] == action]) for delta in location["deltas"]
        }
        assert len(kinds) > 500, "so many demands are worth a process"
