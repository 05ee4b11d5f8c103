"""The stores that the conformance suite runs on. A new store joins by another entry of `HOMES`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from reconciler.core.model.names import LocationId
from reconciler.ports import LocationReader, LocationStore, StateReader, StateStore
from reconciler.store import open_reader, open_store
from tests.extras import need
from tests.store import servers

RUN = uuid.uuid4().hex
HERE = LocationId("asdrwHvLUxlfw5SqKVCN")


class Home:
    """A place where state lives; everything opened through it is closed at the end of the test."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self._stack = stack

    def state(self) -> StateStore:
        return self._stack.enter_context(open_store(self.url))

    def look(self) -> StateReader:
        return self._stack.enter_context(open_reader(self.url))

    def store(self, location: LocationId = HERE) -> LocationStore:
        return self.state().at(location)

    def reader(self, location: LocationId = HERE) -> LocationReader:
        return self.look().at(location)


def on_postgres(directory: Path) -> str:
    base = servers.postgres()
    return f"{base}{'&' if '?' in base else '?'}schema={quote(_unique(directory))}"


def on_s3(directory: Path) -> str:
    return _below(servers.s3(), directory)


def on_azure(directory: Path) -> str:
    return _below(servers.azure(), directory)


def _below(url: str, directory: Path) -> str:
    path, _, parameters = url.partition("?")
    return f"{path}/{quote(_unique(directory), safe='')}?{parameters}"


def in_memory(directory: Path) -> str:
    need("obstore")
    return f"memory:///{quote(_unique(directory), safe='')}"


def _unique(directory: Path) -> str:
    """A name of its own for each test of each test run, the same for the same directory."""
    return f"{directory.name} {hashlib.sha256(f'{RUN}{directory}'.encode()).hexdigest()[:12]}"[-40:]


HOMES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda directory: f"sqlite:///{directory / 'state' / 'state.db'}",
    "postgres": on_postgres,
    "s3": on_s3,
    "azure": on_azure,
}
"""The URL of an empty state for the test that was given the directory."""

IN_PROCESS: dict[str, Callable[[Path], str]] = {"memory": in_memory}
"""Homes that another process does not see."""

WITH_SERVER = {"azure", "postgres", "s3"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever runs on a home that is a server, or needs an extra, is marked so."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        named = {each for each in parameters.values() if isinstance(each, str)}
        if WITH_SERVER & named:
            item.add_marker("servers")
        if IN_PROCESS.keys() & named:
            item.add_marker("extras")


def pytest_sessionfinish() -> None:
    servers.RUNNING.close()


@pytest.fixture(params=sorted(HOMES | IN_PROCESS))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    with ExitStack() as stack:
        yield Home((HOMES | IN_PROCESS)[request.param](tmp_path), stack)
