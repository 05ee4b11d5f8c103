"""Holding a lease: waiting for it, keeping it alive, and noticing that it is lost. Law: sees ports and core.

Rules
1. Waiting and heartbeats go by the injected clock.
2. The lease is renewed while a wait or a request lasts, however long. Losing it does not cut a request short: its
   answer is still worth having, though the state will not take it.
3. Before each request the lease is looked at: past its end, or taken over, nothing more is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from reconciler.core.model.errors import LockHeld, StateError
from reconciler.core.model.events import Waiting
from reconciler.core.model.lease import HEARTBEAT_MS, Holder, Lease, lease_ended_error, retry_pauses
from reconciler.core.model.names import Instant, LocationId
from reconciler.ports import Clock, Reporter, StateStore

SLICE_MS = 5_000
T = TypeVar("T")


async def acquire_lease(
    location: LocationId, holder: Holder, *, store: StateStore, clock: Clock, report: Reporter, lock_timeout_ms: int = 0
) -> HeldLease:
    """The lease on a location, waited for at most `lock_timeout_ms`; raises LockHeld."""
    for pause in retry_pauses(lock_timeout_ms):
        try:
            return _taken(location, holder, store, clock)
        except LockHeld as error:
            report(Waiting(location, pause, error.message))
            await clock.sleep(pause)
    return _taken(location, holder, store, clock)


def _taken(location: LocationId, holder: Holder, store: StateStore, clock: Clock) -> HeldLease:
    now = clock.now()
    return HeldLease(store, clock, store.acquire_lease(location, holder, now), now)


@dataclass(slots=True)
class HeldLease:
    """A lease that is held, last renewed at `renewed`."""

    store: StateStore
    clock: Clock
    lease: Lease
    renewed: Instant

    def renew(self) -> None:
        """The heartbeat, where it is due; raises LeaseLost where the lease is over."""
        now = self.clock.now()
        if now >= self.lease.expires:
            raise lease_ended_error(self.lease, now)
        if now - self.renewed >= HEARTBEAT_MS:
            self.lease = self.store.renew_lease(self.lease, now)
            self.renewed = now

    async def during(self, work: Awaitable[T]) -> T:
        """The result of `work`, with heartbeats while it lasts."""
        return await self.clock.during(work, self._beat, every_ms=HEARTBEAT_MS)

    async def sleep(self, milliseconds: int) -> None:
        """A wait, with heartbeats."""
        while milliseconds > 0:
            await self.clock.sleep(min(milliseconds, SLICE_MS))
            milliseconds -= SLICE_MS
            self.renew()

    def release(self) -> None:
        """Ends the lease, at the second attempt if need be; one that is lost, or cannot be written, ends by itself."""
        for _ in range(2):
            with suppress(StateError):
                self.store.release_lease(self.lease)
                return

    def _beat(self) -> None:
        with suppress(StateError):
            self.renew()
