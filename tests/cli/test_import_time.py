"""When an export is of, whose file Git brought: the checkout's time is later than anything in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import parse_instant
from tests.ci.hostile import git
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
IMPORT = ("state", "import", "exports/contacts.csv", "--location", LOCATION)
ALICE, COMMITTED, OLD_CHECKOUT = "2026-01-02T03:04:05Z", "2026-01-02T08:00:00Z", "2025-06-01T00:00:00Z"


def exported(*tags: str) -> None:
    rows = [f"{contact_id(number)},{tag}" for number, tag in enumerate(tags)]
    Path("exports/contacts.csv").write_text("\n".join(["id,tags", *rows]) + "\n", encoding="utf-8")


def commit(message: str, authored: str, committed: str) -> None:
    os.environ["GIT_COMMITTER_DATE"] = committed
    try:
        git("add", "-A")
        git("-c", "core.hooksPath=/dev/null", "commit", "-qm", message, f"--date={authored}")
    finally:
        del os.environ["GIT_COMMITTER_DATE"]


@pytest.fixture
def tracked(project: Path, manifest: Manifest) -> Path:
    """A repository with an export, and a later commit of something else; the checkout is of now."""
    manifest(trial=([0], ["trial"], []))
    (project / "exports").mkdir()
    exported("trial", "lead")
    git("init", "-q", "-b", "main", ".")
    commit("export", ALICE, COMMITTED)
    (project / "README.md").write_text("later\n")
    commit("later", "2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z")
    return project / "exports" / "contacts.csv"


def test_what_git_tracks_is_of_its_commit(tracked: Path, reconciler: Command) -> None:
    """Written by its author before it was committed: the earlier of both."""
    ended = reconciler(*IMPORT)
    assert ended.code == 0
    assert "learnt the tags of 2 contacts as of 2026-01-02 03:04:05Z" in ended.out
    assert "exports/contacts.csv is as it was committed" in ended.err


def test_the_checkouts_time_does_not_replace_what_is_known_from_later(tracked: Path, reconciler: Command) -> None:
    exported("customer", "customer")
    assert reconciler(*IMPORT, "--observed-at", "2026-03-01").code == 0
    git("checkout", "-q", "--", "exports/contacts.csv")
    ended = reconciler(*IMPORT)
    assert "kept what is known from later, or the same, of 2 contacts" in ended.err
    assert "learnt the tags of 0 contacts" in ended.out


@pytest.mark.slow
def test_a_link_to_what_git_tracks_is_of_its_commit(tracked: Path, reconciler: Command, project: Path) -> None:
    (project / "latest.csv").symlink_to("exports/contacts.csv")
    ended = reconciler("state", "import", "latest.csv", "--location", LOCATION)
    assert "as of 2026-01-02 03:04:05Z" in ended.out


@pytest.mark.slow
def test_what_was_changed_since_its_commit_needs_a_time(tracked: Path, reconciler: Command) -> None:
    exported("other", "other")
    ended = reconciler(*IMPORT)
    assert ended.code == 64
    assert "exports/contacts.csv is not as it was committed" in ended.err
    assert "--observed-at" in ended.err
    assert reconciler(*IMPORT, "--observed-at", "2026-01-03").code == 0


@pytest.mark.slow
def test_a_shallow_clone_does_not_tell_the_commit(
    tracked: Path, reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is in it looks as new as its last commit."""
    git("clone", "-q", "--depth", "1", project.as_uri(), "shallow")
    monkeypatch.chdir(project / "shallow")
    ended = reconciler(*IMPORT)
    assert ended.code == 64
    assert "the clone is shallow" in ended.err
    assert "--observed-at" in ended.err


def test_a_repository_that_git_refuses_does_not_tell(tracked: Path, reconciler: Command, project: Path) -> None:
    (project / ".git" / "HEAD").unlink()
    ended = reconciler(*IMPORT)
    assert ended.code == 64
    assert "not a git repository" in ended.err
    assert "--observed-at" in ended.err


@pytest.mark.parametrize("repository", ["none", "without commits", "that does not track it"])
def test_a_file_that_git_does_not_track_is_of_its_last_change(
    repository: str, project: Path, manifest: Manifest, reconciler: Command
) -> None:
    manifest(trial=([0], ["trial"], []))
    if repository != "none":
        git("init", "-q", "-b", "main", ".")
    if repository == "that does not track it":
        commit("manifests", ALICE, COMMITTED)
    (project / "exports").mkdir()
    exported("trial")
    changed = parse_instant(OLD_CHECKOUT) / 1000
    os.utime("exports/contacts.csv", (changed, changed))
    ended = reconciler(*IMPORT)
    assert ended.code == 0, ended.err
    assert "as of 2025-06-01 00:00:00Z" in ended.out
