"""The only way to a change of state: under the lease, as a run of the history. Law: sees ports and core.

    with await acquire_lease(location, holder, …) as lease, journalled_run(lease, header) as run: …

Rules
1. Waiting and heartbeats go by the injected clock.
2. The lease is renewed while a wait or a request lasts, however long. Losing it does not cut a request short: its
   answer is still worth having, though the state will not take it.
3. Before each request the lease is looked at: past its end, or taken over, nothing more is sent.
4. A run ends once. One that is left open is the next run's to settle: it reads the journal.
5. Answers that the state does not take go into an emergency journal: a file beside the plan.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from reconciler.core.formats.recovery_file import UnrecordedAnswers, read_unrecorded, unrecorded_document
from reconciler.core.model.errors import InvalidInput, LockHeld, Problem, StateError
from reconciler.core.model.events import Waiting
from reconciler.core.model.journal import RunEnding, RunHeader, RunStatus
from reconciler.core.model.lease import HEARTBEAT_MS, Holder, Lease, lease_ended_error, retry_pauses
from reconciler.core.model.names import Instant, LocationId, SetName, Source
from reconciler.ports import Clock, LocationStore, Reporter, StateStore

SLICE_MS = 5_000
"""A long sleep looks at the lease so often: well within a heartbeat."""
T = TypeVar("T")


async def acquire_lease(
    location: LocationId, holder: Holder, *, store: StateStore, clock: Clock, report: Reporter, lock_timeout_ms: int = 0
) -> HeldLease:
    """The lease on a location, waited for at most `lock_timeout_ms`; raises LockHeld."""
    for pause in retry_pauses(lock_timeout_ms):
        try:
            return _acquire_now(holder, store.at(location), clock)
        except LockHeld as error:
            report(Waiting(location, pause, error.message))
            await clock.sleep(pause)
    return _acquire_now(holder, store.at(location), clock)


def _acquire_now(holder: Holder, store: LocationStore, clock: Clock) -> HeldLease:
    now = clock.now()
    return HeldLease(store, clock, store.acquire_lease(holder, now), now)


@dataclass(slots=True)
class HeldLease:
    """A lease that is held, last renewed at `renewed`; leaving its context releases it."""

    store: LocationStore
    clock: Clock
    lease: Lease
    renewed: Instant

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # a lease that is lost, or cannot be written, ends by itself
        for _ in range(2):
            with suppress(StateError):
                self.store.release_lease(self.lease)
                return

    def renew(self) -> None:
        """The heartbeat, where it is due; raises LeaseLost where the lease is over."""
        now = self.clock.now()
        if now >= self.lease.expires:
            # even if no other holder has it yet: one may take it at any moment, as after a laptop's sleep
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

    def _beat(self) -> None:
        # the request under way is not cut short: the look before the next one raises
        with suppress(StateError):
            self.renew()


@dataclass(slots=True)
class JournalledRun:
    """A run of the history that has begun."""

    id: str
    held: HeldLease
    is_over: bool = False
    """Whether it has ended, or was left open: nothing ends it any more."""

    def end(
        self, status: RunStatus, *, set_sizes: Mapping[SetName, int] | None = None, ending: RunEnding | None = None
    ) -> None:
        """Writes down how it ended; `set_sizes` and `ending` are those of `LocationStore.end_run`."""
        self.is_over = True
        held = self.held
        held.store.end_run(held.lease, self.id, status, held.clock.now(), set_sizes=set_sizes, ending=ending)

    def leave_open(self) -> None:
        """Ends nothing: the journal is the truth, and the next run settles by it."""
        self.is_over = True


@contextmanager
def journalled_run(
    held: HeldLease, header: RunHeader, *, cancelled: RunStatus | None = RunStatus.INTERRUPTED
) -> Iterator[JournalledRun]:
    """A run from its begin to its end: complete, stopped by an error, `cancelled` by anything else that ends it early.

    `cancelled` is None where to be cancelled is to be killed: that leaves the run open.
    """
    run = JournalledRun(held.store.begin_run(held.lease, header), held)
    try:
        yield run
    except BaseException as error:
        status = RunStatus.STOPPED if isinstance(error, Exception) else cancelled
        if status is not None and not run.is_over:
            # the error on its way says more than a failure to write the run's end would
            with suppress(StateError):
                run.end(status)
        raise
    if not run.is_over:
        run.end(RunStatus.COMPLETE)


@dataclass(frozen=True, slots=True)
class RecoveryJournal:
    """Writes beside `plan`; where that cannot be written, among the system's temporary files."""

    plan: Path

    def __call__(self, lost: UnrecordedAnswers) -> str:
        """The path of the file; empty where there is no place left to write to."""
        name = f"{self.plan.name}.emergency-{lost.run}-{lost.number}.json"
        text = json.dumps(unrecorded_document(lost), separators=(",", ":")) + "\n"
        for directory in (self.plan.parent, Path(tempfile.gettempdir())):
            if _written(directory / name, text):
                return str(directory / name)
        return ""


def _written(path: Path, text: str) -> bool:
    """Durable, private, whole or not there; never over a file of the same name: that one holds other answers."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        return False
    return True


def load_unrecorded(path: Path) -> UnrecordedAnswers:
    """The answers that the file holds; raises InvalidInput."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput([Problem(Source(str(path)), f"cannot be read: {error.strerror}", "emergency")]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput([Problem(Source(str(path)), "is not JSON", "emergency")]) from error
    return read_unrecorded(document, path=str(path))
