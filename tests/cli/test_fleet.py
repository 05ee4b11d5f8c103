"""The fleet's commands where its extra is not installed: one line says so, with the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import project

__all__ = ["project"]

WITHOUT = (
    "import sys; sys.modules |= {'procrastinate': None, 'croniter': None}\nfrom reconciler.cli import main\nmain()"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["status"], ["worker"], ["migrate"], ["schedule"], ["schedule", "drift", "--cron", "0 6 * * *"]]
)
def test_without_the_extra_a_command_says_what_to_install(project: Path, arguments: list[str]) -> None:
    line = ["fleet", *arguments, "--database", "postgresql://crm@127.0.0.1:1/crm"]
    ended = subprocess.run([sys.executable, "-c", WITHOUT, *line], cwd=project, capture_output=True, text=True)
    assert ended.returncode == 64
    assert "a fleet needs the extra [fleet]" in ended.stderr
    assert "pip install 'tagreconciler[fleet]'" in ended.stderr
    assert "Traceback" not in ended.stderr
