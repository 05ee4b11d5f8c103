"""A location's name from the settings stands for its id wherever one location is asked for."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import ELSEWHERE, LOCATION, Command, contact_id

ANY_ID = "3f0c9e1b2a4d"
ASKING = {
    "plan": ("plan",),
    "plan --refresh": ("plan", "--refresh", "get"),
    "apply": ("apply", "--auto-approve"),
    "drift": ("drift",),
    "refresh": ("refresh", "--method", "get"),
    "history": ("history",),
    "doctor": ("doctor", "--offline"),
    "state list": ("state", "list"),
    "state show": ("state", "show"),
    "state show a contact": ("state", "show", contact_id(0)),
    "state pull": ("state", "pull"),
    "state unlock": ("state", "unlock"),
    "state forget": ("state", "forget", "--limits"),
    "export": ("export", "--refresh", "search", "--out", "OUT"),
    "sandbox make": ("sandbox", "make", "--data", "OUT"),
}


@pytest.fixture
def two(project: Path, manifest: Callable[..., None], reconciler: Command) -> Path:
    """Two locations with names, the first of which was applied once."""
    manifest(customers=(range(3), ["customer"], []))
    second = f"location: {ELSEWHERE}\ncontact_sets: {{there: {{contacts: [{contact_id(9)}], tags: [elsewhere]}}}}\n"
    (project / "manifests" / "else.yaml").write_text(second)
    called(project, "Acme Outdoor", "Acme Indoor")
    assert reconciler("apply", "--auto-approve", "--location", LOCATION).code == 0
    return project


def called(project: Path, first: str, second: str) -> None:
    names = f"locations:\n  {LOCATION}: {{name: {first}}}\n  {ELSEWHERE}: {{name: {second}}}\n"
    (project / "manifests" / "reconciler.yaml").write_text(names)


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize("name", ["Acme Outdoor", "acme outdoor"])
def test_a_name_is_as_good_as_the_id(reconciler: Command, two: Path, command: str, name: str) -> None:
    by_id = reconciler(*writing_to("1", command), "--location", LOCATION)
    by_name = reconciler(*writing_to("2", command), "--location", name)

    assert (by_name.code, by_id.code) == (0, 0), by_name.err
    assert same(by_name.out) == same(by_id.out)
    assert ELSEWHERE not in by_name.out


def writing_to(place: str, command: str) -> list[str]:
    """Nothing is overwritten: each call has its own place."""
    return [place if word == "OUT" else word for word in ASKING[command]]


def same(text: str) -> str:
    """Without what differs from one run to the next: times, ids of runs, numbers of requests."""
    return re.sub(r"\b[0-9a-f]{12}\b|\d+", "#", text)


def test_an_export_and_a_lease_are_taken_by_the_name(reconciler: Command, two: Path) -> None:
    (two / "export.csv").write_text(f"contact_id,tags\n{contact_id(4)},vip\n")
    when = ("--observed-at", "2026-01-01T00:00:00Z")
    ended = reconciler("state", "import", "export.csv", "--location", "Acme Outdoor", *when)
    assert (ended.code, ended.err) == (0, "")
    assert contact_id(4) in reconciler("state", "list", "--location", LOCATION).out
    refused = reconciler("state", "unlock", ANY_ID, "--location", "Acme Outdoor")
    assert LOCATION in refused.err


@pytest.mark.parametrize("command", ASKING)
def test_a_name_of_two_locations_is_refused_with_both(reconciler: Command, two: Path, command: str) -> None:
    called(two, "Acme", "ACME")
    ended = reconciler(*ASKING[command], "--location", "acme")

    assert ended.code == 64
    assert f"2 locations are called 'acme': {LOCATION}, {ELSEWHERE}" in ended.err
    # the id is never ambiguous
    assert reconciler(*ASKING[command], "--location", LOCATION).code == 0


def test_the_hint_has_names_and_ids(reconciler: Command, two: Path) -> None:
    ended = reconciler("plan", "--location", "Acme Garden")
    assert ended.code == 64
    assert f"the manifests have: Acme Outdoor ({LOCATION}), Acme Indoor ({ELSEWHERE})" in ended.err


TOLD = {
    "plan": ("plan",),
    "apply": ("apply", "--auto-approve"),
    "apply --refresh": ("apply", "--auto-approve", "--refresh", "get"),
    "drift": ("drift",),
    "refresh": ("refresh", "--method", "get"),
    "history": ("history",),
    "show": ("show", "last"),
    "doctor": ("doctor", "--offline"),
    "state list": ("state", "list"),
    "state show": ("state", "show"),
    "state show a contact": ("state", "show", contact_id(0)),
}


@pytest.mark.parametrize("command", TOLD)
@pytest.mark.parametrize("output", ["text", "markdown", "html"])
def test_a_heading_has_the_name_with_the_id(reconciler: Command, two: Path, command: str, output: str) -> None:
    where = () if command == "show" else ("--location", LOCATION)
    ended = reconciler(*TOLD[command], *where, "--format", output)

    assert ended.code == 0, ended.err
    assert f"Acme Outdoor ({LOCATION})" in html.unescape(ended.out)


def test_progress_has_the_name_with_the_id(reconciler: Command, two: Path) -> None:
    ended = reconciler("refresh", "--method", "get", "--location", LOCATION)
    assert f"Acme Outdoor ({LOCATION}): 3 of 3 contacts read" in ended.err
    machine = reconciler("refresh", "--method", "get", "--location", LOCATION, "--log-format", "json")
    assert "Acme" not in machine.err
