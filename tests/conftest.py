"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vendor",
        metavar="DIR",
        help="directory with the OpenAPI files of HighLevel, to check the sandbox and our requests against",
    )


@pytest.fixture(scope="session")
def vendor(request: pytest.FixtureRequest) -> Path:
    """The directory given with --vendor; without it the test is skipped."""
    given = request.config.getoption("--vendor")
    if given is None:
        pytest.skip("needs the vendor's OpenAPI files: pytest --vendor=DIR")
    return Path(given)
