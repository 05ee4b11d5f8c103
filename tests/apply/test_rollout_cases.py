"""Golden folders of rollouts: one manifest of many locations, applied again and again; what each apply shows.

`manifests/`; `rollout.json`: `now`, the `contacts` of each location, those that are `deleted`, the location behind
each of the `tokens`, and the `steps`, each an apply so long `after` the one before, with the files of a folder of
`manifests` in place of those before. `pytest --bless` rewrites what comes out; review the diff.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.names import ContactId, LocationId, parse_instant, read_age
from reconciler.operations.apply import ApplyRequest, apply_judged, judge_plan
from reconciler.operations.plan import describe_errors, make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.workspace import Workspace, open_session
from reconciler.output.plan import PlanDocument
from reconciler.output.run import RunDocument
from reconciler.output.text import render_text
from reconciler.sandbox.app import SCOPES, Access, App
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.world import Contact, World
from tests.fakes import FakeClock
from tests.golden_case import as_json, cases_of
from tests.sandbox.transport import SandboxTransport


@dataclass
class RolloutCase:
    """A folder, read; the working directory is one of its own, with the manifests."""

    path: Path
    told: Mapping[str, Any]
    clock: FakeClock
    worlds: Mapping[LocationId, World]
    workspace: Workspace

    @classmethod
    def read(cls, path: Path, directory: Path) -> RolloutCase:
        told = json.loads((path / "rollout.json").read_text())
        clock = FakeClock(parse_instant(told["now"]))
        worlds = {
            LocationId(location): World(
                LocationId(location), [Contact(ContactId(entry), LocationId(location)) for entry in contacts]
            )
            for location, contacts in told["contacts"].items()
        }
        for world in worlds.values():
            for contact in world.contacts.keys() & set(told.get("deleted", ())):
                world.delete(contact, now=clock.now())
        apps = [App(world, accesses=[Access(f"token-{location}", SCOPES)]) for location, world in worlds.items()]
        shutil.copytree(path / "manifests", "manifests")
        environment = {name: f"token-{location}" for name, location in told["tokens"].items()}
        transport = SandboxTransport(Locations(apps), now=clock.now)
        flags = {"state": f"sqlite:///{directory}/state.db"}
        workspace = Workspace(Path("manifests"), flags, environment, clock=clock, transport=transport)
        return cls(path, told, clock, worlds, workspace)

    def play(self) -> Iterator[str]:
        """What each apply shows, and what every contact carries then."""
        for number, step in enumerate(self.told["steps"], 1):
            self.clock.ms += read_age(step["after"]) or 0
            if "manifests" in step:
                shutil.copytree(self.path / step["manifests"], "manifests", dirs_exist_ok=True)
            yield f"== {number}. apply, {step['after']} later\n\n{self.clock.run(self._apply())}"
            carried = {
                location: {contact: sorted(world.tags_of(contact)) for contact in sorted(world.contacts)}
                for location, world in self.worlds.items()
            }
            yield f"-- contacts\n{as_json(carried)}"

    async def _apply(self) -> str:
        planned = await make_plan(open_session(self.workspace), PlanRequest(create_state=True))
        judged = await judge_plan(planned, ApplyRequest())
        shown = render_text(PlanDocument(planned.plan, notes=describe_errors(judged.refused)).view())
        result = await apply_judged(judged, ApplyRequest())
        text = render_text(RunDocument(list(result.reports)).view())
        said = f"{shown}\n-- ended with exit code {result.exit_code}\n{text}"
        # a run has another name each time
        return re.sub(r"\brun [0-9a-f]{12}\b", "run RUN", said)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("path", cases_of("rollout"), ids=lambda path: path.name)
def test_each_apply_shows_who_waits_and_sends_one_wave(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bless: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    found = "\n".join(RolloutCase.read(path, tmp_path).play())
    if bless:
        (path / "shown.txt").write_text(found)
    assert (path / "shown.txt").read_text() == found
