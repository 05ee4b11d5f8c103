"""A fleet of three locations, for the tests that look at one job after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.extras import need
from tests.fleet.scene import FleetScene, a_fleet


@pytest.fixture
def scene() -> Iterator[FleetScene]:
    need("procrastinate")
    with a_fleet(3) as scene:
        yield scene
