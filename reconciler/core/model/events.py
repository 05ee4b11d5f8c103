"""What happens in a run, as values: told to a reporter while it happens."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import Action


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """Rounds count from 1; `requests` that this one will send."""

    location: LocationId
    round: int
    requests: int


@dataclass(frozen=True, slots=True)
class BatchAnswered:
    """`done` of `requests` of this round. `applied` to `unclear` count contacts; `quota_left`: requests that this run
    may still send today, None where nobody said."""

    location: LocationId
    action: Action
    tags: int
    done: int
    requests: int
    applied: int
    noop: int
    rejected: int
    unclear: int
    quota_left: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is sent for `milliseconds`, and why."""

    location: LocationId
    milliseconds: int
    why: str


@dataclass(frozen=True, slots=True)
class Read:
    """`done` of `total` contacts were read."""

    location: LocationId
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Priced:
    """What a reading is about to cost: requests, milliseconds at the least, share of a day's quota.

    `exclusive`: tags whose holders are searched for besides, two requests each at the least.
    """

    location: LocationId
    method: str
    requests: int
    milliseconds: int
    share: float
    exclusive: int = 0


Event = RoundStarted | BatchAnswered | Waiting | Read | Priced
