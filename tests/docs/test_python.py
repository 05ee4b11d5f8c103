"""The page on Python is executed, block by block, and prints what it shows; the names that it promises are there."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import re
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import World
from tests.cli.conftest import contact_id
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "python.md"
STEP = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", re.M | re.S)
FILE = re.compile(r'^```yaml title="([^"]+)"\n(.*?)^```', re.M | re.S)
PROMISED = re.compile(r"^\| `(\w+)` \| (`.*`) \|$", re.M)


@pytest.fixture
def world(world: World) -> World:
    """Two of its contacts have the e-mail addresses that the page names."""
    for number, name in ((5, "finn"), (6, "gret")):
        world.change_person(contact_id(number), Person(f"{name}@example.com"), now=Instant(1))
    return world


@pytest.mark.slow
def test_every_block_prints_what_stands_below_it(project: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, content in FILE.findall(text):
        (project / name).write_text(content, encoding="utf-8")
    steps = STEP.findall(text)
    assert len(steps) == text.count("```python\n") >= 6
    names: dict[str, object] = {"__name__": "page"}
    for code, shown in steps:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, str(PAGE), "exec"), names)
        assert printed.getvalue() == shown


def test_every_promised_name_is_there_and_requests_and_results_are_frozen() -> None:
    promised = PROMISED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(promised) > 10
    for module, names in promised:
        there = import_module(f"reconciler.operations.{module}")
        for name in re.findall(r"`(\w+)`", names):
            promise = getattr(there, name)
            assert promise.__doc__, name
            assert promise.__module__ == there.__name__, name
            if name.endswith(("Request", "Result")):
                assert dataclasses.is_dataclass(promise), name
                assert promise.__dataclass_params__.frozen, name
            if name.endswith("Result"):
                assert not promise.__dataclass_params__.repr, f"{name} would write down all contacts"


def test_what_is_printed_of_a_result_has_no_contact_and_no_token(tmp_path: Path) -> None:
    """A notebook and a log print values; asyncio does as a task ends: a million ids would take seconds and memory."""
    people = [f"{nth:020}" for nth in range(50)]
    (tmp_path / "acme.yaml").write_text(
        f"location: asdrwHvLUxlfw5SqKVCN\ncontact_sets: {{all: {{contacts: {people}, tags: [x]}}}}\n"
    )
    environment = {"HIGHLEVEL_TOKEN": "pit-secret", "RECONCILER_STATE": f"sqlite:///{tmp_path}/secret.db"}
    workspace = Workspace(tmp_path, {"state": f"sqlite:///{tmp_path}/secret.db"}, environment=environment)
    session = open_session(workspace)
    planned = asyncio.run(make_plan(session, PlanRequest()))
    assert len(planned.plan.locations[0].deltas[0].contacts) == 50
    printed = f"{workspace} {session} {planned}"
    assert "secret" not in printed
    assert people[0] not in printed
    assert len(printed) < 1_000
