"""A release: one version everywhere, wheels that are the same however often they are built, a bill of materials."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.core.model.errors import DISTRIBUTION

ROOT = Path(__file__).parents[2]
SOURCES = ("reconciler", "manifests", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "docs")
LOCKED = ROOT / ".github" / "actions" / "shared" / "requirements.txt"


def test_there_is_one_version() -> None:
    assert version(DISTRIBUTION) == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?", __version__)
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


def test_the_distribution_has_one_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert project["scripts"] == {"reconciler": "reconciler.cli:main"}
    called = [each for extra in project["optional-dependencies"].values() for each in extra if "reconciler" in each]
    assert [each.partition("[")[0] for each in called] == [DISTRIBUTION]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.yml")]
    named = {name for page in pages for name in re.findall(r"([\w-]*reconciler)(?:\[[\w,]+\])? @ ", page.read_text())}
    assert named == {DISTRIBUTION}


def test_what_users_are_told_to_pin_is_this_version() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs" / "ci" / "github").glob("*.yml"), ROOT / "SECURITY.md"]
    text = "".join(path.read_text(encoding="utf-8") for path in pages)
    told = re.findall(r"OWNER/reconciler/\S+@0{40} # v(\S+)", text)
    told += re.findall(r"OWNER/reconciler@v([^\s\"]+)", text) + re.findall(r"rev: v(\S+)", text)
    told += re.findall(r"tagreconciler-([\d.]+)-py3", text)
    assert len(told) > 6
    assert set(told) == {__version__}


TAKEN = re.compile(r"(?:pipx?|uv tool|uv pip) install (?:-\S+ )*['\"]?reconciler(?:\[[\w,]+\])?(?! @|[\w\[-])")
"""`reconciler` on the package index is another project's: an install names where ours is."""


def test_nobody_is_told_to_take_somebody_elses_package() -> None:
    assert TAKEN.search("pip install reconciler")
    assert TAKEN.search("pip install -U 'reconciler[postgres]'")
    assert TAKEN.search("pipx install reconciler")
    assert TAKEN.search("uv tool install reconciler")
    assert not TAKEN.search("pip install 'tagreconciler[bulk]'")
    assert not TAKEN.search('pip install "reconciler[postgres,objects] @ git+https://…"')
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.yml")]
    pages += (ROOT / "reconciler").rglob("*.py")
    told = {page: line for page in pages for line in page.read_text().splitlines() if TAKEN.search(line)}
    assert [page for page, line in told.items() if "never `pip install" not in line] == []


def test_the_changelog_has_what_is_new() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads[0] == "Unreleased" or heads[0].startswith(__version__)


def _release(tag: str, changelog: str, directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "release", directory / ".ci" / "release")
    (directory / "reconciler").mkdir()
    shutil.copy(ROOT / "reconciler" / "__init__.py", directory / "reconciler")
    (directory / "CHANGELOG.md").write_text(changelog)
    line = [str(directory / ".ci" / "release"), tag, "dist"]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("tag", "changelog", "told"),
    [
        ("v9.9.9", f"## {__version__}\n\n- new\n", f"the tag is v9.9.9, and the package is version {__version__}"),
        (f"v{__version__}", "## Unreleased\n\n- new\n", f"CHANGELOG.md has no section '## {__version__}'"),
    ],
)
def test_a_release_that_contradicts_itself_is_refused(tag: str, changelog: str, told: str, tmp_path: Path) -> None:
    ended = _release(tag, changelog, tmp_path)
    assert (ended.returncode, ended.stderr.strip()) == (1, told)
    assert not (tmp_path / "dist").exists()


def _build(directory: Path, target: Path) -> Path:
    """A wheel of the checkout's sources, copied to `directory` first."""
    directory.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, directory / name)
    own = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    line = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(line, cwd=directory, env=own, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_a_wheel_built_twice_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    first = _build(tmp_path / "one", tmp_path / "first")
    second = _build(tmp_path / "another and longer", tmp_path / "second")
    assert first.name == second.name == f"{DISTRIBUTION}-{__version__}-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert {name.partition("/")[0] for name in names} == {"reconciler", f"{DISTRIBUTION}-{__version__}.dist-info"}
    assert "reconciler/cli/scaffold/.github/workflows/tags.yml" in names
    assert "reconciler/sandbox/example/acme.yaml" in names
    templates = {"github/pull-request.yml", "github/apply.yml", "github/drift.yml", "github/pull.yml", "gitlab.yml"}
    templates |= {"github-matrix/apply.yml", "gitlab-matrix/pipeline.yml", "kubernetes.yaml"}
    templates |= {"systemd/reconciler-drift@.service", "systemd/reconciler-drift@.timer"}
    assert {f"reconciler/cli/ci_templates/{name}" for name in templates} <= set(names)


@pytest.mark.servers
def test_the_bill_of_materials_names_every_library_with_its_hashes(tmp_path: Path) -> None:
    if not shutil.which("cyclonedx-py"):
        pytest.skip("no cyclonedx-py: pip install -r .ci/tools.txt")
    line = ["cyclonedx-py", "requirements", "--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON"]
    bills = []
    for number in range(2):
        target = tmp_path / f"{number}.json"
        subprocess.run([*line, "-o", str(target), str(LOCKED)], cwd=ROOT, check=True, capture_output=True)
        bills.append(target.read_bytes())
    assert bills[0] == bills[1]
    bill = json.loads(bills[0])
    pinned = set(re.findall(r"^([\w.-]+)==([\w.]+)", LOCKED.read_text(), re.M))
    assert {(each["name"], each["version"]) for each in bill["components"]} == pinned
    assert bill["metadata"]["component"]["name"] == DISTRIBUTION
    hashed = [each for each in bill["components"] if any(ref.get("hashes") for ref in each["externalReferences"])]
    assert len(hashed) == len(bill["components"])
