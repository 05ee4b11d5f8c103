"""What a golden folder of a pull tells: manifests with a file of people, and the people of the location.

`manifests/`; `location.json`: `people` by short names, each with `emails`, `phones` (the first and additional ones) and
`number`, a custom field, `fields`, others of `location_fields` (with their `text_boxes`), `tags`, and what else a
filter may ask for; what is
`assumed` of the API; the `request`; whether there is a `key`. Where it has `edits`, the people that are others by then
(null: deleted), or where there are manifests in `earlier/`, a pull went before; with `again`, others follow, each as
many minutes before the next one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.core.model.names import iso
from reconciler.core.model.people import Snapshot
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.resolve import ResolveRequest, resolve_file
from reconciler.operations.workspace import Workspace, open_session
from reconciler.output.pull import PullDocument, ResolveDocument
from reconciler.output.text import render_text
from reconciler.sandbox import in_background
from reconciler.sandbox.app import DEMO_TOKEN, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import World
from reconciler.store import open_reader
from tests.build import CUSTOMER_FIELD, HERE, NOW, contact, location_field, name, person
from tests.fakes import FakeClock
from tests.golden_case import as_json
from tests.pull.stage import KEY

HOUR = 3_600_000
LIFT_ALL = ("max_unmatched_pct", "max_rematched_pct")


@dataclass
class PullCase:
    """A folder, read; the working directory is one of its own, with the manifests."""

    path: Path
    told: Mapping[str, Any]
    clock: FakeClock
    world: World
    environment: dict[str, str]

    @classmethod
    @contextmanager
    def opened(cls, path: Path, directory: Path) -> Iterator[PullCase]:
        told = json.loads((path / "location.json").read_text())
        people = [
            contact(short, values.pop("tags", ""), person=person(**values)) for short, values in told["people"].items()
        ]
        boxes = told.get("text_boxes", {})
        fields = [
            CUSTOMER_FIELD,
            *(
                replace(location_field(key, kind), options=boxes.get(key, {}))
                for key, kind in told.get("location_fields", {}).items()
            ),
        ]
        # a change is shown at once: what lags is another test's
        rules = Assumptions(**{"search_lag_ms": 0, **told.get("assumed", {})})
        world, clock = World(HERE, people, custom_fields=fields, assumptions=rules), FakeClock(NOW)
        environment = {"HIGHLEVEL_TOKEN": DEMO_TOKEN, "RECONCILER_STATE": f"sqlite:///{directory}/state.db"}
        if told.get("key", True):
            environment["RECONCILER_KEY"] = KEY
        with in_background(App(world), now=clock.now) as running:
            environment["RECONCILER_API_BASE_URL"] = running.url
            yield cls(path, told, clock, world, environment)

    @property
    def workspace(self) -> Workspace:
        return Workspace(Path("manifests"), {}, self.environment, clock=self.clock)

    def take_manifests(self, folder: str) -> None:
        """The manifests of the working directory are those of `folder` from now on; snapshots stay."""
        shutil.copytree(self.path / folder, "manifests", dirs_exist_ok=True)

    def pull(self) -> dict[str, str]:
        """What the pull of the folder gives, by the names of its files."""
        if "edits" in self.told or (self.path / "earlier").exists():
            self.take_manifests("earlier" if (self.path / "earlier").exists() else "manifests")
            self.run(PullRequest(allow=tuple(f"{guard}:set=vip" for guard in LIFT_ALL), reason="the first one"))
            self.clock.ms += HOUR
            self.edit()
        self.take_manifests("manifests")
        for minutes in self.told.get("again", ()):
            self.run(PullRequest())
            self.clock.ms += minutes * 60_000
        wanted = {key: tuple(value) if isinstance(value, list) else value for key, value in self.request.items()}
        result, shown = self.run(PullRequest(**wanted))
        errors = [line for error in (*result.errors, *result.refusals) for line in (*error.lines, *error.hints)]
        kept = {"exit_code": int(result.exit_code), "errors": errors, "snapshots": self.snapshots()}
        found = {"report.json": as_json(shown.json()), "report.txt": render_text(shown.view(None))}
        for run in [pulled.run for pulled in result.locations if pulled.run]:
            found = {file: text.replace(run, "RUN") for file, text in found.items()}
        return found | {"kept.json": as_json(kept)}

    def run(self, request: PullRequest) -> tuple[PullResult, PullDocument]:
        shown: list[PullDocument] = []
        session = open_session(self.workspace, pulls=True)
        result = asyncio.run(pull_people(session, request, lambda result: shown.append(PullDocument(result.locations))))
        # once, and before anything is kept
        (document,) = shown
        return result, document

    @property
    def request(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.told.get("request", {})
        return found

    def edit(self) -> None:
        for short, values in self.told.get("edits", {}).items():
            if values is None:
                self.world.delete(name(short), now=self.clock.now())
            else:
                self.world.change_person(name(short), person(**values), now=self.clock.now())

    def snapshots(self) -> dict[str, Any]:
        """What is kept in the end: by the names of the sets, and as files where these are the place."""
        with open_reader(self.environment["RECONCILER_STATE"]) as reader:
            of_sets = reader.at(HERE).read_snapshots()
        folder = Path("manifests/.resolved")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {name: _tell(snapshot) for name, snapshot in sorted(of_sets.items())} | {
            str(path.relative_to(folder)): path.read_text() for path in files
        }

    def resolve(self) -> dict[str, str]:
        """The same of a file that is resolved once."""
        shutil.copy(self.path / "people.csv", "people.csv")
        wanted = {key: tuple(map(tuple, value)) if key == "columns" else value for key, value in self.request.items()}
        wanted["by"] = tuple(wanted["by"])
        request = ResolveRequest(file=Path("people.csv"), location=HERE, out=Path("ids.csv"), **wanted)
        document = ResolveDocument(asyncio.run(resolve_file(self.workspace, request)))
        return {
            "report.json": as_json(document.json()),
            "report.txt": render_text(document.view(None)),
            "ids.csv": Path("ids.csv").read_text(),
        }

    def expect(self, bless: bool, found: Mapping[str, str]) -> None:
        for file, text in found.items():
            if bless:
                (self.path / file).write_text(text)
            assert (self.path / file).read_text() == text


def _tell(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "contacts": list(snapshot.contacts),
        "as_of": iso(snapshot.as_of),
        "source_digest": snapshot.source_digest,
        "counts": asdict(snapshot.counts),
        **({"missing": {who: iso(at) for who, at in snapshot.missing.items()}} if snapshot.missing else {}),
    }
