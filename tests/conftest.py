"""Options of the test run: `--bless` rewrites goldens; `--corpora DIR`, `--vendor=DIR` bring files of third parties."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected files of golden cases")
    parser.addoption("--corpora", type=Path, metavar="DIR", help="third-party test data, such as yaml-test-suite.json")
    parser.addoption("--vendor", type=Path, metavar="DIR", help="the OpenAPI files of HighLevel; write --vendor=DIR")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--bless"))


@pytest.fixture(scope="session")
def corpora(request: pytest.FixtureRequest) -> Path:
    found: Path | None = request.config.getoption("--corpora")
    if found is None:
        pytest.skip("third-party test data: run with --corpora DIR")
    return found


@pytest.fixture(scope="session")
def vendor(request: pytest.FixtureRequest) -> Path:
    found: Path | None = request.config.getoption("--vendor")
    if found is None:
        pytest.skip("the vendor's OpenAPI files: run with --vendor=DIR")
    return found


_THIRD_PARTY = frozenset({"corpora", "matrices", "vendor"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for third-party data is marked so."""
    for item in items:
        if _THIRD_PARTY & set(getattr(item, "fixturenames", ())):
            item.add_marker("third_party")
