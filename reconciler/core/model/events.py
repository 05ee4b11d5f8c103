"""The events of a run, told to a reporter while it happens, and how far the run is by them. Time is injected."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.model.measured import Measured
from reconciler.core.model.names import Instant, LocationId, location_label
from reconciler.core.model.outcome import Action


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """Rounds count from 1; `requests` that this one will send."""

    location: LocationId
    round: int
    requests: int


@dataclass(frozen=True, slots=True)
class BatchAnswered:
    """A batch of a round was answered; `applied` to `unclear` count its contacts."""

    location: LocationId
    action: Action
    tags: int
    done: int
    """The batches of this round that are answered, of `requests`."""
    requests: int
    applied: int
    noop: int
    rejected: int
    unclear: int
    quota_left: int | None = None
    """The requests that this run may still send today; None where no answer told."""


RECENT_MS = 30_000
"""The rate is that of so long a time."""


class WaitCause(StrEnum):
    PACE = "pace"
    """The rate limit of the location."""
    QUOTA = "quota"
    """Today's quota is used up."""
    RETRY = "retry"
    """A request failed that may be sent again."""
    OTHER = "other"
    """A lease of another run, an effect that may still show, tags that are given slowly."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is sent for `milliseconds`, and why."""

    location: LocationId
    milliseconds: int
    why: str
    cause: WaitCause = WaitCause.OTHER


@dataclass(frozen=True, slots=True)
class Read:
    """`done` of `total` contacts were read."""

    location: LocationId
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Priced:
    """The cost of a reading that is about to begin."""

    location: LocationId
    method: str
    requests: int
    milliseconds: int
    """The time that it takes at the least."""
    share: float
    """Its share of a day's quota."""
    exclusive: int = 0
    """The tags with holders to search for in addition, two requests each at the least."""


@dataclass(frozen=True, slots=True)
class Queued:
    """The location waits until one of the `most` that work at once has ended."""

    location: LocationId
    most: int


Event = RoundStarted | BatchAnswered | Waiting | Read | Priced | Queued | Measured


@dataclass(slots=True)
class LocationProgress:
    """How far a run is in a location: `done` of `total` since `since`."""

    location: LocationId
    since: Instant
    name: str = ""
    what: str = "requests"
    """The unit of `done` and `total`: requests of a round, or contacts that are read."""
    round: int = 0
    done: int = 0
    total: int = 0
    contacts: int = 0
    """The contacts that were answered; `rejected` and `unclear` (in doubt, held) are among them."""
    rejected: int = 0
    unclear: int = 0
    quota_left: int | None = None
    """The requests that this run may still send today; None where no answer told."""
    why: str = ""
    """The reason that nothing is sent until `resumes`; empty once something is."""
    resumes: Instant = Instant(0)
    """0 where nothing tells when: in the queue."""
    _recent: deque[tuple[Instant, int]] = field(default_factory=deque)

    def apply_event(self, event: Event, now: Instant) -> None:
        match event:
            case RoundStarted():
                self._begin("requests", event.requests, now)
                self.round = event.round
            case BatchAnswered():
                self._go_on("requests", event.done, event.requests, now)
                self.contacts += event.applied + event.noop + event.rejected + event.unclear
                self.rejected += event.rejected
                self.unclear += event.unclear
                self.quota_left = event.quota_left
            case Read():
                self._go_on("contacts read", event.done, event.total, now)
            case Priced():
                self._begin("contacts read", 0, now)
            case Waiting():
                self.why, self.resumes = event.why, Instant(now + event.milliseconds)
            case Queued():
                self.why, self.resumes = f"{event.most:,} locations work at once", Instant(0)

    def leave_queue(self) -> None:
        """It has a place; whether it sends anything is not known yet."""
        if not self.resumes:
            self.why = ""

    @property
    def called(self) -> str:
        return location_label(self.location, self.name)

    @property
    def is_done(self) -> bool:
        return self.done >= self.total

    def rate(self, now: Instant) -> float:
        """The units done a second, of late."""
        self._forget(now)
        if not self._recent:
            return 0.0
        # a phase that began lately has no rate of the time before it
        began = max(self.since, Instant(now - RECENT_MS))
        return sum(done for _, done in self._recent) * 1000 / max(1, now - began)

    def left_ms(self, now: Instant) -> int | None:
        """Milliseconds until all is done: the wait there is, then the rate of late; None without a rate."""
        if self.is_done:
            return max(0, self.resumes - now)
        rate = self.rate(now)
        return max(0, self.resumes - now) + round(1000 * (self.total - self.done) / rate) if rate else None

    def _begin(self, what: str, total: int, now: Instant) -> None:
        self.what, self.done, self.total, self.since = what, 0, total, now
        self.why, self.resumes = "", Instant(0)
        self._recent.clear()

    def _go_on(self, what: str, done: int, total: int, now: Instant) -> None:
        # another phase, or the next round: the rate of the one before tells nothing of it
        if what != self.what or done < self.done:
            self._begin(what, total, now)
        self._recent.append((now, done - self.done))
        self.done, self.total, self.why, self.resumes = done, total, "", now

    def _forget(self, now: Instant) -> None:
        while self._recent and now - self._recent[0][0] >= RECENT_MS:
            self._recent.popleft()
