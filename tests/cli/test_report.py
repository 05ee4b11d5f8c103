"""--report: the answer in a file, whatever the format on stdout, and however the command ends."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox import Running
from tests.cli.conftest import Command

Manifest = Callable[..., None]


@pytest.fixture
def customers(manifest: Manifest) -> None:
    manifest(customers=([0, 1, 2], ["customer"], []))


def test_a_run_in_every_format(reconciler: Command, customers: None, project: Path) -> None:
    ended = reconciler("apply", "--auto-approve", "--report", "run.json", "--format", "text")
    assert ended.code == 0
    assert json.loads(Path("run.json").read_text())["locations"][0]["pairs"]["applied"] == 3
    again = reconciler("plan", "--report", "plan.md", "--format", "json")
    assert json.loads(again.out)
    assert Path("plan.md").read_text().startswith("## ")
    assert reconciler("drift", "--report", "DRIFT.TXT").out == Path("DRIFT.TXT").read_text()
    assert {path.name for path in project.iterdir()} == {
        "manifests", "run.json", "plan.md", "DRIFT.TXT", ".reconciler",
    }  # fmt: skip
    assert {stat.S_IMODE(Path(name).stat().st_mode) for name in ("run.json", "plan.md", "DRIFT.TXT")} == {0o600}


@pytest.mark.slow
def test_a_revert_is_reported(reconciler: Command, customers: None) -> None:
    reconciler("apply", "--auto-approve", "--report", "run.json")
    run = json.loads(Path("run.json").read_text())["locations"][0]["run"]
    Path("manifests/acme.yaml").write_text("location: asdrwHvLUxlfw5SqKVCN\ncontact_sets: {}\n")
    lifted = ("--allow", "empties_tag:tag=customer", "--allow", "max_removes_pct", "--reason", "a mistake")
    ended = reconciler("revert", run, "--auto-approve", "--report", "run.json", *lifted)
    assert ended.code == 0
    assert json.loads(Path("run.json").read_text())["locations"][0]["run"] != run


def test_a_command_that_fails_is_reported(reconciler: Command, customers: None, sandbox: Running) -> None:
    assert reconciler("apply", "--auto-approve", "--max-requests", "0", "--report", "x.json").code == 64
    small = ("--api-requests-per-day", "1", "--api-reserve-pct", "90")
    for name in ("run.json", "run.md", "run.txt"):
        assert reconciler("apply", "--auto-approve", *small, "--report", name).code == 8
    document = json.loads(Path("run.json").read_text())
    assert document["exit_code"] == 8
    assert "needs 1 request" in document["error"]
    assert "--quota-spill" in document["hint"]
    text = Path("run.txt").read_text()
    # what was planned is told, then the error
    assert text.index("3 tags to add") < text.index("Error") < text.index("needs 1 request")
    assert "needs 1 request" in Path("run.md").read_text()
    assert sandbox.world.transitions == []


def test_manifests_that_do_not_load_are_reported(reconciler: Command, project: Path) -> None:
    (project / "manifests" / "acme.yaml").write_text("location: [\n")
    assert reconciler("plan", "--report", "plan.json").code == 1
    assert "acme.yaml" in json.loads(Path("plan.json").read_text())["error"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("run.pdf", ".json"), ("run", ".json"), ("nowhere/run.json", "directory"), ("manifests.json", "no file")],
)
def test_a_file_that_cannot_be_is_told_before_anything_is_sent(
    reconciler: Command, customers: None, sandbox: Running, name: str, told: str
) -> None:
    Path("manifests.json").mkdir()
    ended = reconciler("apply", "--auto-approve", "--report", name)
    assert ended.code == 64
    assert told in ended.err
    assert sandbox.world.transitions == []


def test_each_of_several_reports_is_written(reconciler: Command, customers: None) -> None:
    told = reconciler("plan", "--report", "plan.md", "--report", "plan.json")
    assert told.code == 0
    assert Path("plan.md").read_text().startswith("#")
    assert json.loads(Path("plan.json").read_text())["locations"]

    Path("gone").mkdir()
    failed = reconciler("plan", "nowhere", "--report", "gone/plan.md", "--report", "plan.json")
    assert failed.code == 1
    assert "nowhere" in Path("gone/plan.md").read_text()
    assert "nowhere" in json.loads(Path("plan.json").read_text())["error"]


def test_an_old_report_is_replaced_whole(reconciler: Command, customers: None) -> None:
    Path("plan.json").write_text("old" * 10_000)
    Path("plan.json").chmod(0o644)
    reconciler("plan", "--report", "plan.json")
    assert json.loads(Path("plan.json").read_text())["locations"]
    assert stat.S_IMODE(Path("plan.json").stat().st_mode) == 0o600


def test_a_report_is_not_written_over_the_plan(
    reconciler: Command, customers: None, sandbox: Running, project: Path
) -> None:
    """The later one of two files of one name is all that is left: the plan that was to be sent, or its review."""
    both = reconciler("plan", "--out", "plan.json", "--report", "./plan.json")
    assert both.code == 64
    assert "--report plan.json is the file that --out names" in both.err
    assert not Path("plan.json").exists()

    reconciler("plan", "--out", "plan.json")
    saved = Path("plan.json").read_bytes()
    over = reconciler("apply", "plan.json", "--auto-approve", "--report", str(project / "plan.json"))
    assert over.code == 64
    assert "is the file that the argument names" in over.err
    assert Path("plan.json").read_bytes() == saved
    assert sandbox.world.transitions == []
