"""Reading contacts one by one in the midst of a run: to settle doubts, and to learn from what was written.

Rules
1. Reads take their turn like writes. Reading twice harms nobody: whatever may pass is tried again, with pauses.
2. A reading that fails hurts nothing: the contact stays unread. Too many in a row, and no more is read.
3. One contact that may not be seen is another location's, unless none may: then the token may not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from reconciler.apply.run import Run
from reconciler.core.errors import ApiError, AuthRefused, InDoubt, NotApplied
from reconciler.core.event import Read
from reconciler.core.names import ContactId, Instant
from reconciler.core.outcome import Rejection
from reconciler.core.settling import Reading
from reconciler.wire import ContactRead

FORBIDDEN = 403
MOST_FORBIDDEN = 20
MOST_FAILED = 10


@dataclass(slots=True)
class Readings:
    """What reading told so far. `forbidden`: contacts that may not be seen. `failed`: reads in a row that came to
    nothing; `blind`: no more is read, and why."""

    found: dict[ContactId, Reading] = field(default_factory=dict)
    missing: dict[ContactId, Rejection] = field(default_factory=dict)
    forbidden: set[ContactId] = field(default_factory=set)
    failed: int = 0
    blind: str = ""
    saw_any: bool = False


async def read_contacts(run: Run, contacts: Iterable[ContactId], readings: Readings, *, done: int, total: int) -> None:
    queue = iter(contacts)

    async def reader() -> None:
        nonlocal done
        for contact in queue:
            if readings.blind:
                return
            await read_contact(run, contact, readings)
            done += 1
            run.tell(Read(run.location, done, total))

    workers = [asyncio.create_task(reader()) for _ in range(run.mission.in_flight)]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.wait(workers)


async def read_contact(run: Run, contact: ContactId, readings: Readings) -> None:
    try:
        asked, found = await _attempts(run, contact)
    except AuthRefused as error:
        _forbidden(run, contact, readings, error)
        return
    except ApiError as error:
        readings.failed += 1
        if readings.failed >= MOST_FAILED:
            readings.blind = f"contacts cannot be read ({error.message})"
        run.note(f"what could not be read stays in doubt: {error.message}")
        return
    readings.failed = 0
    if found is None:
        readings.missing[contact] = Rejection.DELETED
    elif found.location != run.location:
        readings.missing[contact] = Rejection.FOREIGN
    elif found.tags is not None:
        readings.saw_any = True
        readings.found[contact] = Reading(found.tags, found.updated, asked, run.now(), found.served)


async def _attempts(run: Run, contact: ContactId) -> tuple[Instant, ContactRead | None]:
    """Reading twice harms nobody: whatever may pass is tried again, with pauses."""
    assert run.world.reader is not None
    for attempt in count():
        ticket = await run.turn()
        asked, run.reads = run.now(), run.reads + 1
        try:
            return asked, await run.asked(ticket, run.world.reader(run.location).get_contact(contact))
        except (NotApplied, InDoubt) as error:
            if not await run.once_more(attempt, error):
                raise
    raise AssertionError("the last attempt returns or raises")


def _forbidden(run: Run, contact: ContactId, readings: Readings, error: AuthRefused) -> None:
    """One contact that may not be seen is another location's, unless none may: then the token may not read."""
    readings.forbidden.add(contact)
    if error.status != FORBIDDEN or (not readings.saw_any and len(readings.forbidden) >= MOST_FORBIDDEN):
        readings.blind = f"the token may not read contacts of location {run.location} ({error.message})"
