"""How Git is started: which repository, with what forbidden, and that its own reason is passed on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import reconciler.cli
from reconciler.operations.git import GitRefused, find_repository
from tests.ci.hostile import COMMIT, git, plant_repository
from tests.cli.conftest import Command

Manifest = Callable[..., None]
Wrapped = Callable[[str], None]


@pytest.fixture
def committed(manifest: Manifest) -> None:
    """A repository with two commits of manifests."""
    git("init", "-q", "-b", "main", ".")
    for count in (2, 3):
        manifest(customers=(range(count), ["customer"], []))
        git("add", "-A")
        git("commit", "-qm", f"{count} customers")


@pytest.fixture
def wrapped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Wrapped:
    """Puts a git before the real one that does something of its own first."""

    def wrap(first: str) -> None:
        folder = tmp_path_factory.mktemp("bin")
        (folder / "git").write_text(f'#!/bin/sh\n{first}\nexec {shutil.which("git")} "$@"\n')
        (folder / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return wrap


def test_one_module_starts_git() -> None:
    root = Path(reconciler.__file__).parent
    texts = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    assert {path for path, text in texts.items() if '"git"' in text} == {"operations/git.py"}
    # what a token's command and a source's command are is the settings' to say
    starting = {path for path, text in texts.items() if "subprocess" in text}
    assert starting == {"operations/git.py", "operations/run_command.py", "highlevel/tokens.py"}


def test_the_planted_repository_bites_whoever_asks_git_plainly(tmp_path: Path) -> None:
    """What the other tests take for granted: without our precautions this Git runs the command."""
    plant_repository(tmp_path / "planted", tmp_path / "loot")
    with pytest.raises(Exception, match="non-zero exit status"):
        git("-C", str(tmp_path / "planted"), "rev-parse", "main^{commit}")
    assert (tmp_path / "loot").exists()


def test_every_call_forbids_what_a_repository_can_ask_for(
    committed: None, wrapped: Wrapped, reconciler: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "calls"
    wrapped(f"""
told="PROTOCOL=${{GIT_ALLOW_PROTOCOL-any}} LAZY=$GIT_NO_LAZY_FETCH PROMPT=$GIT_TERMINAL_PROMPT DIR=$GIT_DIR"
echo "$* $told" >> {log}""")
    os.environ["GIT_DIR"] = "/nowhere"
    try:
        assert reconciler("diff", "--base", "HEAD~1").code == 0
    finally:
        del os.environ["GIT_DIR"]
    calls = log.read_text().splitlines()
    assert len(calls) >= 4
    forbidden = ["safe.bareRepository=explicit", "protocol.allow=never", "core.hooksPath=/dev/null", "core.fsmonitor="]
    for call in calls:
        assert call.startswith(f"-C {Path.cwd()} --no-pager -c {' -c '.join(forbidden)} ")
        assert call.endswith(" PROTOCOL= LAZY=1 PROMPT=0 DIR=")


@pytest.mark.slow
def test_a_commit_is_what_it_was_whatever_stands_in_for_it(committed: None, reconciler: Command) -> None:
    git("replace", "HEAD~1", "HEAD")
    assert "1 tag gained" in reconciler("diff", "--base", "HEAD~1").out


def test_what_a_linked_worktree_is_at(committed: None, reconciler: Command, project: Path) -> None:
    """Its `.git` is a file that leads elsewhere, as it should."""
    git("worktree", "add", "-q", "tree", "HEAD~1")
    assert find_repository(project / "tree" / "manifests").top == project / "tree"
    assert "Says the same" in reconciler("diff", "tree/manifests", "--base", "main~1").out


def test_a_git_file_that_leads_to_files_of_its_checkout_is_refused(
    committed: None, reconciler: Command, project: Path
) -> None:
    plant_repository(project / "manifests" / "planted", project / "loot")
    (project / "manifests" / ".git").write_text("gitdir: planted\n")
    ended = reconciler("diff")
    assert ended.code == 64
    assert "files of the checkout and no repository" in ended.err


def test_a_repository_of_somebody_else_is_told_as_that(
    committed: None, wrapped: Wrapped, reconciler: Command, project: Path
) -> None:
    wrapped("export GIT_TEST_ASSUME_DIFFERENT_OWNER=1")
    ended = reconciler("diff", "--base", "HEAD~1")
    assert ended.code == 64
    assert f"detected dubious ownership in repository at '{project}'" in ended.err
    assert f"git config --global --add safe.directory {project}" in ended.err
    assert "shallow" not in ended.err


def test_no_repository_is_told_as_that(manifest: Manifest, reconciler: Command, project: Path) -> None:
    manifest(customers=(range(2), ["customer"], []))
    ended = reconciler("diff")
    assert (ended.code, "shallow" in ended.err) == (64, False)
    assert "manifests lies in no Git repository" in ended.err
    (project / ".git").mkdir()
    ended = reconciler("diff")
    assert (ended.code, "shallow" in ended.err) == (64, False)
    assert "Git: not a git repository" in ended.err


@pytest.mark.one_in(5)
@pytest.mark.parametrize("revision", ["nowhere", COMMIT, "HEAD~5", "--output=x"])
def test_only_a_shallow_clone_is_called_one(
    committed: None, revision: str, reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = reconciler("diff", f"--base={revision}")
    assert ended.code == 64
    assert f"{revision!r} names no commit" in ended.err
    assert "Git: Needed a single revision" in ended.err or "Git: bad" in ended.err
    assert "lacks history" not in ended.err
    git("clone", "-q", "--depth", "1", project.as_uri(), "shallow")
    monkeypatch.chdir(project / "shallow")
    ended = reconciler("diff", f"--base={revision}")
    assert ended.code == 64
    assert "the clone is shallow and lacks history" in ended.err


def test_what_a_partial_clone_lacks_is_not_fetched(
    committed: None, reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("config", "uploadpack.allowFilter", "true")
    git("clone", "-q", "--filter=blob:none", project.as_uri(), "partial")
    monkeypatch.chdir(project / "partial")
    ended = reconciler("diff", "--base", "HEAD~1")
    assert ended.code == 64
    assert "the clone is partial" in ended.err
    assert "Traceback" not in ended.err


def test_a_damaged_repository_is_not_one_without_manifests(committed: None, reconciler: Command, project: Path) -> None:
    """An object that cannot be read made all manifests look new."""
    tree = git("rev-parse", "HEAD~1:manifests").decode().strip()
    (project / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    ended = reconciler("diff", "--base", "HEAD~1")
    assert ended.code == 64
    assert "Git: " in ended.err


@pytest.mark.slow
def test_attributes_change_nothing_of_what_was_committed(committed: None, reconciler: Command, project: Path) -> None:
    """`export-ignore` hid files of the base, and `export-subst` changed them, where an archive was read."""
    (project / ".gitattributes").write_text("*.yaml export-ignore\n")
    (project / "manifests" / ".gitattributes").write_text("acme.yaml export-ignore\n")
    git("add", "-A")
    git("commit", "-qm", "attributes")
    assert "Says the same" in reconciler("diff").out


def test_without_git_that_is_told(committed: None, reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ended = reconciler("diff")
    assert (ended.code, "no git on this machine" in ended.err) == (64, True)
    with pytest.raises(GitRefused):
        find_repository(Path("manifests"))
