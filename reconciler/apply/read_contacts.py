"""Reading contacts one by one in the midst of a run: to settle doubts, and to learn from what was written.

Rules
1. Reads take their turn like writes. Reading twice harms nobody: whatever may pass is tried again, with pauses.
2. A reading that fails hurts nothing: the contact stays unread. Too many in a row, and no more is read.
3. A contact is absent where the API says so of it. Too many in a row, and no more is read: then the API, the token or
   the location is not as it was, and none of these contacts is taken for absent.
4. A limit that is used up ends the run; what was read until then is settled by.
5. One contact that may not be seen is another location's, where another one may: else it may be the token that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.apply.learnt_aliases import reader_of
from reconciler.apply.run import Run
from reconciler.core.model.errors import ApiError, AuthRefused, InDoubt, NotApplied, QuotaExhausted
from reconciler.core.model.events import Read
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.outcome import Rejection
from reconciler.core.running.doubt import ContactReading
from reconciler.core.running.quota import Tries
from reconciler.request_gate import Halted
from reconciler.wire import FORBIDDEN, ContactRead

MOST_IN_A_ROW = 10
"""So many readings in a row may come to nothing, or find nobody."""


@dataclass(slots=True)
class Readings:
    """What reading told so far. `absent`: contacts that the API says not to have. `lately`: those of them that were
    read last, with nobody found since. `answered`: reads that told something; `failed`: those in a row that did not;
    `blind`: no more is read, and why; `forbidden`: since the token may not read contacts."""

    found: dict[ContactId, ContactReading] = field(default_factory=dict)
    absent: dict[ContactId, Rejection] = field(default_factory=dict)
    lately: list[ContactId] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    blind: str = ""
    forbidden: bool = False
    saw_any: bool = False

    @property
    def missing(self) -> dict[ContactId, Rejection]:
        """Who is not there, as far as that is proven."""
        unproven = frozenset(self.lately if len(self.lately) >= MOST_IN_A_ROW else ())
        return {
            contact: why
            for contact, why in self.absent.items()
            if contact not in unproven and (self.saw_any or why is not Rejection.FOREIGN)
        }


async def read_contacts(run: Run, contacts: Iterable[ContactId], readings: Readings, *, done: int, total: int) -> None:
    """Reads them, some at once, until the run is halted: what was read until then is there."""
    queue = iter(contacts)

    async def reader() -> None:
        nonlocal done
        for contact in queue:
            if readings.blind:
                return
            try:
                await read_contact(run, contact, readings)
            except Halted:
                return
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
        asked, found = await _attempts(run, contact, readings)
    except ApiError as error:
        _fail(run, readings, error)
        return
    readings.failed = 0
    readings.answered += 1
    if isinstance(found, Rejection):
        _miss(run, contact, readings, found)
        return
    readings.saw_any = True
    if found.location not in (run.location, ""):
        _miss(run, contact, readings, Rejection.FOREIGN)
    elif found.tags is not None:
        readings.lately.clear()
        readings.found[contact] = ContactReading(found.tags, found.updated, asked, run.now(), found.served)
    else:
        run.note("what was read without its tags stays in doubt")


async def _attempts(run: Run, contact: ContactId, readings: Readings) -> tuple[Instant, ContactRead | Rejection]:
    """Reading twice harms nobody: whatever may pass is tried again, with pauses."""
    assert run.world.reader is not None
    tries = Tries()
    while True:
        ticket = await run.turn()
        asked, run.reads = run.now(), run.reads + 1
        try:
            return asked, await run.asked(ticket, reader_of(run).get_contact(contact))
        except (NotApplied, InDoubt, QuotaExhausted) as error:
            if readings.blind or not await run.once_more(tries, error):
                raise


def _fail(run: Run, readings: Readings, error: ApiError) -> None:
    """A token that is refused is refused for all; anything else may be about the one contact."""
    readings.failed += 1
    if isinstance(error, AuthRefused) and error.status != FORBIDDEN:
        _forbid(run, readings, error.message)
        return
    if isinstance(error, QuotaExhausted):
        run.halt(error)
    if readings.failed >= MOST_IN_A_ROW or isinstance(error, QuotaExhausted):
        readings.blind = f"contacts cannot be read ({error.message})"
    run.note(f"what could not be read stays in doubt: {error.message}")


def _miss(run: Run, contact: ContactId, readings: Readings, why: Rejection) -> None:
    readings.absent[contact] = why
    readings.lately.append(contact)
    if len(readings.lately) < MOST_IN_A_ROW:
        return
    if not readings.saw_any and set(readings.absent.values()) == {Rejection.FOREIGN}:
        _forbid(run, readings, "every contact is said to be another location's")
    else:
        readings.blind = (
            f"{MOST_IN_A_ROW} contacts in a row are said not to be there, which is not believed: "
            f"{run.world.token(run.location)}, the location or the API is probably wrong; "
            "`reconciler state forget` gives up contacts that are really gone"
        )


def _forbid(run: Run, readings: Readings, why: str) -> None:
    readings.forbidden = True
    readings.blind = f"{run.world.token(run.location)} may not read contacts of location {run.location} ({why})"
