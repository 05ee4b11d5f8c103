"""Reading what contacts carry now. Holds a reader and no writer; what it reads is a value, stored by whoever may.

Rules
1. `get` reads contacts one by one: an observation of the moment.
2. `search` reads pages of 500 from an index that lags: a row is an observation made `INDEX_LAG_MS` before it was read.
3. A row without tags tells nothing, and nothing follows from a contact that is not among the rows.
4. A contact that the token may not see is another location's, unless it may see none: then the token is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from reconciler.core.errors import AuthRefused, InDoubt, NotApplied
from reconciler.core.event import Read, Waiting
from reconciler.core.names import ContactId, Instant, LocationId, TagSet
from reconciler.core.observed import Origin, Seen
from reconciler.core.pace import Pace
from reconciler.ports import Clock, Reporter, TagReader
from reconciler.wire import ContactRead

INDEX_LAG_MS = 300_000
PAUSES_MS = (500, 1_000, 2_000, 4_000)
FORBIDDEN = 403
MOST_FORBIDDEN = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading needs of the world."""

    reader: TagReader
    clock: Clock
    report: Reporter
    pace: Pace


@dataclass(slots=True)
class _Notes:
    """Contacts by what was read of them and when."""

    origin: Origin
    seen: defaultdict[tuple[TagSet, Instant], list[ContactId]] = field(default_factory=lambda: defaultdict(list))

    def take(self, contact: ContactRead, at: Instant) -> None:
        if contact.tags is not None:
            self.seen[contact.tags, at].append(contact.id)

    def values(self) -> tuple[Seen, ...]:
        ordered = sorted(self.seen.items(), key=lambda item: (item[0][1], sorted(item[0][0])))
        return tuple(Seen(tags, at, self.origin, tuple(sorted(contacts))) for (tags, at), contacts in ordered)


async def read_contacts(location: LocationId, contacts: Sequence[ContactId], reading: Reading) -> tuple[Seen, ...]:
    """Each of `contacts`, one request a contact; all of one call count as read when the call began."""
    notes = _Notes(Origin.GET)
    began = reading.clock.now()
    forbidden = 0
    for done, contact in enumerate(contacts, start=1):
        try:
            found = await _paced(location, partial(reading.reader.get_contact, contact), reading)
        except AuthRefused as error:
            forbidden += 1
            if error.status != FORBIDDEN or (not notes.seen and forbidden >= min(MOST_FORBIDDEN, len(contacts))):
                raise
            found = None
        if found is not None and found.location == location:
            notes.take(found, began)
        reading.report(Read(location, done, len(contacts)))
    return notes.values()


async def scan(location: LocationId, reading: Reading) -> tuple[Seen, ...]:
    """Every contact that the search shows, 500 a request."""
    notes = _Notes(Origin.SEARCH)
    at = Instant(reading.clock.now() - INDEX_LAG_MS)
    cursor, read = None, 0
    taken: set[ContactId] = set()
    while True:
        page = await _paced(location, partial(reading.reader.search, location, cursor), reading)
        for contact in page.contacts:
            if contact.location in (location, "") and contact.id not in taken:
                taken.add(contact.id)
                notes.take(contact, at)
        read += len(page.contacts)
        reading.report(Read(location, read, page.total))
        if page.cursor is None or page.cursor == cursor:
            return notes.values()
        cursor = page.cursor


async def _paced(location: LocationId, request: Callable[[], Awaitable[T]], reading: Reading) -> T:
    """One request within the rate limit. Reading twice harms nobody: whatever may pass is tried again, with pauses."""
    for pause in PAUSES_MS:
        try:
            return await _once(location, request, reading)
        except (NotApplied, InDoubt) as error:
            asked = getattr(error, "retry_after_ms", None) or 0
            reading.report(Waiting(location, max(pause, asked), error.message))
            await reading.clock.sleep(max(pause, asked))
    return await _once(location, request, reading)


async def _once(location: LocationId, request: Callable[[], Awaitable[T]], reading: Reading) -> T:
    wait = reading.pace.wait(reading.clock.now())
    if wait:
        reading.report(Waiting(location, wait, "rate limit"))
        await reading.clock.sleep(wait)
    ticket, answered = reading.pace.leave(reading.clock.now()), False
    try:
        found = await request()
        answered = True
    finally:
        reading.pace.end(ticket, reading.clock.now(), answered=answered)
    return found
