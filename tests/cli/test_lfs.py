"""What Git LFS has not brought: a checkout without it has pointers in place of the files, three lines of text each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.hostile import git
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a2146' * 8}\nsize 12345\n"
TOLD = "1: this is a Git LFS pointer; fetch it with `git lfs pull`"


def declare(file: str) -> None:
    lines = [f"location: {LOCATION}", "contact_sets:", "  team:"]
    lines += [f"    contacts: {{file: {file}}}", "    tags: [customer]\n"]
    Path("manifests/acme.yaml").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("pointer", [POINTER, POINTER.replace("git-lfs", "hawser"), POINTER.replace("\n", "\r\n")])
@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "jsonl", "parquet"])
def test_a_contact_file_that_is_a_pointer_is_told_as_that(
    ending: str, pointer: str, project: Path, reconciler: Command
) -> None:
    """Its three lines were three contacts, where a file has an id a line: all others were pruned."""
    name = f"team.{ending}"
    (project / "manifests" / name).write_text(pointer, encoding="utf-8", newline="")
    declare(name)
    ended = reconciler("plan")
    assert (ended.code, ended.out) == (1, "")
    assert f"manifests/{name}:{TOLD}" in ended.err


@pytest.mark.parametrize("name", ["acme.yaml", "reconciler.yaml"])
def test_a_manifest_that_is_a_pointer_is_told_as_that(
    name: str, manifest: Manifest, project: Path, reconciler: Command
) -> None:
    manifest(customers=(range(2), ["customer"], []))
    (project / "manifests" / name).write_text(POINTER, encoding="utf-8")
    ended = reconciler("plan")
    assert (ended.code, ended.out) == (1, "")
    assert f"manifests/{name}:1:{TOLD}" in ended.err


@pytest.mark.parametrize("name", ["export.csv", "export.json"])
def test_an_export_that_is_a_pointer_is_told_as_that(
    name: str, manifest: Manifest, project: Path, reconciler: Command
) -> None:
    manifest(customers=(range(2), ["customer"], []))
    (project / name).write_text(POINTER, encoding="utf-8")
    ended = reconciler("state", "import", name, "--location", LOCATION)
    assert ended.code == 1
    assert f"{name}:{TOLD}" in ended.err


def test_of_another_revision_there_is_nothing_but_the_pointer(project: Path, reconciler: Command) -> None:
    """The checkout has the file, Git the pointer: what the file said is not known, and not compared."""
    (project / "manifests" / "team.txt").write_text(POINTER, encoding="utf-8")
    declare("team.txt")
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "base")
    (project / "manifests" / "team.txt").write_text(f"{contact_id(1)}\n", encoding="utf-8")
    assert reconciler("plan").code == 0
    ended = reconciler("diff")
    assert ended.code == 1
    assert f"HEAD:manifests/team.txt:{TOLD}" in ended.err
    assert "of another revision Git itself holds only the pointer" in ended.err


def test_a_text_that_speaks_of_git_lfs_is_no_pointer(project: Path, reconciler: Command) -> None:
    (project / "manifests" / "team.csv").write_text(f"note,contact_id\n{POINTER[:42]},{contact_id(1)}\n")
    declare("team.csv")
    assert reconciler("plan").code == 0
