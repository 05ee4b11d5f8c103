"""Workflows, actions and templates pass the linters and schemas of their kind."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.ci.test_pins import ACTIONS, ROOT, WORKFLOWS

pytestmark = pytest.mark.servers

GITLAB = [ROOT / "docs" / "ci" / "gitlab.yml", *sorted((ROOT / "docs" / "ci" / "gitlab-matrix").glob("*.yml"))]
LINES = [
    ["actionlint", *WORKFLOWS],
    *(["zizmor", "--offline", "--no-progress", "--persona=pedantic", path] for path in WORKFLOWS + ACTIONS),
    ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
    ["check-jsonschema", "--builtin-schema", "vendor.github-actions", *ACTIONS],
    ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", *GITLAB],
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line[0]} {line[-1].parent.name}-{line[-1].stem}")
def test_no_finding(line: list[str]) -> None:
    if not shutil.which(line[0]):
        pytest.skip(f"no {line[0]}: pip install -r .ci/tools.txt")
    done = subprocess.run(list(map(str, line)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scripts_are_valid_shell() -> None:
    for path in [ROOT / "docs" / "ci" / "generic.sh", *(ROOT / ".github").rglob("*.sh")]:
        subprocess.run(["bash", "-n", str(path)], check=True)
        assert path.stat().st_mode & 0o111, path
