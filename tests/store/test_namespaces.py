"""Two appliers on one host, each in a PID namespace of its own, as in two containers: the number of the other process
is nobody's where one looks, and it lives all the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event

import pytest

from reconciler.core.model.names import Instant
from reconciler.sandbox import in_background
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.messages import Delivery, Request
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, contact_id
from tests.sandbox.faults import Network
from tests.store.conftest import HOMES
from tests.store.test_contract import of_this_host

PEOPLE = [contact_id(number) for number in range(3)]
MANIFEST = f"""\
location: {LOCATION}
contact_sets:
  customers:
    contacts: [{", ".join(PEOPLE)}]
    tags: [customer]
"""
NAMESPACE = ["--pid", "--fork", "--kill-child", "--mount-proc"]
LATER_NUMBER = ["sh", "-c", 'true & true & wait; "$@" & wait $!', "sh"]
"""Runs a command as a later process of its namespace than the first."""

PATIENCE_S = 30


class Busy(Network):
    """A network on which the first answer waits until somebody lets it go."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self.asked, self.go = Event(), Event()

    def handle(self, request: Request, now: Instant) -> Delivery:
        self.asked.set()
        self.go.wait(PATIENCE_S)
        return super().handle(request, now)


@pytest.fixture(scope="session")
def unshare() -> list[str]:
    """The command that runs another one in a PID namespace of its own."""
    program = shutil.which("unshare")
    if program is None:
        pytest.skip("no unshare: install util-linux")
    for who in ([], ["--user", "--map-root-user"]):
        command = [program, *who, *NAMESPACE]
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("this user may not make PID namespaces: run as root, or allow unprivileged user namespaces")


@dataclass
class Place:
    """A repository with its state, an API that is busy, and the means to start somebody beside us."""

    directory: Path
    environment: dict[str, str]
    unshare: list[str]
    network: Busy
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *options: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        command = [*self.unshare, *launcher, sys.executable, "-m", "reconciler", "apply", "--auto-approve", *options]
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        self.network.go.set()
        for process in self.started:
            process.kill()
            process.communicate()

    @property
    def world(self) -> World:
        return self.network.app.world


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, unshare: list[str]) -> Iterator[Place]:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "acme.yaml").write_text(MANIFEST)
    network = Busy(App(World(LOCATION, [Contact(each, LOCATION) for each in PEOPLE])))
    with in_background(network) as running:
        environment = os.environ | {
            "RECONCILER_STATE": HOMES[request.param](tmp_path),
            "RECONCILER_API_BASE_URL": running.url,
            "HIGHLEVEL_TOKEN": DEMO_TOKEN,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        environment.pop("CI", None)
        place = Place(tmp_path, environment, unshare, network)
        yield place
        place.end()


@pytest.mark.slow
def test_who_is_in_another_pid_namespace_is_not_taken_for_dead(place: Place) -> None:
    first = place.start(launcher=tuple(LATER_NUMBER))
    assert place.network.asked.wait(PATIENCE_S)
    second = place.start("--format", "json")
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 6, err
    (report,) = json.loads(out)["locations"]
    assert "is locked by" in report["error"]
    third = place.start("--lock-timeout", "60", "--log-format", "json")
    assert third.stderr is not None
    assert any('"Waiting"' in line for line in third.stderr)
    place.network.go.set()
    for each in (first, third):
        out, err = each.communicate(timeout=PATIENCE_S)
        assert each.returncode == 0, (out, err)
    assert sorted(each.contact for each in place.world.transitions) == PEOPLE


LOOK = """
import json, sys
from reconciler.core.model.lease import Holder
from reconciler.store.leases import is_gone
print(is_gone(Holder(**json.loads(sys.argv[1]))))
"""


@pytest.mark.one_in(5)
@pytest.mark.parametrize("namespace", ["--time --boottime 86400", "--pid --mount-proc", "--uts", "--mount"])
def test_a_living_process_is_not_gone_wherever_one_looks_from(unshare: list[str], namespace: str) -> None:
    """In another time namespace of ours its start is told as another time."""
    who = [word for word in unshare[1:] if word in ("--user", "--map-root-user")]
    command = [unshare[0], *who, *namespace.split(), "--fork"]
    if subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip(f"this machine makes no such namespace: {namespace}")
    holder = json.dumps(asdict(of_this_host(os.getpid())))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [*command, sys.executable, "-c", LOOK, holder], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
