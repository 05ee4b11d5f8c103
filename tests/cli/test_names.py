"""A location's name from the settings stands for its id wherever one location is asked for."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import LocationId, name_locations
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import ELSEWHERE, LOCATION, Command, contact_id
from tests.fakes import a_holder

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


@pytest.mark.one_in(17)
@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize("name", ["Acme Outdoor", pytest.param("acme outdoor", marks=pytest.mark.slow)])
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


@pytest.mark.one_in(16)
@pytest.mark.parametrize("command", ASKING)
def test_a_name_of_two_locations_is_refused_with_both(reconciler: Command, two: Path, command: str) -> None:
    called(two, "Acme", "ACME")
    ended = reconciler(*ASKING[command], "--location", "acme")

    assert ended.code == 64
    assert f"2 locations are called 'acme': {LOCATION}, {ELSEWHERE}" in ended.err
    # the id is never ambiguous
    assert reconciler(*ASKING[command], "--location", LOCATION).code == 0


@pytest.mark.slow
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


@pytest.mark.one_in(34)
@pytest.mark.parametrize("command", TOLD)
@pytest.mark.parametrize("output", ["text", "markdown", "html"])
def test_a_heading_has_the_name_with_the_id(reconciler: Command, two: Path, command: str, output: str) -> None:
    where = () if command == "show" else ("--location", LOCATION)
    ended = reconciler(*TOLD[command], *where, "--format", output)

    assert ended.code == 0, ended.err
    assert f"Acme Outdoor ({LOCATION})" in html.unescape(ended.out)


@pytest.mark.slow
def test_progress_has_the_name_with_the_id(reconciler: Command, two: Path) -> None:
    ended = reconciler("refresh", "--method", "get", "--location", LOCATION)
    assert f"Acme Outdoor ({LOCATION}): 3 of 3 contacts read" in ended.err
    machine = reconciler("refresh", "--method", "get", "--location", LOCATION, "--log-format", "json")
    assert "Acme" not in machine.err


BOTH = f"Acme Outdoor ({LOCATION})"
ELSE = f"Acme Indoor ({ELSEWHERE})"


def gone(two: Path) -> None:
    (two / "manifests" / "acme.yaml").unlink()


def empty(two: Path) -> None:
    (two / "manifests" / "acme.yaml").write_text(f"location: {LOCATION}\ncontact_sets: {{}}\n")


def tokenless(two: Path) -> None:
    text = (two / "manifests" / "reconciler.yaml").read_text()
    (two / "manifests" / "reconciler.yaml").write_text(
        text.replace("{name: Acme O", "{token_env: NO_SUCH, name: Acme O")
    )


def locked(two: Path) -> None:
    with open_store("sqlite:///.reconciler/state.db") as store:
        store.at(LocationId(LOCATION)).acquire_lease(a_holder("anna"), SystemClock().now())


PROSE: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "a note of the plan": (gone, ("plan",), f"location {BOTH} has state but no manifest"),
    "a note of drift": (gone, ("drift",), f"location {BOTH} has state but no manifest"),
    "states that are not there": (
        lambda two: None,
        ("drift", "--state", "sqlite:///other.db"),
        f"there is no state of location {BOTH}, location {ELSE} at ",
    ),
    "a guard": (empty, ("plan", "--location", LOCATION), f"refuses location {BOTH}"),
    "a refused apply": (empty, ("apply", "--auto-approve", "--location", LOCATION), f"refuses location {BOTH}"),
    "a lock": (locked, ("refresh", "--method", "get", "--location", LOCATION), f"location {BOTH} is locked by anna"),
    "a lock in a note": (locked, ("plan",), f"location {BOTH} is locked by anna"),
    "a lock at the doctor's": (locked, ("doctor", "--offline"), f"location {BOTH} is locked by anna"),
    "the locks": (locked, ("state", "unlock"), f"location {BOTH} is locked"),
    "another lease": (locked, ("state", "unlock", ANY_ID, "--location", LOCATION), f"not the lease of location {BOTH}"),
    "no lease": (lambda two: None, ("state", "unlock", ANY_ID, "--location", ELSEWHERE), f"location {ELSE} is not"),
    "no token": (tokenless, ("refresh", "--location", LOCATION), f"no token for location {BOTH}"),
    "no manifest": (gone, ("validate",), f"location {BOTH} is in the settings, and no manifest has it"),
    "an export": (gone, ("export", "--location", LOCATION, "--out", "out"), f"location {BOTH}: "),
    "what was forgotten": (
        gone,
        ("state", "forget", contact_id(0), "--location", LOCATION),
        f"forgot 1 contact of location {BOTH}",
    ),
}


@pytest.mark.one_in(16)
@pytest.mark.parametrize("case", PROSE)
def test_prose_has_the_name_with_the_id(reconciler: Command, two: Path, case: str) -> None:
    prepare, command, expected = PROSE[case]
    prepare(two)
    ended = reconciler(*command)

    assert expected in " ".join(f"{ended.out} {ended.err}".split())


@pytest.mark.slow
def test_a_command_to_type_keeps_the_id(reconciler: Command, two: Path) -> None:
    locked(two)
    ended = reconciler("refresh", "--method", "get", "--location", LOCATION)
    assert f"reconciler state unlock lease-anna --location {LOCATION}" in ended.err


@pytest.mark.slow
def test_a_saved_plan_has_the_names_where_the_settings_have_them(reconciler: Command, two: Path) -> None:
    more = f"location: {LOCATION}\ncontact_sets: {{more: {{contacts: [{contact_id(4)}], tags: [more]}}}}\n"
    (two / "manifests" / "more.yaml").write_text(more)
    assert reconciler("plan", "--location", LOCATION, "--out", "plan.json").code == 0
    assert f"Location {BOTH}, " in reconciler("show", "plan.json").out
    assert "Acme" not in reconciler("show", "plan.json", "--format", "json").out
    assert "Acme" not in reconciler("show", "plan.json", "--format", "csv").out

    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, f"{BOTH}: round 1" in ended.err) == (0, True), ended.err


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["no settings", "no directory"])
def test_a_saved_plan_is_shown_by_the_ids_alone_where_there_are_no_names(
    reconciler: Command, two: Path, damage: str
) -> None:
    assert reconciler("plan", "--out", "plan.json").code == 0
    (two / "manifests" / "reconciler.yaml").write_text("locations: [")
    if damage == "no directory":
        (two / "manifests").rename(two / "elsewhere")
    ended = reconciler("show", "plan.json")
    assert (ended.code, ended.err) == (0, "")
    assert f"\n{LOCATION} " in ended.out


@pytest.mark.slow
def test_a_note_for_machines_keeps_the_id(reconciler: Command, two: Path) -> None:
    locked(two)
    ended = reconciler("apply", "--auto-approve", "--log-format", "json", "--format", "json", "--report", "it.json")
    assert "Acme" not in ended.out + "".join(line for line in ended.err.splitlines() if line.startswith("{"))
    assert "Acme" not in (two / "it.json").read_text()


@pytest.mark.slow
def test_a_report_of_a_refused_command_has_the_name(reconciler: Command, two: Path) -> None:
    empty(two)
    ended = reconciler("apply", "--auto-approve", "--location", LOCATION, "--report", "it.html")
    assert ended.code == 5
    assert f"refuses location {BOTH}" in html.unescape((two / "it.html").read_text())


NAMES = {LocationId("Xy-1_z"): "Acme (North)", LocationId("is"): "Is"}
WRITTEN = {
    "Location Xy-1_z, run 3": "Location Acme (North) (Xy-1_z), run 3",
    "location Xy-1_z: why": "location Acme (North) (Xy-1_z): why",
    "another location than Xy-1_z.": "another location than Acme (North) (Xy-1_z).",
    "location Xy-1_zz": "location Xy-1_zz",
    "reconciler plan --location Xy-1_z": "reconciler plan --location Xy-1_z",
    "Xy-1_z alone, relocation Xy-1_z": "Xy-1_z alone, relocation Xy-1_z",
    "location ": "location ",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_where_a_text_speaks_of_a_location(text: str) -> None:
    assert name_locations(text, NAMES) == WRITTEN[text]
    assert name_locations(text, {}) == text
