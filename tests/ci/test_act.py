"""The example workflows run by act on a repository with a pull request, against the sandbox and a fake of GitHub.

What act has no network for (setup-python, cache, upload-artifact) has stand-ins in `stubs/`; checkout is act's own.
Everything else is as on a runner: the composite actions of this checkout, their installation, files and variables.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reconciler_action.github import marker

from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.names import LocationId
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.access import SandboxAgency
from reconciler.sandbox.app import DEMO_TOKEN, SCOPES, App
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_store
from reconciler.system import wall_clock
from tests.ci.github import BOT, REPOSITORY, TOKEN, FakeGitHub, served
from tests.ci.test_pins import ROOT
from tests.cli.conftest import LOCATION, contact_id
from tests.fakes import a_holder
from tests.warm import the_product

pytestmark = [pytest.mark.servers, pytest.mark.slow]

NUMBER = 7
EXAMPLES = ROOT / "docs" / "ci" / "github"
MATRIX = ROOT / "docs" / "ci" / "github-matrix"
COMPANY = "ve9EPM428h8vShlRW1KT"
OTHER = f"other{LOCATION[5:]}"
STUBS = Path(__file__).parent / "stubs"
USED = (".github/actions", "reconciler", "manifests", "docs/ci", "pyproject.toml", "README.md", "LICENSE")
HOSTILE = "::error::boo <!-- reconciler:plan:x --> ``` ##[add-path]/evil"
LAW = f"""
location: {LOCATION}
contact_sets:
  customers:
    contacts: [{contact_id(0)}, {contact_id(1)}]
    tags: [customer]
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How act ended, and its log."""

    code: int
    log: str

    def outputs(self) -> dict[str, str]:
        return dict(re.findall(r"::set-output:: ([\w-]+)=(\S*)", self.log))


@dataclass(frozen=True, slots=True)
class Bench:
    """A repository with manifests and workflows, a place for its state, and what stands around it."""

    directory: Path
    cache: Path
    ours: Path
    github: FakeGitHub
    github_url: str
    sandbox: Running

    @property
    def repository(self) -> Path:
        return self.directory / "crm"

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=anna", "-c", "user.email=anna@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=self.repository, check=True, capture_output=True)

    def manifest(self, text: str) -> None:
        (self.repository / "manifests" / "acme.yaml").write_text(text)

    def act(self, event: str, workflow: str, payload: dict[str, Any]) -> Ran:
        told = self.directory / "event.json"
        told.write_text(json.dumps(payload | {"repository": {"full_name": REPOSITORY, "owner": {"login": "acme"}}}))
        secrets = {
            "GITHUB_TOKEN": TOKEN,
            "HIGHLEVEL_TOKEN": DEMO_TOKEN,
            "HIGHLEVEL_TOKEN_READONLY": DEMO_TOKEN,
            "RECONCILER_STATE": f"sqlite:///{self.directory}/state.db",
            "RECONCILER_STATE_READONLY": f"sqlite:///{self.directory}/state.db",
        }
        variables = {
            "GITHUB_API_URL": self.github_url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "ARTIFACTS": str(self.directory / "artifacts"),
        }
        line = [
            "act",
            event,
            "-W",
            f".github/workflows/{workflow}",
            "-e",
            str(told),
            "-P",
            "ubuntu-latest=-self-hosted",
        ]
        line += ["--no-cache-server", *_local(self.ours)]
        line += [word for name, value in secrets.items() for word in ("-s", f"{name}={value}")]
        line += [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RECONCILER_", "GITHUB_", "PYTHON"))
        }
        own |= {"XDG_CACHE_HOME": str(self.cache)}
        with _alone_until_installed(self.cache):
            done = subprocess.run(
                line, cwd=self.repository, env=own, capture_output=True, text=True, timeout=500, check=False
            )
        return Ran(done.returncode, done.stdout + done.stderr)


def _local(ours: Path) -> list[str]:
    """Where act takes actions from, for every `uses` of the examples; `ours` is the repository of our own."""
    text = "".join(
        path.read_text()
        for path in [*EXAMPLES.glob("*.yml"), *MATRIX.glob("*.yml"), *(ROOT / ".github/actions").glob("*/action.yml")]
    )
    found = {}
    for owner, name, commit in re.findall(r"uses: (actions|OWNER)/([\w-]+)(?:/\S+)?@(\w+)", text):
        place = ours if owner == "OWNER" else STUBS / name
        if place.is_dir():
            found[f"{owner}/{name}@{commit}"] = place
    return [word for name, place in found.items() for word in ("--local-repository", f"{name}={place}")]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """reconciler is installed once for all tests, also those in other processes, as on a runner with a warm cache."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "act"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the composite actions use of this checkout: act copies all that is there, for each step of each job."""
    place = tmp_path_factory.mktemp("ours")
    for name in USED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, place / name)
    return place


@contextmanager
def _alone_until_installed(cache: Path) -> Iterator[None]:
    """Who comes first installs it, and the others wait for the end of that."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(cache.rglob("reconciler/*/complete")):
            fcntl.flock(lock, fcntl.LOCK_UN)
        yield


@pytest.fixture
def bench(tmp_path: Path, cache: Path, ours: Path, world: World) -> Iterator[Bench]:
    with _bench(tmp_path, cache, ours, [App(world)], EXAMPLES, {"acme.yaml": LAW}) as made:
        yield made


@pytest.fixture
def matrix(tmp_path: Path, cache: Path, ours: Path, world: World) -> Iterator[Bench]:
    """Two locations of an agency: act has one set of secrets for all environments."""
    other = World(LocationId(OTHER), [Contact(contact_id(7), LocationId(OTHER))])
    agency = SandboxAgency(DEMO_TOKEN, COMPANY, SCOPES)
    files = {
        "acme.yaml": LAW,
        "other.yaml": f"location: {OTHER}\ncontact_sets: {{a: {{contacts: [{contact_id(7)}], tags: [customer]}}}}\n",
        "reconciler.yaml": f"api: {{company_id: {COMPANY}}}\n",
    }
    apps = [App(each, accesses=(), agency=agency) for each in (world, other)]
    with _bench(tmp_path, cache, ours, apps, MATRIX, files) as made:
        yield made


@contextmanager
def _bench(
    tmp_path: Path, cache: Path, ours: Path, apps: list[App], examples: Path, files: dict[str, str]
) -> Iterator[Bench]:
    if not shutil.which("act"):
        pytest.skip("no act: pip install -r .ci/tools.txt")
    fake = FakeGitHub()
    with served(fake) as url, in_background(Locations(apps)) as sandbox:
        made = Bench(tmp_path, cache, ours, fake, url, sandbox)
        (made.repository / ".github" / "workflows").mkdir(parents=True)
        (made.repository / "manifests").mkdir()
        _workflows(made, examples)
        for name, text in files.items():
            (made.repository / "manifests" / name).write_text(text)
        made.git("init", "-q", "-b", "main", ".")
        made.git("add", "-A")
        made.git("commit", "-qm", "what holds")
        subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "origin.git")], check=True)
        made.git("remote", "add", "origin", str(tmp_path / "origin.git"))
        made.git("push", "-q", "-u", "origin", "main")
        yield made


def _earlier_run(bench: Bench, location: str = LOCATION) -> None:
    """Leaves the state that somebody's first run made: a job takes one that is not there for lost."""
    with open_store(f"sqlite:///{bench.directory}/state.db") as state:
        store = state.at(LocationId(location))
        lease = store.acquire_lease(a_holder(), wall_clock())
        store.end_run(
            lease,
            store.begin_run(lease, RunHeader(lease.location, "apply", "anna", wall_clock())),
            RunStatus.COMPLETE,
            wall_clock(),
            set_sizes={},
        )
        store.release_lease(lease)


def _applied(bench: Bench) -> None:
    """What the manifests want is there, by a command: the workflow that applies has a test of its own."""
    _earlier_run(bench)
    variables = {"RECONCILER_STATE": f"sqlite:///{bench.directory}/state.db", "HIGHLEVEL_TOKEN": DEMO_TOKEN}
    line = [*the_product(), "-m", "reconciler", "apply", "manifests", "--auto-approve", "--api-base-url"]
    subprocess.run([*line, bench.sandbox.url], cwd=bench.repository, env=os.environ | variables, check=True)


def _workflows(bench: Bench, examples: Path) -> None:
    """The examples as they are, but for two things: the sandbox is the API, and drift reads contacts one by one.

    (A search tells what was so some minutes ago, and never replaces what the run before just learnt.)
    """
    for path in examples.glob("*.yml"):
        text = re.sub(
            r"( +)(- uses: OWNER/reconciler/\.github/actions/(?:plan|apply|drift)@.*\n(?:\1  id: .*\n)?)(\1  with:\n)?",
            lambda found: f"{found[1]}{found[2]}{found[1]}  with:\n{found[1]}    base-url: {bench.sandbox.url}\n",
            path.read_text().replace("refresh: search", "refresh: get"),
        )
        (bench.repository / ".github" / "workflows" / path.name).write_text(text)


def _pull_request(bench: Bench, head: str = REPOSITORY) -> dict[str, Any]:
    """A pull request with its refs: the head, and the merge that a runner checks out."""
    bench.git("push", "-q", "-f", "origin", "HEAD:refs/heads/change", f"HEAD:refs/pull/{NUMBER}/head")
    bench.git("checkout", "-q", "-B", "merge", "origin/main")
    bench.git("merge", "-q", "--no-ff", "-m", "merge", "change")
    bench.git("push", "-q", "-f", "origin", f"HEAD:refs/pull/{NUMBER}/merge")
    pull = {"number": NUMBER, "head": {"ref": "change", "repo": {"full_name": head}}, "base": {"ref": "main"}}
    return {"number": NUMBER, "pull_request": pull}


def _change(bench: Bench, text: str) -> None:
    bench.git("checkout", "-q", "-B", "change", "main")
    bench.manifest(text)
    bench.git("commit", "-qam", "a change")


def test_a_pull_request_is_planned_and_its_comment_kept_up_to_date(bench: Bench) -> None:
    _earlier_run(bench)
    _change(bench, LAW.replace("[customer]", f"[customer, vip, {json.dumps(HOSTILE)}]"))
    ran = bench.act("pull_request", "pull-request.yml", _pull_request(bench))
    assert ran.code == 0, ran.log
    (comment,) = bench.github.comments[NUMBER]
    assert comment["user"]["login"] == BOT
    assert comment["body"].splitlines()[0] == marker("plan")
    assert "vip" in comment["body"]
    assert ran.outputs()["changes"] == "6"
    assert sorted(path.name for path in (bench.directory / "artifacts" / "reconciler-plan").iterdir()) == [
        "plan.html",
        "plan.json",
        "plan.md",
    ]
    # the workflow command in a tag was no command, and no token is in the log
    assert "❗  ::error::boo" not in ran.log
    assert not {DEMO_TOKEN, TOKEN} & set(re.findall(r"[\w-]+", ran.log))
    # the summary of the first job says what the change means, of the second what it costs
    assert ran.log.count("Summary - ") == 2

    _change(bench, LAW.replace("[customer]", "[customer, founder]"))
    ran = bench.act("pull_request", "pull-request.yml", _pull_request(bench))
    assert ran.code == 0, ran.log
    (comment,) = bench.github.comments[NUMBER]
    assert "founder" in comment["body"]
    assert "vip" not in comment["body"]


def test_a_fork_is_validated_and_compared_and_nothing_else(bench: Bench) -> None:
    loot = bench.directory / "loot"
    _change(bench, LAW.replace("[customer]", "[customer, vip]"))
    settings = bench.repository / "manifests" / "reconciler.yaml"
    settings.write_text(f"locations: {{{LOCATION}: {{token_env: NONE, token_command: touch {loot}}}}}\n")
    bench.git("add", "-A")
    bench.git("commit", "-qm", "hostile")
    ran = bench.act("pull_request", "pull-request.yml", _pull_request(bench, head="mallory/crm"))
    assert ran.code == 0, ran.log
    assert "vip" in ran.log
    assert "tags/Plan" not in ran.log
    assert not loot.exists()
    assert bench.github.asked == []
    assert not (bench.directory / "state.db").exists()


def test_a_broken_manifest_fails_the_check(bench: Bench) -> None:
    _change(bench, LAW.replace("tags: [customer]", "tagz: [customer]"))
    ran = bench.act("pull_request", "pull-request.yml", _pull_request(bench))
    assert ran.code != 0
    assert "manifests/acme.yaml" in ran.log
    assert bench.github.comments == {}


def test_main_is_planned_approved_by_digest_and_applied(bench: Bench) -> None:
    _earlier_run(bench)
    push = {"ref": "refs/heads/main"}
    ran = bench.act("push", "apply.yml", push)
    assert ran.code == 0, ran.log
    assert "customer" in bench.sandbox.world.tags_of(contact_id(0))
    assert DEMO_TOKEN not in ran.log
    # once more: there is nothing to apply, and that job does not run
    ran = bench.act("push", "apply.yml", push)
    assert ran.code == 0, ran.log
    assert "tags apply/Apply" not in ran.log


def test_drift_opens_an_issue_and_closes_it(bench: Bench) -> None:
    _applied(bench)
    bench.sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
    ran = bench.act("workflow_dispatch", "drift.yml", {})
    assert ran.code == 0, ran.log
    assert [each["state"] for each in bench.github.issues] == ["open"]
    bench.sandbox.do(lambda world, now: world.add(contact_id(0), ["customer"], now=now, by="somebody"))
    assert bench.act("workflow_dispatch", "drift.yml", {}).code == 0
    assert [each["state"] for each in bench.github.issues] == ["closed"]


def test_a_matrix_plans_applies_and_looks_location_by_location(matrix: Bench) -> None:
    for location in (LOCATION, OTHER):
        _earlier_run(matrix, location)
    ran = matrix.act("push", "apply.yml", {"ref": "refs/heads/main"})
    assert ran.code == 0, ran.log
    worlds = [matrix.sandbox.at(location).app.world for location in (LOCATION, OTHER)]
    assert [len(world.holders("customer")) for world in worlds] == [2, 1]
    assert all(f"Apply {location}" in ran.log for location in (LOCATION, OTHER))
    # what another change concerns is planned, and nothing else
    _change(matrix, LAW.replace("[customer]", "[customer, vip]"))
    ran = matrix.act("pull_request", "pull-request.yml", _pull_request(matrix))
    assert ran.code == 0, ran.log
    (comment,) = matrix.github.comments[NUMBER]
    assert comment["body"].splitlines()[0] == marker("plan", LOCATION)
    assert f"Plan {OTHER}" not in ran.log
    # each location that drifted has an issue of its own
    matrix.git("checkout", "-q", "main")
    matrix.sandbox.do(lambda world, now: world.remove(contact_id(7), ["customer"], now=now, by="somebody"), OTHER)
    ran = matrix.act("workflow_dispatch", "drift.yml", {})
    assert ran.code == 0, ran.log
    (issue,) = matrix.github.issues
    assert issue["body"].splitlines()[0] == marker("drift", OTHER)
    assert DEMO_TOKEN not in ran.log
