"""How long the operations of a state take. Law: sees ports and core, and loads no event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from reconciler.core.model.measured import StateCalled
from reconciler.core.model.names import LocationId
from reconciler.ports import Clock, LocationStore, Reporter

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measure:
    """Reports how long a piece of work takes."""

    clock: Clock
    report: Reporter

    def call(self, location: LocationId, work: Callable[[*Arguments], T], *arguments: *Arguments, name: str = "") -> T:
        """The result of an operation of the state; `name`: its name, where it is not that of the function."""
        began, error = self.clock.now(), ""
        try:
            return work(*arguments)
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self.report(StateCalled(location, name or work.__name__, self.clock.now() - began, error))


class MeasuredStore:
    """A LocationStore that reports the time of each of its operations, in the thread that makes it."""

    def __init__(self, store: LocationStore, location: LocationId, measure: Measure) -> None:
        self._store, self._location, self._measure = store, location, measure

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # by any name: an operation that the port gets later is measured too
        operation = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._measure.call(self._location, partial(operation, *arguments, **named), name=name)

        return call
