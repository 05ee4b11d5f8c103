"""No byte of a token is in anything that a run leaves behind or says, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.sandbox import Running, in_background
from reconciler.sandbox.access import SandboxAgency
from reconciler.sandbox.app import SCOPES, App
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command

AGENCY_TOKEN, COMPANY = "agency-5e94f7b5-secret-4b0e", "ve9EPM428h8vShlRW1KT"


@pytest.fixture
def agency(world: World, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    app = App(world, accesses=(), agency=SandboxAgency(AGENCY_TOKEN, COMPANY, SCOPES))
    with in_background(app) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        monkeypatch.setenv("HIGHLEVEL_TOKEN", AGENCY_TOKEN)
        yield running


@pytest.mark.slow
def test_an_agencys_token_serves_and_is_nowhere(
    reconciler: Command, agency: Running, manifest: Callable[..., None], project: Path
) -> None:
    manifest(customers=([0, 1, 8, 9], ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text(f"api: {{company_id: {COMPANY}}}\n")
    said = [
        reconciler("plan", "--refresh", "get", "--out", "plan.json", "--log-level", "debug"),
        reconciler("apply", "plan.json", "--auto-approve", "--log-format", "json", "--log-level", "debug"),
        reconciler("drift", "--refresh", "search", "--format", "json"),
        reconciler("history", "--format", "json"),
        reconciler("validate", "--show-settings"),
        reconciler("apply", "--auto-approve", "--api-company-id", "another", "--refresh", "get"),
    ]
    # who was read as gone for the plan gets nothing, and is refused nothing
    assert [each.code for each in said] == [0, 0, 0, 0, 0, 7]
    counter = agency.network.app.exchange
    assert counter is not None
    tokens = {AGENCY_TOKEN, *counter.issued}
    assert len(tokens) == 5, "the apply of a plan file reads again what the file claims"
    left = b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())
    whole = "".join(each.out + each.err for each in said).encode() + left
    assert [token for token in tokens if token.encode() in whole] == []


def test_a_company_for_one_location(
    reconciler: Command, agency: Running, manifest: Callable[..., None], project: Path
) -> None:
    manifest(customers=([0], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 7
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{LOCATION}: {{company_id: {COMPANY}}}}}\n")
    assert reconciler("apply", "--auto-approve").code == 0


def test_a_token_command_that_fails_is_told_without_what_it_printed(
    reconciler: Command, manifest: Callable[..., None], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    manifest(customers=([0], ["customer"], []))
    command = f"sh -c 'echo {AGENCY_TOKEN}; echo {AGENCY_TOKEN} >&2; exit 3'"
    (project / "manifests" / "reconciler.yaml").write_text(
        f'locations: {{{LOCATION}: {{token_command: "{command}"}}}}\n'
    )
    ended = reconciler("apply", "--auto-approve", "--log-level", "debug")
    assert ended.code == 7
    assert "exit code 3" in ended.err
    assert AGENCY_TOKEN not in ended.out + ended.err


def test_doctor_exchanges_an_agencys_token(reconciler: Command, agency: Running, manifest: Callable[..., None]) -> None:
    manifest(customers=([0], ["customer"], []))
    well = reconciler("doctor", "--api-company-id", COMPANY)
    assert well.code == 0
    ill = reconciler("doctor", "--api-company-id", "another")
    assert ill.code == 7
    assert "was not exchanged" in ill.out
    assert AGENCY_TOKEN not in well.out + well.err + ill.out + ill.err
