"""The numbers of a command, reported to machines while it works.

Rules
1. They name no contact, no tag and no value of a person, and repeat no text from outside.
2. A `StateCalled` comes from the thread that works for its location, every other one from an event loop. Each job of a
   worker has a loop of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.settings import DriftClass


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """One request over HTTP ended, with an answer or without."""

    location: LocationId
    method: str
    template: str
    """Its path, with a placeholder for every id."""
    server: str
    """The host that was asked."""
    began: Instant
    milliseconds: int
    status: int = 0
    """0 where no answer came."""


@dataclass(frozen=True, slots=True)
class StateCalled:
    """One operation of the state ended."""

    location: LocationId
    operation: str
    milliseconds: int
    error: str = ""
    """The class of the error that it raised; empty where it raised none."""


@dataclass(frozen=True, slots=True)
class LocationPlanned:
    """The plan of a location was made."""

    location: LocationId
    milliseconds: int


@dataclass(frozen=True, slots=True)
class HeldCounted:
    """The pairs of a location that wait for a person or a reading."""

    location: LocationId
    number: int


@dataclass(frozen=True, slots=True)
class QuotaCounted:
    """An answer said how much is left of the day's quota."""

    location: LocationId
    remaining: int
    """The requests that this run may still send today."""


@dataclass(frozen=True, slots=True)
class StateCounted:
    """The contacts of a location's state as it is now."""

    location: LocationId
    quarantined: int
    observed_ms: int | None
    """The age of its oldest observation, None without any."""


@dataclass(frozen=True, slots=True)
class LocationEnded:
    """A run ended in a location; `pairs`: the planned pairs by outcome."""

    location: LocationId
    exit_code: int
    pairs: tuple[tuple[Outcome, int], ...]


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A worker of a fleet began a job, which is a command of its own in a location."""

    location: LocationId
    operation: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A try of a job ended."""

    location: LocationId
    exit_code: int


@dataclass(frozen=True, slots=True)
class DriftCounted:
    """The pairs and contacts of one class of drift in a location; 0 where there is none."""

    location: LocationId
    drift_class: DriftClass
    number: int


Measured = (
    RequestEnded
    | StateCalled
    | LocationPlanned
    | QuotaCounted
    | HeldCounted
    | StateCounted
    | LocationEnded
    | JobStarted
    | JobEnded
    | DriftCounted
)
