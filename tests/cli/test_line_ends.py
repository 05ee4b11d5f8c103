"""A line end of ours is a line end, in every command and format; one from outside is shown, and ends nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import LOCATION, Command

Manifest = Callable[..., None]
CODE = r"\u{a}"
ODD = f"location: {LOCATION}\ncontact_sets:\n  vips:\n    contacts: [AAAAAAAAAAAAAAAAAAAA, odd]\n    tags: [vip]\n"
BROKEN = f"location: {LOCATION}\ncontact_sets:\n  vips:\n    contacts: [AAAAAAAAAAAAAAAAAAAA]\n    tag: [vip]\n"
REFUSED = ("--max-adds", "1")


def written(project: Path, text: str, name: str = "acme.yaml") -> None:
    (project / "manifests" / name).write_text(text)


@pytest.mark.parametrize("command", ["validate", "plan", "apply --dry-run", "apply --auto-approve"])
def test_the_hint_of_a_warning_stands_in_its_own_line(reconciler: Command, project: Path, command: str) -> None:
    written(project, ODD)
    ended = reconciler(*command.split())
    lines = (ended.out + ended.err).splitlines()
    (place,) = (number for number, line in enumerate(lines) if "cannot be a HighLevel contact id" in line)
    assert lines[place + 1].startswith("  hint: an id has 20 letters and digits")
    assert CODE not in ended.out + ended.err


def test_a_log_of_json_has_one_object_for_a_warning(reconciler: Command, project: Path) -> None:
    written(project, ODD)
    notes = [json.loads(line)["note"] for line in reconciler("plan", "--log-format", "json").err.splitlines()]
    (warning,) = (note for note in notes if "cannot be a HighLevel contact id" in note)
    assert warning.split("\n")[1].startswith("  hint: ")


@pytest.mark.parametrize("command", ["validate", "plan", "apply", "drift", "refresh", "export --out x", "revert last"])
def test_the_hint_of_an_error_stands_in_its_own_line(reconciler: Command, project: Path, command: str) -> None:
    written(project, BROKEN)
    ended = reconciler(*command.split())
    lines = (ended.out + ended.err).splitlines()
    assert ended.code != 0
    assert CODE not in ended.out + ended.err
    if command in ("validate", "plan", "apply", "drift"):
        (place,) = (number for number, line in enumerate(lines) if "unknown key" in line)
        assert lines[place + 1] == "  hint: did you mean 'tags'?"


REPORTS = ("md", "txt", "html", "csv", "json")


@pytest.mark.parametrize("suffix", REPORTS)
def test_a_report_of_an_error_has_no_code_for_a_line_end(reconciler: Command, project: Path, suffix: str) -> None:
    written(project, BROKEN)
    assert reconciler("plan", "--report", f"report.{suffix}").code == 1
    text = (project / f"report.{suffix}").read_text()
    assert "did you mean" in text
    assert r"u{a}" not in text


@pytest.fixture
def renamed(manifest: Manifest, reconciler: Command, project: Path) -> None:
    """A tag goes and another comes for the same contacts: refused by guards, with two ways out."""
    manifest(customers=(range(6), ["spring"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=(range(6), ["summer"], []))


@pytest.mark.slow
@pytest.mark.usefixtures("renamed")
def test_each_way_out_of_a_refusal_is_a_hint_of_its_own(reconciler: Command) -> None:
    refused = reconciler("apply", "--auto-approve")
    hints = [line for line in refused.err.splitlines() if line.startswith("  hint: ")]
    assert (refused.code, len(hints), CODE in refused.err) == (5, 2, False), refused.err
    assert "renamed_from" in hints[0]
    assert "--allow" in hints[1]


@pytest.mark.one_in(6)
@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("suffix", REPORTS)
def test_a_report_of_a_refusal_has_its_lines(reconciler: Command, project: Path, suffix: str) -> None:
    assert reconciler("apply", "--auto-approve", "--report", f"report.{suffix}").code == 5
    text = (project / f"report.{suffix}").read_text()
    assert "summer" in text
    assert r"u{a}" not in text


@pytest.mark.parametrize("command", ["validate", "plan", "apply", "drift", "show", "history --manifests"])
def test_a_line_end_from_outside_ends_no_line(reconciler: Command, project: Path, command: str) -> None:
    ended = reconciler(*command.split(), "nothere\n::error::forged")
    told = ended.out + ended.err
    assert CODE in told
    assert not any(line.lstrip().startswith("::error") for line in told.splitlines())
