"""How far a run is in one location, told from its events: what a bar or a line of progress shows. Time is injected."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from reconciler.core.model.events import BatchAnswered, Event, Priced, Read, RoundStarted, Waiting
from reconciler.core.model.names import Instant, LocationId, location_label

RECENT_MS = 30_000
"""The rate is that of so long a time."""


@dataclass(slots=True)
class Standing:
    """`what` is counted: requests of a round, or contacts that are read. `done` of `total` of them since `since`.

    `contacts` were answered, `rejected` and `unclear` (in doubt, held) are among them. `quota_left`: what this run may
    still send today, None where nobody said. `why` nothing is sent until `resumes`.
    """

    location: LocationId
    since: Instant
    name: str = ""
    what: str = "requests"
    round: int = 0
    done: int = 0
    total: int = 0
    contacts: int = 0
    rejected: int = 0
    unclear: int = 0
    quota_left: int | None = None
    why: str = ""
    resumes: Instant = Instant(0)
    _recent: deque[tuple[Instant, int]] = field(default_factory=deque)

    def take(self, event: Event, now: Instant) -> None:
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

    @property
    def called(self) -> str:
        """The id of the location, with its name where it has one."""
        return location_label(self.location, self.name)

    @property
    def is_done(self) -> bool:
        return self.done >= self.total

    def rate(self, now: Instant) -> float:
        """What was done a second, of late."""
        self._forget(now)
        if not self._recent:
            return 0.0
        began = max(self.since, Instant(now - RECENT_MS))
        return sum(done for _, done in self._recent) * 1000 / max(1, now - began)

    def left_ms(self, now: Instant) -> int | None:
        """Milliseconds until all is done: the wait there is, then the rate of late; None where nobody can say."""
        if self.is_done:
            return max(0, self.resumes - now)
        rate = self.rate(now)
        return max(0, self.resumes - now) + round(1000 * (self.total - self.done) / rate) if rate else None

    def _begin(self, what: str, total: int, now: Instant) -> None:
        self.what, self.done, self.total, self.since = what, 0, total, now
        self._recent.clear()

    def _go_on(self, what: str, done: int, total: int, now: Instant) -> None:
        if what != self.what or done < self.done:
            self._begin(what, total, now)
        self._recent.append((now, done - self.done))
        self.done, self.total, self.why, self.resumes = done, total, "", now

    def _forget(self, now: Instant) -> None:
        while self._recent and now - self._recent[0][0] >= RECENT_MS:
            self._recent.popleft()
