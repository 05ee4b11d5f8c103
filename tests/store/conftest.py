"""The stores that the conformance suite runs on. A new store joins by another entry of `HOMES`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler.ports import StateReader, StateStore
from reconciler.store import open_reader, open_store
from tests.fakes import directory_in_memory


class Home:
    """A place where state lives; everything opened through it is closed at the end of the test."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self._stack = stack

    def store(self) -> StateStore:
        return self._stack.enter_context(open_store(self.url))

    def reader(self) -> StateReader:
        return self._stack.enter_context(open_reader(self.url))


HOMES = {"sqlite": lambda directory: f"sqlite:///{directory / 'state' / 'state.db'}"}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with directory_in_memory() as directory:
        yield directory


@pytest.fixture(params=sorted(HOMES))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    with ExitStack() as stack:
        yield Home(HOMES[request.param](tmp_path), stack)
