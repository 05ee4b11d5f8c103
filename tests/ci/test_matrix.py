"""The jobs a location of each platform do what they say: their scripts run on three locations with three tokens."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import Access, App, sandbox_token
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.world import Contact, World
from tests.ci.conftest import read_outputs
from tests.ci.test_pins import ROOT
from tests.ci.test_schedules import KUBERNETES, SERVICE, read_unit
from tests.cli.conftest import LOCATION, contact_id
from tests.warm import a_program

pytestmark = pytest.mark.slow

CI = ROOT / "docs" / "ci"
IDS = tuple(f"{name}{LOCATION[4:]}" for name in ("acme", "beta", "gama"))
MANIFEST = "location: {}\ncontact_sets: {{a: {{contacts: [{}], tags: [customer]}}}}\n"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Three locations, declared in a repository, and applied once; a program `reconciler` in `bin`."""

    directory: Path
    sandbox: Running

    def environment(self, **more: str) -> dict[str, str]:
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "CI", "GITHUB_"))
        }
        return own | {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RECONCILER_API_BASE_URL": self.sandbox.url,
            "RECONCILER_STATE": f"sqlite:///{self.directory / 'state.db'}",
            "MANIFESTS": "manifests",
            **more,
        }

    def run(self, script: str, *arguments: str, shell: str = "sh", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shell, "-euc", script, "sh", *arguments],
            cwd=self.directory,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=anna", "-c", "user.email=anna@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=self.directory, check=True, capture_output=True)

    def change(self, number: int) -> None:
        """Declares another tag in one location."""
        manifest = self.directory / "manifests" / f"{number}.yaml"
        manifest.write_text(manifest.read_text().replace("[customer]", "[customer, vip]"))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    for name in ("bin", "manifests", "tokens"):
        (tmp_path / name).mkdir()
    a_program(tmp_path / "bin" / "reconciler")
    settings = "locations:\n"
    for number, location in enumerate(IDS):
        (tmp_path / "manifests" / f"{number}.yaml").write_text(MANIFEST.format(location, contact_id(number)))
        (tmp_path / "tokens" / location).write_text(f"{sandbox_token(location)}\n")
        settings += f"  {location}: {{name: {location[:4]}}}\n"
    (tmp_path / "manifests" / "reconciler.yaml").write_text(settings)
    worlds = [World(location, [Contact(contact_id(number), location)]) for number, location in enumerate(IDS)]
    apps = [App(world, accesses=[Access(sandbox_token(world.location))]) for world in worlds]
    with in_background(Locations(apps)) as sandbox:
        fleet = Fleet(tmp_path, sandbox)
        fleet.git("init", "-q", "-b", "main", ".")
        fleet.git("add", "manifests")
        fleet.git("commit", "-qm", "what holds")
        for location in IDS:
            send = f"reconciler apply manifests --auto-approve --location {location}"
            sent = fleet.run(send, HIGHLEVEL_TOKEN=sandbox_token(location))
            assert sent.returncode == 0, sent.stderr
        yield fleet


def _locations_named(text: str) -> list[str]:
    return [location for location in IDS if location in text]


def _pod_script() -> str:
    job = yaml.safe_load(KUBERNETES.read_text())["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"] == ["/bin/sh", "-euc"]
    (script,) = container["args"]
    return str(script)


@pytest.mark.parametrize("shares", [2, 10])
def test_the_pods_look_at_every_location_once_each_with_its_own_token(fleet: Fleet, shares: int) -> None:
    looked = list[str]()
    for index in range(min(shares, 4)):
        given = {"SHARES": str(shares), "JOB_COMPLETION_INDEX": str(index), "TOKENS": "tokens", "CI": "true"}
        done = fleet.run(_pod_script(), **given)
        assert done.returncode == 0, done.stderr
        looked += _locations_named(done.stdout)
    assert sorted(looked) == sorted(IDS)


def test_a_pod_without_the_token_of_its_location_fails(fleet: Fleet) -> None:
    (fleet.directory / "tokens" / IDS[0]).unlink()
    given = {"SHARES": "3", "TOKENS": "tokens"}
    assert fleet.run(_pod_script(), JOB_COMPLETION_INDEX="0", **given).returncode != 0
    assert fleet.run(_pod_script(), JOB_COMPLETION_INDEX="1", **given).returncode == 0


def test_the_service_looks_at_the_location_of_its_instance(fleet: Fleet) -> None:
    service = read_unit(SERVICE.read_text())["Service"]
    program, flag, script, *rest = _unit_words(service["ExecStart"])
    assert (program, flag, rest) == ("/bin/sh", "-euc", ["sh", "%I"])
    credentials = fleet.directory / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text(sandbox_token(IDS[2]))
    (credentials / "state").write_text(f"sqlite:///{fleet.directory / 'state.db'}")
    done = fleet.run(script, "gama", CREDENTIALS_DIRECTORY=str(credentials), RECONCILER_STATE="sqlite:///elsewhere.db")
    assert done.returncode == 0, done.stderr
    assert _locations_named(done.stdout) == [IDS[2]]
    (credentials / "token").write_text(sandbox_token(IDS[1]))
    assert fleet.run(script, "gama", CREDENTIALS_DIRECTORY=str(credentials)).returncode == 7, "another location's token"


def _unit_words(line: str) -> list[str]:
    """The words of ExecStart, of which one is quoted; `$$` is a dollar."""
    words = re.findall(r"'([^']*)'|(\S+)", line.replace("$$", "$"))
    return [quoted or plain for quoted, plain in words]


def _step(workflow: str, job: str, name: str) -> str:
    document = yaml.safe_load((CI / "github-matrix" / workflow).read_text())
    (script,) = [step["run"] for step in document["jobs"][job]["steps"] if step.get("id") == name]
    return str(script)


@pytest.mark.parametrize(
    ("workflow", "job", "changed"), [("drift.yml", "list", None), ("pull-request.yml", "check", 1)]
)
def test_a_workflow_lists_its_matrix(fleet: Fleet, workflow: str, job: str, changed: int | None) -> None:
    fleet.git("update-ref", "refs/remotes/origin/main", "HEAD")
    if changed is not None:
        fleet.change(changed)
    output = fleet.directory / "output"
    given = {"GITHUB_OUTPUT": str(output), "GITHUB_BASE_REF": "main"}
    done = fleet.run(_step(workflow, job, "list"), shell="bash", **given)
    assert done.returncode == 0, done.stderr
    listed = json.loads(_outputs(output)["locations"])["locations"]
    expected = IDS if changed is None else (IDS[changed],)
    assert [each["id"] for each in listed] == list(expected)


def test_a_pull_request_that_concerns_no_location_has_no_matrix(fleet: Fleet) -> None:
    """`fromJSON(…).locations[0] != null` is false then: a matrix of nothing would be an error."""
    fleet.git("update-ref", "refs/remotes/origin/main", "HEAD")
    output = fleet.directory / "output"
    given = {"GITHUB_OUTPUT": str(output), "GITHUB_BASE_REF": "main"}
    assert fleet.run(_step("pull-request.yml", "check", "list"), shell="bash", **given).returncode == 0
    assert json.loads(_outputs(output)["locations"])["locations"] == []


def _outputs(path: Path) -> Mapping[str, str]:
    """As `read_outputs`, and lines of the form `name=value`."""
    plain = dict(line.split("=", 1) for line in path.read_text().splitlines() if re.match(r"[\w-]+=", line))
    return plain or read_outputs(path)


def _pipeline(name: str) -> dict[str, Any]:
    found = yaml.safe_load((CI / "gitlab-matrix" / name).read_text())
    assert isinstance(found, dict)
    return found


def _child(fleet: Fleet, **variables: str) -> dict[str, Any]:
    """The child pipeline: the jobs that the list makes, beside those that they extend."""
    script = "\n".join(_pipeline("pipeline.yml")["list"]["script"])
    done = fleet.run(script, shell="bash", **variables)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load((fleet.directory / "locations.yml").read_text())
    assert isinstance(made, dict)
    return made


def test_a_child_pipeline_has_a_job_for_each_location(fleet: Fleet) -> None:
    made = _child(fleet, JOBS="plan apply")
    assert list(made) == [f"{job} {location}" for location in IDS for job in ("plan", "apply")]
    templates = _pipeline("locations.yml")
    for name, job in made.items():
        assert job["extends"] in templates
        assert job["variables"] == {"LOCATION": name.split()[1]}
    assert made[f"apply {IDS[0]}"]["needs"] == [f"plan {IDS[0]}"]


def test_a_child_pipeline_of_a_merge_request_plans_what_it_concerns(fleet: Fleet) -> None:
    fleet.git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert list(_child(fleet, JOBS="plan", SINCE="origin/main")) == ["nothing to do"]
    fleet.change(2)
    (name,) = _child(fleet, JOBS="plan", SINCE="origin/main")
    assert name == f"plan {IDS[2]}"


def test_the_jobs_of_a_child_pipeline_plan_send_and_look_at_one_location(fleet: Fleet) -> None:
    fleet.change(0)
    fleet.change(1)
    templates = _pipeline("locations.yml")
    given = {"LOCATION": IDS[1], "HIGHLEVEL_TOKEN": sandbox_token(IDS[1])}

    def play(job: str) -> subprocess.CompletedProcess[str]:
        return fleet.run("\n".join(templates[job]["script"]), shell="bash", **given)

    assert play(".plan").returncode == 2, "which `allow_failure` lets pass"
    sent = play(".apply")
    assert sent.returncode == 0, sent.stderr
    held = [len(fleet.sandbox.at(location).app.world.holders("vip")) for location in IDS]
    assert held == [0, 1, 0]
    assert play(".drift").returncode in (0, 2)
