"""What a run needs of the world, and what it is given besides its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import random

from reconciler.apply.stop import Stop
from reconciler.core.formats.recovery_file import Lost
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.lease import Holder
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import THE_TOKEN
from reconciler.core.planning.approved_scope import NO_REST, Proposal, Rest
from reconciler.core.planning.plan import LocationPlan, PlanOptions
from reconciler.core.planning.revert import Reversal
from reconciler.core.running.pace import Pace
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.ports import Clock, Emergency, Reporter, StateStore, TagReader, TagWriter

IN_FLIGHT = 50


def _nowhere(lost: Lost, /) -> str:  # noqa: ARG001 (nothing is kept)
    return ""


def _the_token(location: LocationId) -> str:  # noqa: ARG001 (the same for all)
    return THE_TOKEN


@dataclass(frozen=True, slots=True)
class Services:
    """What a run needs of the world. `writer` gives the API of a location, and `reader` the means to settle doubts,
    without which they are held; `pace`: shared by all that ask the location. `emergency` keeps what `store` cannot.
    `chance`: drawn evenly from 0 to 1, for the pauses. `token`: what a location's is called, with where it is held.
    """

    writer: Callable[[LocationId], TagWriter]
    store: StateStore
    clock: Clock
    report: Reporter
    emergency: Emergency = _nowhere
    reader: Callable[[LocationId], TagReader] | None = None
    pace: Callable[[LocationId], Pace] | None = None
    stop: Stop = field(default_factory=Stop)
    chance: Callable[[], float] = random
    token: Callable[[LocationId], str] = _the_token


@dataclass(frozen=True, slots=True)
class Mission:
    """What a run is given besides its plan. `reversals`: the runs that it undoes, where it does not carry out what
    is desired. `history_keep`: so many runs keep their rows, None: all of them. `in_flight`: so many requests of a
    location may be under way at once. `canary`: whom to begin with, None: everybody at once. `spill`: it may wait
    for the next day's quota. `proposal`: the plan file; the plan is what of it is needed now.
    """

    desired: Mapping[LocationId, Desired]
    options: Mapping[LocationId, PlanOptions]
    holder: Holder
    commit: str = ""
    reversals: Mapping[LocationId, Reversal] = field(default_factory=dict)
    lock_timeout_ms: int = 0
    history_keep: int | None = None
    in_flight: int = IN_FLIGHT
    stop_on: StopOn = StopOn()
    canary: Canary | None = None
    spill: bool = False
    proposal: Proposal | None = None

    def proposed(self, location: LocationId) -> LocationPlan | None:
        """What the plan file has for a location."""
        return self.proposal.of(location) if self.proposal else None

    def rest(self, location: LocationId) -> Rest:
        """How plan file and plan differ in a location."""
        return self.proposal.rests.get(location, NO_REST) if self.proposal else NO_REST
