"""Options that name a file to write: what the run reads is not written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.sandbox import Running
from tests.cli.conftest import LOCATION, Command, contact_id

SETTINGS = f"""
state: sqlite:///kept/state.db
sources:
  orders: {{sql: select contact_id from orders, files: [orders.csv]}}
  crm: {{command: [sh, asked.txt], format: csv}}
locations:
  {LOCATION}: {{token_command: cat 'own key.txt'}}
"""
MANIFEST = f"""
location: {LOCATION}
contact_sets:
  customers: {{contacts: {{file: contacts/customers.csv}}, tags: [customer]}}
  guests: {{contacts: {{file: people.csv, match: {{email: email}}}}, tags: [guest]}}
"""
PEM = "-----BEGIN PRIVATE KEY-----\nMC4\n"


@pytest.fixture
def scene(project: Path) -> dict[str, bytes]:
    """Files that a run reads, and what is in them."""
    files = {
        "manifests/reconciler.yaml": SETTINGS,
        "manifests/acme.yaml": MANIFEST,
        "manifests/contacts/customers.csv": f"contact_id\n{contact_id(0)}\n",
        "manifests/people.csv": "email\nada@example.com\n",
        "manifests/orders.csv": "contact_id\n",
        "asked.txt": "echo contact_id\n",
        "own key.txt": "pit-own\n",
        "client.txt": PEM,
        "kept/state.db": "",
        "other.json": "SQLite format 3\0",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return {name: text.encode() for name, text in files.items()}


@pytest.mark.parametrize(
    ("option", "name", "told"),
    [
        ("--report", "manifests/contacts/customers.csv", "a file that the manifests name"),
        ("--report", "manifests/people.csv", "a file that the manifests name"),
        ("--report", "manifests/orders.csv", "a file that the manifests name"),
        ("--report", "asked.txt", "a file that a command of the settings names"),
        ("--report", "own key.txt", "a file that a command of the settings names"),
        ("--report", "client.txt", "a key or a certificate"),
        ("--report", "other.json", "a database"),
        ("--out", "manifests/contacts/customers.csv", "a file that the manifests name"),
        ("--out", "manifests/acme.yaml", "called like a manifest"),
        ("--out", "manifests/reconciler.yaml", "called like a manifest"),
        ("--out", "kept/state.db", "the state, or a file beside it"),
        ("--out", "kept/state.db-wal", "the state, or a file beside it"),
        ("--out", "kept/state.db.v3.backup", "the state, or a file beside it"),
    ],
)
def test_a_plan_is_not_written_over_what_it_reads(
    reconciler: Command, scene: dict[str, bytes], option: str, name: str, told: str
) -> None:
    ended = reconciler("plan", option, name)
    assert ended.code == 64
    assert f"{option} {name} is {told}" in ended.err
    assert {path: Path(path).read_bytes() for path in scene} == scene


@pytest.mark.parametrize("command", ["apply", "drift"])
def test_a_report_is_refused_before_anything_is_done(
    reconciler: Command, scene: dict[str, bytes], sandbox: Running, command: str
) -> None:
    """By another name of the same file, too."""
    Path("linked").symlink_to("manifests", target_is_directory=True)
    auto = ("--auto-approve",) if command == "apply" else ()
    ended = reconciler(command, "linked", *auto, "--report", "manifests/contacts/customers.csv")
    assert (ended.code, "customers.csv is a file that the manifests name" in ended.err) == (64, True)
    assert Path("manifests/contacts/customers.csv").read_bytes() == scene["manifests/contacts/customers.csv"]
    assert sandbox.world.transitions == []


def test_a_state_of_each_location_and_snapshots_are_read(reconciler: Command, scene: dict[str, bytes]) -> None:
    Path("manifests/seen/asdrw").mkdir(parents=True)
    Path("manifests/seen/asdrw/vip.json").write_text("{}")
    Path("manifests/reconciler.yaml").write_text("snapshots: manifests/seen/\n")
    each = ("--state", "sqlite:///kept/{location}/state.json")
    state = reconciler("plan", *each, "--report", "kept/state.json")
    assert "the state" not in state.err
    Path("kept/asdrw").mkdir()
    assert "is the state, or a file beside it" in reconciler("plan", *each, "--report", "kept/asdrw/state.json").err
    ended = reconciler("plan", "--report", "manifests/seen/asdrw/vip.json")
    assert "is a snapshot of a contact set" in ended.err


def test_manifests_that_cannot_be_told_keep_their_files(reconciler: Command, scene: dict[str, bytes]) -> None:
    Path("manifests/acme.yaml").write_text("location: [\n")
    ended = reconciler("plan", "--report", "manifests/contacts/customers.csv")
    assert "is among the manifests, perhaps a file of contacts" in ended.err
    assert ended.code == 64
    assert reconciler("plan", "--report", "manifests/new.csv").code == 1
    assert "acme.yaml" in Path("manifests/new.csv").read_text()


def test_an_earlier_report_is_replaced_among_the_manifests_too(reconciler: Command, scene: dict[str, bytes]) -> None:
    Path("manifests/acme.yaml").write_text(MANIFEST.replace("guests", "# guests"))
    for _ in range(2):
        ended = reconciler("plan", "--report", "manifests/report.csv", "--out", "manifests/plan.json")
        assert ended.code == 0, ended.err
    assert json.loads(Path("manifests/plan.json").read_text())["locations"]


def test_resolved_people_are_not_written_over_what_is_read(reconciler: Command, scene: dict[str, bytes]) -> None:
    command = ("resolve", "manifests/people.csv", "--by", "email", "--location", LOCATION, "--force", "--out")
    for name, told in {
        "manifests/people.csv": "the file that the argument names",
        "manifests/contacts/customers.csv": "a file that the manifests name",
        "manifests/acme.yaml": "called like a manifest",
        "kept/state.db": "the state",
    }.items():
        ended = reconciler(*command, name)
        assert (ended.code, f"--out {name} is {told}" in ended.err) == (64, True), ended.err
    assert {path: Path(path).read_bytes() for path in scene} == scene


def test_rows_of_no_contact_do_not_become_the_state(reconciler: Command, scene: dict[str, bytes]) -> None:
    Path("kept/state.db").unlink()
    ended = reconciler("pull", "--set", "guests", "--unmatched", "kept/state.db")
    assert (ended.code, "--unmatched kept/state.db is the state" in ended.err) == (64, True)
