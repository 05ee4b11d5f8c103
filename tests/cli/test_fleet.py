"""The fleet's commands where no database is asked: an option that no job heeds, an extra that is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command

WITHOUT = (
    "import sys; sys.modules |= {'procrastinate': None, 'croniter': None}\nfrom reconciler.cli import main\nmain()"
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["apply"], "--max-age says what is read again, and nothing is read"),
        (["schedule", "apply", "--cron", "0 6 * * *"], "--max-age says what is read again, and nothing is read"),
        (["schedule", "pull", "--cron", "0 6 * * *"], "--max-age is of apply and drift, and the schedule is of pull"),
    ],
)
def test_an_age_is_refused_where_no_job_would_heed_it(
    arguments: list[str], said: str, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_FLEET_DATABASE", "postgresql://crm@127.0.0.1:1/crm")
    refused = reconciler("fleet", *arguments, "--max-age", "24h")
    assert (refused.code, said in refused.err) == (64, True)


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
