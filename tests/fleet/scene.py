"""A fleet as its users have it: a repository, locations behind the emulated API, a real PostgreSQL, workers that are
real processes. Commands that only queue, wait and tell run in this process: a start of Python each is half of the time.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.cli import run as run_command
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.sandbox import in_background
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import Access, App, sandbox_token
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_reader
from tests.extras import need
from tests.fakes import directory_in_memory
from tests.fleet.processes import PATIENCE_S, CountedNetwork, EndedCommand, Process, RequestCount, another_environment
from tests.store import servers
from tests.warm import the_product

TAGS = ("customer", "vip")
WAIT_S = str(PATIENCE_S - 20)


def location_id(number: int) -> LocationId:
    return LocationId(f"loc{number:03d}HvLUxlfw5SqKVC")


def contact_id(location: int, number: int) -> ContactId:
    return ContactId(f"c{location:03d}x{number:015d}")


def address_of(location: int, number: int) -> str:
    return f"person{number}@location{location}.example"


@dataclass
class FleetScene:
    directory: Path
    environment: dict[str, str]
    worlds: Mapping[LocationId, World]
    stack: ExitStack
    database: str
    requests: RequestCount
    apps: Sequence[App]
    count: int = 0
    more: threading.Condition = field(default_factory=threading.Condition)
    """Any worker has said more, or ended."""

    def run(self, *arguments: str) -> EndedCommand:
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.directory), another_environment(self.environment), redirect_stdout(out), redirect_stderr(err):
            code = run_command(arguments)
        return EndedCommand(code, out.getvalue(), err.getvalue())

    def fleet(self, *arguments: str, expects: int | None = 0) -> str:
        """The answer of a command of the fleet, which ends with that exit code."""
        done = self.run("fleet", *arguments)
        assert expects in (None, done.returncode), f"{arguments} ended {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def jobs(self, *arguments: str) -> list[dict[str, Any]]:
        document = self.run("fleet", "status", *arguments, "--format", "json").stdout
        jobs: list[dict[str, Any]] = json.loads(document)["jobs"]
        return sorted(jobs, key=lambda job: job["location"])

    def codes(self) -> Counter[int | None]:
        """How many of the latest jobs have each exit code."""
        return Counter(job["exit_code"] for job in self.jobs())

    def worker(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """A process that takes jobs; killed at the end of the test."""
        self.count += 1
        # one that ends by itself gets no signal, and may begin warm
        python = the_product() if "--drain" in arguments else (sys.executable,)
        command = [*python, "-m", "reconciler", "fleet", "worker", "--work-dir", f"work-{self.count}"]
        started = subprocess.Popen(
            [*command, *arguments],
            cwd=self.directory,
            env=self.environment | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.stack.callback(_end, started)
        return Process(started, self.more)

    def queue(self, *arguments: str) -> str:
        """Plans everything, and queues what the file holds; the batch."""
        planned = self.run("plan", "manifests", "--out", "plan.json", *arguments)
        assert planned.returncode == 0, planned.stderr
        said = self.fleet("apply", "plan.json", "--auto-approve", expects=None)
        return re.findall(r"as batch (\w+)", said)[0]

    @property
    def plain_database(self) -> str:
        """The database's URL as libpq has it, with the fleet's tables in its path."""
        url, _, schema = self.database.rpartition("schema=")
        return f"{url}options=-csearch_path%3D{schema}"

    def commit(self, message: str = "change") -> None:
        for command in (["add", "manifests"], ["commit", "--quiet", "--allow-empty", "--message", message]):
            self.git(*command)

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.directory, env=self.environment, check=True, capture_output=True)

    def doubles(self) -> list[str]:
        """Each pair that was added more than once."""
        added = Counter(
            (each.contact, each.tag)
            for world in self.worlds.values()
            for each in world.transitions
            if each.action is Action.ADD
        )
        return [f"{contact} {tag}: {number} times" for (contact, tag), number in added.items() if number > 1]

    def lacking(self) -> list[str]:
        """Each pair that is desired and not there."""
        return [
            f"{location} {contact.id} {tag}"
            for location, world in self.worlds.items()
            for contact in list(world.contacts.values())
            for tag in TAGS
            if Tag(tag) not in world.tags_of(contact.id)
        ]

    def untrue(self) -> list[str]:
        """Each contact whose tags the state has otherwise than they are, or in doubt."""
        found = []
        with open_reader(self.environment["RECONCILER_STATE"]) as reader:
            for location, world in self.worlds.items():
                state = reader.at(location).load_state()
                for contact in list(world.contacts.values()):
                    there, known = world.tags_of(contact.id), state.observed[contact.id]
                    if known.observed != there or known.doubtful:
                        found.append(f"{location} {contact.id}: {known.observed}, in doubt {known.doubtful}")
        return found

    def execute(self, statement: str) -> None:
        """Changes the fleet's tables behind its back."""
        with need("psycopg").connect(self.plain_database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def dump(self) -> bytes:
        """All rows of the fleet's tables, those of the engine too."""
        with need("psycopg").connect(self.plain_database, autocommit=True) as connection:
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
            rows = [connection.execute(f'SELECT t::text FROM "{name}" AS t').fetchall() for (name,) in found]
        return "\n".join(row for table in rows for (row,) in table).encode()

    def manifest(self, number: int, contacts: int, **more: object) -> None:
        location = location_id(number)
        ids = ", ".join(contact_id(number, each) for each in range(contacts))
        lines = [f"location: {location}", "contact_sets:", "  everybody:", f"    contacts: [{ids}]"]
        lines += [f"    tags: [{', '.join(TAGS)}]", *(f"    {name}: {value}" for name, value in more.items())]
        (self.directory / "manifests" / f"{location}.yaml").write_text("\n".join(lines) + "\n")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def database_of(server: str, schema: str) -> str:
    return f"{server}{'&' if '?' in server else '?'}schema={schema}"


@contextmanager
def a_fleet(
    locations: int,
    contacts: int = 4,
    *,
    server: str = "",
    latency_ms: int = 0,
    batch: int = 2,
    tags_at_once: int = 1,
    limits: Mapping[int, Limits] | None = None,
) -> Iterator[FleetScene]:
    """So many locations with so many contacts each, and a fleet whose tables are there."""
    server = server or servers.postgres()
    worlds = {
        location_id(number): World(
            location_id(number),
            [
                Contact(contact_id(number, each), location_id(number), person=Person(address_of(number, each)))
                for each in range(contacts)
            ],
        )
        for number in range(locations)
    }
    apps = [
        App(world, accesses=[Access(sandbox_token(world.location))], limits=(limits or {}).get(number))
        for number, world in enumerate(worlds.values())
    ]
    requests = RequestCount()
    with ExitStack() as stack:
        directory = stack.enter_context(directory_in_memory())
        running = stack.enter_context(
            in_background(Locations([CountedNetwork(app, requests) for app in apps]), latency_ms=latency_ms)
        )
        run = uuid.uuid4().hex[:10]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
        environment.pop("CI", None)
        environment |= {
            "RECONCILER_API_BASE_URL": running.url,
            "RECONCILER_STATE": database_of(server, f"state_{run}"),
            "RECONCILER_FLEET_DATABASE": database_of(server, f"fleet_{run}"),
            "GIT_AUTHOR_NAME": "me",
            "GIT_AUTHOR_EMAIL": "me@example.org",
            "GIT_COMMITTER_NAME": "me",
            "GIT_COMMITTER_EMAIL": "me@example.org",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
            "PYTHONUNBUFFERED": "1",
        }
        environment |= {f"TOKEN_{number}": sandbox_token(location_id(number)) for number in range(locations)}
        scene = FleetScene(
            directory, environment, worlds, stack, environment["RECONCILER_FLEET_DATABASE"], requests, apps
        )
        (directory / "manifests").mkdir()
        settings = [
            f"api: {{max_contacts: {batch}, max_tags: {tags_at_once}, settle_s: 3}}",
            "guards: {max_first_adds: 1000000}",
        ]
        settings += ["locations:"]
        settings += [f"  {location_id(number)}: {{token_env: TOKEN_{number}}}" for number in range(locations)]
        (directory / "manifests" / "reconciler.yaml").write_text("\n".join(settings) + "\n")
        for number in range(locations):
            scene.manifest(number, contacts)
        scene.git("init", "--quiet", "--initial-branch", "main")
        scene.commit("first")
        scene.fleet("migrate")
        yield scene
