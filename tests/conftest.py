"""Options of the test suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("reconciler", deadline=None, max_examples=50)
settings.load_profile("reconciler")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrices",
        type=Path,
        default=None,
        metavar="DIR",
        help="published 0/1 matrices for the batch planner; its tests on them are skipped without",
    )

    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="needs --slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


@pytest.fixture
def matrices(request: pytest.FixtureRequest) -> Path:
    """The directory of published matrices."""
    found = request.config.getoption("--matrices")
    if found is None:
        pytest.skip("needs --matrices DIR, a directory of published 0/1 matrices")
    return Path(found)
