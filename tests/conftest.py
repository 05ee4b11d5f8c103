"""Options of the test suite."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrices",
        type=Path,
        default=None,
        metavar="DIR",
        help="published 0/1 matrices for the batch planner; its tests on them are skipped without",
    )


@pytest.fixture
def matrices(request: pytest.FixtureRequest) -> Path:
    """The directory of published matrices."""
    found = request.config.getoption("--matrices")
    if found is None:
        pytest.skip("needs --matrices DIR, a directory of published 0/1 matrices")
    return Path(found)
