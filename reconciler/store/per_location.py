"""States that are apart for each location: one a location, opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, Self, TypeVar
from urllib.parse import quote, unquote

from reconciler.core.model.names import LocationId
from reconciler.ports import LocationReader

LOCATION = "{location}"
"""In a URL: the place of the location's id."""

Port_co = TypeVar("Port_co", bound=LocationReader, covariant=True)


def folder_of(location: LocationId) -> str:
    """The location as a part of a path."""
    # `.` and `..` are names of other directories
    return quote(location, safe="").replace(".", "%2E")


def location_of(folder: str) -> LocationId:
    return LocationId(unquote(folder))


class StatePerLocation(Generic[Port_co]):
    """The states of all locations, each in a place of its own."""

    def __init__(
        self,
        open_location: Callable[[LocationId], AbstractContextManager[Port_co]],
        list_locations: Callable[[], Sequence[LocationId]],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_location = open_location
        self.list_locations = list_locations
        self._ports: dict[LocationId, Port_co] = {}
        self._opened = ExitStack()
        self._opened.callback(close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def at(self, location: LocationId) -> Port_co:
        # opened once and kept: a store of its own costs a connection, or a replica of the whole journal
        if location not in self._ports:
            self._ports[location] = self._opened.enter_context(self._open_location(location))
        return self._ports[location]

    @contextmanager
    def connect(self, location: LocationId) -> Iterator[Port_co]:
        """A port of its own, which belongs to the thread that enters: SQLite lets no other one use it."""
        with self._open_location(location) as port:
            yield port

    def find_faults(self) -> Sequence[str]:
        faults = ((place, fault) for place in self.list_locations() for fault in self.at(place).find_faults())
        # a fault of contacts names its location itself
        return tuple(
            fault if fault.startswith(f"location {place}: ") else f"location {place}: {fault}"
            for place, fault in faults
        )
