"""The commands that a configuration repository is worked on with: init, validate, diff."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import ELSEWHERE, LOCATION, Command, contact_id

Manifest = Callable[..., None]


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def committed(manifest: Manifest) -> None:
    """A repository whose only commit declares customers and a churned set."""
    manifest(customers=(range(6), ["customer"], []), vip=([0, 1], ["vip"], []))
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")


def test_init_writes_a_repository_that_validates_and_plans(reconciler: Command, project: Path) -> None:
    assert reconciler("init", "new").code == 0
    assert reconciler("validate", "new/manifests", "--strict").code == 0
    planned = reconciler("plan", "new/manifests")
    assert planned.code == 0
    assert "3 tags to add" in planned.out
    ignored = (project / "new" / ".gitignore").read_text().splitlines()
    # answers that a state did not take hold ids, and `git add --all` is the next step
    assert {".reconciler/", "*.emergency-*.json"} <= set(ignored)
    again = reconciler("init", "new")
    assert again.code == 64
    assert "nothing is overwritten" in again.err


GITHUB = ("apply.yml", "drift.yml", "pull-request.yml", "pull.yml")
TEMPLATES = Path(__file__).parents[2] / "docs" / "ci"


def test_init_writes_plan_apply_pull_and_drift_for_github(reconciler: Command, project: Path) -> None:
    ended = reconciler("init", "new", "--ci", "github", "--location", ELSEWHERE)
    workflows = project / "new" / ".github" / "workflows"
    assert sorted(path.name for path in workflows.iterdir()) == list(GITHUB), "and none that does a part of it twice"
    for name in GITHUB:
        assert (workflows / name).read_bytes() == (TEMPLATES / "github" / name).read_bytes()
    assert "replace OWNER" in ended.out


def test_init_writes_plan_apply_pull_and_drift_for_gitlab(reconciler: Command, project: Path) -> None:
    ended = reconciler("init", "new", "--ci", "gitlab", "--location", ELSEWHERE)
    assert (project / "new" / ".gitlab-ci.yml").read_bytes() == (TEMPLATES / "gitlab.yml").read_bytes()
    assert not (project / "new" / ".github").exists()
    assert ".gitlab-ci.yml" in ended.out


TO_PLACES = {
    "github-matrix": {f"github-matrix/{name}": f".github/workflows/{name}" for name in GITHUB if name != "pull.yml"},
    "gitlab-matrix": {
        "gitlab-matrix/pipeline.yml": ".gitlab-ci.yml",
        "gitlab-matrix/locations.yml": ".gitlab/tags-locations.yml",
    },
    "kubernetes": {"kubernetes.yaml": "kubernetes.yaml"},
    "systemd": {
        f"systemd/reconciler-drift@.{kind}": f"systemd/reconciler-drift@.{kind}" for kind in ("service", "timer")
    },
}


@pytest.mark.parametrize(("kind", "places"), TO_PLACES.items(), ids=TO_PLACES)
def test_init_writes_a_job_a_location(kind: str, places: dict[str, str], reconciler: Command, project: Path) -> None:
    ended = reconciler("init", "new", "--ci", kind, "--location", ELSEWHERE)
    assert ended.code == 0
    for template, place in places.items():
        assert (project / "new" / place).read_bytes() == (TEMPLATES / template).read_bytes()
    written = {str(path.relative_to(project / "new")) for path in (project / "new").rglob("*") if path.is_file()}
    validated = {".github/workflows/tags.yml"} if kind in ("kubernetes", "systemd") else set()
    assert {path for path in written if not path.startswith("manifests/")} == {
        ".gitignore",
        *places.values(),
        *validated,
    }


@pytest.mark.parametrize("more", [(), *(("--ci", kind) for kind in ("github", "gitlab", *TO_PLACES))])
def test_init_puts_the_location_where_it_belongs(reconciler: Command, project: Path, more: tuple[str, ...]) -> None:
    ended = reconciler("init", "new", "--location", ELSEWHERE, *more)
    assert (ended.code, "put your location" in ended.out) == (0, False)
    assert reconciler("validate", "new/manifests", "--strict").code == 0
    planned = reconciler("plan", "new/manifests", "--format", "json").out
    assert [each["location"] for each in json.loads(planned)["locations"]] == [ELSEWHERE]
    assert not any(LOCATION in path.read_text() for path in (project / "new").rglob("*") if path.is_file())


@pytest.mark.parametrize("odd", ["", "a b", "x: [y", "-", "a\nb", "x" * 65])
def test_init_writes_no_location_that_is_none(reconciler: Command, project: Path, odd: str) -> None:
    ended = reconciler("init", "new", "--location", odd)
    assert (ended.code, "is no location id" in ended.err, (project / "new").exists()) == (64, True, False)


@pytest.mark.parametrize(
    ("flag", "key"), [("--state", "state"), ("--api-base-url", "api.base_url")], ids=["state", "hidden"]
)
def test_init_writes_no_setting_that_a_flag_names(flag: str, key: str, reconciler: Command, project: Path) -> None:
    """It took them in silence, and the commands that follow went by the defaults."""
    ended = reconciler("init", "new", flag, "sqlite:///crm.db")
    assert (ended.code, (project / "new").exists()) == (64, False)
    assert f"{flag} is a setting, and init writes those of an example" in ended.err
    assert f"write `{key}` into new/manifests/reconciler.yaml" in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("committed")
def test_diff_says_who_gains_and_loses_what(reconciler: Command, manifest: Manifest) -> None:
    assert "Says the same as at HEAD" in reconciler("diff", "--detailed-exitcode").out
    manifest(customers=(range(1, 7), ["customer"], []), vip=([0, 1], ["vip", "vip 2026"], ["trial"]))
    found = reconciler("diff", "--detailed-exitcode", "--format", "json")
    assert found.code == 2
    (location,) = json.loads(found.out)["locations"]
    moves = {each["tag"]: (each["gained"], each["lost"], each["forbidden"]) for each in location["tags"]}
    assert moves == {"customer": (1, 1, 0), "vip 2026": (2, 0, 0), "trial": (0, 0, 2)}
    (customers,) = location["sets"]
    assert (customers["joined"], customers["left"]) == ([contact_id(6)], [contact_id(0)])
    assert "+vip 2026 -customer" in reconciler("diff").out


@pytest.mark.usefixtures("committed")
def test_diff_tells_settings_and_rules_apart(reconciler: Command, project: Path) -> None:
    (project / "manifests" / "reconciler.yaml").write_text("api: {max_tags: 20}\ntags: {vip: {triggers: true}}\n")
    found = json.loads(reconciler("diff", "--format", "json").out)["settings"]
    assert {"key": "api.max_tags", "before": "50", "after": "20"} in found
    assert {"key": "tags.vip.triggers", "before": None, "after": "true"} in found


@pytest.mark.usefixtures("committed")
def test_diff_needs_neither_token_nor_state_nor_checkout(
    reconciler: Command, manifest: Manifest, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    manifest(customers=(range(6), ["customer"], []))
    before = sorted(path.relative_to(project) for path in project.rglob("*") if ".git" not in path.parts)
    shown = reconciler("diff", "--format", "markdown")
    assert shown.code == 0
    assert "| <code>vip</code> | 0 | 2 | 0 | 0 |" in shown.out
    assert sorted(path.relative_to(project) for path in project.rglob("*") if ".git" not in path.parts) == before


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("revision", ["nowhere", "--output=x", "HEAD~5"])
def test_diff_with_a_revision_that_is_none(reconciler: Command, revision: str) -> None:
    ended = reconciler("diff", f"--base={revision}")
    assert ended.code == 64
    assert "names no commit" in ended.err


@pytest.mark.usefixtures("committed")
def test_diff_of_manifests_that_are_new(reconciler: Command, project: Path) -> None:
    (project / "manifests").rename(project / "elsewhere")
    assert "8 tags gained, 0 lost" in reconciler("diff", "elsewhere").out


def test_validate_annotates_a_workflow_run(reconciler: Command, project: Path) -> None:
    text = f"location: {LOCATION}\ncontact_sets:\n  a:\n    contacts: [{contact_id(0)}]\n    tag: ['x%,\\n::']\n"
    (project / "manifests" / "acme.yaml").write_text(text)
    ended = reconciler("validate", "--format", "github")
    assert ended.code == 1
    assert "::error file=manifests/acme.yaml,line=5,col=5,title=" in ended.out
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in ended.out.splitlines())


def test_validate_json_lists_problems_by_place(reconciler: Command, project: Path) -> None:
    sets = "  a:\n    contacts: [abc]\n    tags: [x]\n  b:\n    contacts: {sets: [aa]}\n    tags: [x]\n"
    text = f"location: {LOCATION}\ncontact_sets:\n{sets}"
    (project / "manifests" / "acme.yaml").write_text(text)
    ended = reconciler("validate", "--format", "json")
    problems = json.loads(ended.out)["problems"]
    assert ended.code == 1
    assert [each["severity"] for each in problems] == ["warning", "error"]
    assert problems == sorted(problems, key=lambda each: (each["path"], each["line"], each["column"]))


def test_settings_are_shown_with_their_origin_and_without_secrets(
    reconciler: Command, manifest: Manifest, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text(
        f"timezone: Europe/Vienna\nlocations: {{{LOCATION}: {{token_env: ACME_TOKEN}}}}\n"
    )
    monkeypatch.setenv("ACME_TOKEN", "pit-very-secret")
    monkeypatch.setenv("RECONCILER_API_MAX_TAGS", "7")
    ended = reconciler("validate", "--show-settings", "--state", "sqlite:///other.db")
    assert ended.code == 0
    lines = {line.split("  ")[0]: line for line in ended.out.splitlines() if line}
    assert "file manifests/reconciler.yaml:1:11" in lines["timezone"]
    assert "environment RECONCILER_API_MAX_TAGS" in lines["api.max_tags"]
    assert "flag" in lines["state"]
    assert lines[LOCATION].split() == [LOCATION, "ACME_TOKEN", "set"]
    assert "pit-very-secret" not in ended.out + ended.err


@pytest.mark.usefixtures("committed")
def test_diff_tells_how_sets_declare(reconciler: Command, project: Path) -> None:
    path = project / "manifests" / "acme.yaml"
    path.write_text(
        path.read_text().replace("    tags: [vip]", "    tags: [vip]\n    authority: exact\n    on_leave: keep")
    )
    found = reconciler("diff", "--detailed-exitcode", "--format", "json")
    assert found.code == 2
    moved = {each["key"]: each["after"] for each in json.loads(found.out)["settings"]}
    assert moved == {
        f"{LOCATION}.contact_sets.vip.authority": "exact",
        f"{LOCATION}.contact_sets.vip.on_leave": "keep",
    }


@pytest.mark.usefixtures("committed")
def test_diff_of_a_location_that_no_manifest_names_any_more(reconciler: Command, project: Path) -> None:
    (project / "manifests" / "acme.yaml").unlink()
    told = reconciler("diff")
    assert told.code == 0
    assert "left untouched" in told.out
    assert "lost" not in told.out
