"""Bad input gets a clear error with a place and a way out: never a traceback, and nothing is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox import Running
from reconciler.sandbox.app import DEMO_TOKEN
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.extras import need

Manifest = Callable[..., None]
SECRET = "pit-wrong-5ec12e7-d0n0t-t311"


def test_a_missing_token_names_the_variable(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    ended = reconciler("apply", "--auto-approve")
    assert ended.code == 7
    assert "HIGHLEVEL_TOKEN" in ended.err
    assert reconciler("plan").code == 0


def test_a_wrong_token_is_refused_and_never_shown(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("HIGHLEVEL_TOKEN", SECRET)
    ended = reconciler("apply", "--auto-approve", "--log-level", "debug")
    assert ended.code == 7
    assert SECRET not in ended.out + ended.err
    assert all(SECRET.encode() not in path.read_bytes() for path in project.rglob("*") if path.is_file())
    monkeypatch.setenv("HIGHLEVEL_TOKEN", DEMO_TOKEN)
    assert reconciler("apply", "--auto-approve").code == 0


@pytest.mark.slow
def test_an_unreachable_api_loses_nothing(
    reconciler: Command, manifest: Manifest, world: World, monkeypatch: pytest.MonkeyPatch, sandbox: Running
) -> None:
    manifest(customers=([0, 1], ["customer"], []))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "http://127.0.0.1:9")
    ended = reconciler("apply", "--auto-approve")
    assert ended.code == 1
    assert "cannot reach http://127.0.0.1:9" in ended.out + ended.err
    assert "not sent" in ended.out
    monkeypatch.setenv("RECONCILER_API_BASE_URL", sandbox.url)
    planned = reconciler("plan")
    assert "2 tags to add" in planned.out
    assert "restored" not in planned.out
    assert reconciler("apply", "--auto-approve").code == 0
    assert len(world.holders("customer")) == 2


def test_plain_http_is_for_loopback_only(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "http://example.com")
    ended = reconciler("plan")
    assert ended.code == 1
    assert "https" in ended.err


FILE_SET = f"""location: {LOCATION}
contact_sets:
  customers:
    contacts: {{file: customers.csv}}
    tags: [customer]
"""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ["manifests/acme.yaml:4:22", "customers.csv"]),
        ("name,mail\na,b\n", ["customers.csv:1", "contact_id", "name", "mail"]),
        (b"contact_id\n\xff\xfe\n", ["customers.csv:2"]),
        ("contact_id\n", ["customers", "empty"]),
    ],
    ids=["no file", "no column", "not text", "no rows"],
)
def test_a_contact_file_that_cannot_be_used(
    reconciler: Command, project: Path, content: str | bytes | None, expected: list[str]
) -> None:
    (project / "manifests" / "acme.yaml").write_text(FILE_SET)
    if content is not None:
        raw = content.encode() if isinstance(content, str) else content
        (project / "manifests" / "customers.csv").write_bytes(raw)
    ended = reconciler("plan")
    assert ended.code == 1
    for words in expected:
        assert words in ended.err


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    tags:", "    tag:", ["manifests/acme.yaml:5:5", "unknown key", "did you mean 'tags'"]),
        ("contact_sets:", f"location: {LOCATION}\ncontact_sets:", ["manifests/acme.yaml:2:1", "twice"]),
        ("[customer]", "[customer", ["manifests/acme.yaml:"]),
        ("{file: customers.csv}", "[]", ["manifests/acme.yaml:3:3", "empty"]),
    ],
    ids=["unknown key", "duplicate key", "broken yaml", "empty set"],
)
def test_a_manifest_with_a_mistake(reconciler: Command, project: Path, old: str, new: str, expected: list[str]) -> None:
    (project / "manifests" / "customers.csv").write_text(f"contact_id\n{contact_id(0)}\n")
    (project / "manifests" / "acme.yaml").write_text(FILE_SET.replace(old, new))
    for command in ("validate", "plan", "apply", "drift"):
        ended = reconciler(command)
        assert ended.code == 1
        for words in expected:
            assert words in ended.err + ended.out


@pytest.mark.slow
def test_an_id_that_cannot_be_one_is_sent_and_comes_back_rejected(reconciler: Command, project: Path) -> None:
    text = FILE_SET.replace("{file: customers.csv}", f"[abcdef, {contact_id(0)}]")
    (project / "manifests" / "acme.yaml").write_text(text)
    validated = reconciler("validate")
    assert validated.code == 0
    assert "warning" in validated.out
    assert "abcdef" in validated.out
    assert "valid: 1 manifest, 1 contact set; 1 warning above" in validated.out
    ended = reconciler("apply", "--auto-approve")
    assert ended.code == 3
    assert "not a valid firebase id" in ended.out


@pytest.mark.parametrize("command", ["validate", "plan", "apply", "drift"])
def test_a_missing_directory(reconciler: Command, project: Path, command: str) -> None:
    ended = reconciler(command, "nowhere")
    assert ended.code == 1
    assert "nowhere" in ended.err + ended.out


@pytest.mark.parametrize("command", ["plan", "apply", "drift"])
def test_a_damaged_state_is_refused_untouched(
    reconciler: Command, manifest: Manifest, project: Path, command: str
) -> None:
    manifest(customers=([0], ["customer"], []))
    state = project / "state.db"
    state.write_bytes(b"SQLite format 3\x00" + b"garbage" * 1000)
    before = state.read_bytes()
    ended = reconciler(command, "--state", "sqlite:///state.db")
    assert ended.code == 1
    assert "state.db" in ended.err
    assert "hint" in ended.err
    assert state.read_bytes() == before


def test_a_newer_state_is_refused_untouched(
    reconciler: Command, manifest: Manifest, project: Path, world: World
) -> None:
    manifest(customers=([0], ["customer"], []))
    reconciler("apply", "--auto-approve")
    state = project / ".reconciler" / "state.db"
    with sqlite3.connect(state) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = state.read_bytes()
    for command in ("plan", "apply"):
        ended = reconciler(command)
        assert ended.code == 1
        assert "schema version 999" in ended.err
        assert "upgrade" in ended.err
    assert state.read_bytes() == before


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "state.db", "sqlite://", "://"])
def test_an_unknown_state_url(reconciler: Command, manifest: Manifest, url: str) -> None:
    manifest(customers=([0], ["customer"], []))
    ended = reconciler("plan", "--state", url)
    assert ended.code in (1, 64)
    assert "secret" not in ended.err


@pytest.mark.extras
@pytest.mark.parametrize(
    "command",
    ["plan --refresh get", "apply", "drift --refresh get", "history", "state list", "state verify", "state unlock"],
)
def test_a_state_whose_locations_nobody_can_list_is_refused_before_anybody_is_asked(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    need("psycopg")
    # the API would refuse it
    monkeypatch.setenv("HIGHLEVEL_TOKEN", SECRET)
    manifest(customers=([0], ["customer"], []))
    ended = reconciler(*command.split(), "--state", "postgresql://of_{location}:secret@nobody.invalid/crm")
    assert "the locations of postgresql://of_{location}@nobody.invalid/crm cannot be listed" in ended.err
    assert ("--location" in ended.err, "secret" in ended.err, ended.code) == (True, False, 64)


@pytest.mark.slow
def test_a_port_in_use(reconciler: Command, project: Path, sandbox: Running) -> None:
    text = FILE_SET.replace("{file: customers.csv}", f"[{contact_id(0)}]")
    (project / "manifests" / "acme.yaml").write_text(text)
    assert reconciler("sandbox", "make", "--data", "sandbox.json").code == 0
    ended = reconciler("sandbox", "serve", "--data", "sandbox.json", "--port", str(sandbox.port))
    assert ended.code == 1
    assert f"port {sandbox.port}" in ended.err
    assert "hint" in ended.err


def test_damaged_sandbox_data(reconciler: Command, project: Path) -> None:
    (project / "sandbox.json").write_text("{")
    ended = reconciler("sandbox", "serve", "--data", "sandbox.json")
    assert ended.code == 1
    assert "sandbox.json" in ended.err
    assert reconciler("sandbox", "make", "--data", "sandbox.json").code == 64


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format_version": "9.0"}', '{"format_version": "1.0", "digest": "x"}']
)
def test_a_file_that_is_no_plan(reconciler: Command, manifest: Manifest, project: Path, text: str) -> None:
    manifest(customers=([0], ["customer"], []))
    (project / "plan.json").write_text(text)
    for command in ("show", "apply"):
        ended = reconciler(command, "plan.json")
        assert ended.code == 1
        assert "plan.json" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["plam"],
        ["plan", "--nonsense"],
        ["drift", "--fail-on", "weather"],
        ["plan", "--allow", "nothing", "--reason", "x"],
        ["show"],
    ],
)
def test_a_command_line_that_makes_no_sense(reconciler: Command, manifest: Manifest, arguments: list[str]) -> None:
    manifest(customers=([0], ["customer"], []))
    assert reconciler(*arguments).code == 64


def test_hostile_text_stays_text(reconciler: Command, manifest: Manifest, project: Path) -> None:
    text = FILE_SET.replace("{file: customers.csv}", f"[{contact_id(0)}]")
    text = text.replace("[customer]", '["::error::\\u001b[31mred", "\\u202eevil"]')
    (project / "manifests" / "acme.yaml").write_text(text)
    for command in ("validate", "plan"):
        ended = reconciler(command, "--color", "never")
        said = ended.out + ended.err
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert not any(line.startswith("::") for line in said.splitlines())


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error_of_ours(manifest: Manifest, project: Path) -> None:
    manifest(customers=(range(8), ["customer"], []))
    shell = f"{sys.executable} -m reconciler plan --format json | true"
    done = subprocess.run(["bash", "-c", shell], cwd=project, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
