"""--format and --report through the command line: every format of every document, and the same exit code in each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from reconciler.cli import COMMANDS, cli
from reconciler.output.document import FORMATS, SUFFIXES
from tests.cli.conftest import Command

Manifest = Callable[..., None]
BEGINNINGS = {"markdown": "## ", "json": '{"format_version":"1.', "html": "<!DOCTYPE html>"}


def looks_right(text: str, kind: str) -> bool:
    if kind == "csv":
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        return len({len(row) for row in rows}) == 1
    if kind == "json":
        json.loads(text)
    return text.startswith(BEGINNINGS.get(kind, "")) and bool(text.strip())


def commands() -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {(name, sub): each for sub, each in command.commands.items()}
        else:
            found[name,] = command
    return found


def test_every_command_with_a_format_has_all_of_them() -> None:
    """`validate` tells problems to people, programs and workflows."""
    choices = {
        path: option.type.choices
        for path, command in commands().items()
        for option in command.params
        if isinstance(option, click.Option) and option.name == "kind" and isinstance(option.type, click.Choice)
    }
    assert {path for path, formats in choices.items() if tuple(formats) != FORMATS} == {("validate",)}


@pytest.mark.slow
def test_a_format_never_changes_the_exit_code(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=(range(8), ["customer"], []), vip=([0, 8], ["vip"], ["trial"]))
    for kind in FORMATS:
        assert reconciler("plan", "--detailed-exitcode", "--format", kind).code == 2
        assert reconciler("plan", "--allow", "max_adds", "--reason", "x", "--format", kind).code == 0
    assert reconciler("apply", "--auto-approve", "--format", "html").out.startswith("<!DOCTYPE html>")
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    manifest()
    questions = {
        ("plan",): 5,
        ("apply", "--auto-approve"): 5,
        ("apply", "--dry-run"): 5,
        ("history",): 0,
        ("show", run["id"]): 0,
        ("state", "list"): 0,
        ("state", "show"): 0,
        ("drift", "--fail-on", "pending,unexpected"): 2,
    }
    for question, code in questions.items():
        for kind in FORMATS:
            ended = reconciler(*question, "--format", kind)
            assert ended.code == code, (question, kind)
            assert looks_right(ended.out, kind), (question, kind)


@pytest.mark.slow
def test_a_command_that_is_refused_answers_with_a_document(
    reconciler: Command, manifest: Manifest, project: Path
) -> None:
    """A guard, a stale plan, a wrong id, manifests that do not load: whoever reads stdout finds out, in each format."""
    manifest(customers=(range(8), ["customer"], []))
    assert reconciler("plan", "--out", "plan.json").code == 0
    manifest(customers=(range(8), ["member"], []))
    refused = {
        ("apply", "plan.json", "--auto-approve"): 4,
        ("apply", "--approved", f"sha256:{'0' * 63}"): 64,
        ("show", "ffff"): 64,
        ("revert", "ffff"): 64,
        ("diff",): 64,
    }
    for question, code in refused.items():
        assert_refused(reconciler, question, code)
    (project / "manifests" / "acme.yaml").write_text("location: [\n")
    for name in ("plan", "apply", "drift", "refresh"):
        assert_refused(reconciler, (name,), 1)
    (project / "manifests" / "reconciler.yaml").write_text("api: {max_tags: no}\n")
    for name in ("plan", "apply", "drift", "refresh", "history", "doctor", "validate"):
        assert_refused(reconciler, (name,), 1)


def assert_refused(reconciler: Command, question: tuple[str, ...], code: int) -> None:
    for kind in FORMATS if question != ("validate",) else ("json",):
        ended = reconciler(*question, "--format", kind)
        assert ended.code == code, (question, kind, ended.err)
        if kind == "text":
            assert ended.out == ""
        else:
            assert looks_right(ended.out, kind), (question, kind, ended.err)
        if kind == "json" and question != ("validate",):
            document = json.loads(ended.out)
            assert (document["report"], document["exit_code"]) == ("error", code)
            assert document["error"].split("\n")[0] in ended.err, "the error is told as ever"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_report_is_in_the_format_of_its_suffix_even_of_a_failure(
    reconciler: Command, manifest: Manifest, project: Path, suffix: str
) -> None:
    manifest(customers=(range(8), ["customer"], []))
    path = project / f"report{suffix}"
    assert reconciler("plan", "--report", str(path)).code == 0
    assert looks_right(path.read_bytes().decode(), SUFFIXES[suffix])
    (project / "manifests" / "acme.yaml").write_text("location: [\n")
    assert reconciler("plan", "--report", str(path)).code == 1
    assert looks_right(path.read_bytes().decode(), SUFFIXES[suffix])
