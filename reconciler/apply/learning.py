"""Learning whether a write of tags moves a contact's `dateUpdated` here: without it no add in doubt can be proven lost.

Rules
1. One read after the first write whose answer tells of a change, ever: no later run asks again once that has told.
2. Without a read: a contact in doubt that was read and still reads as an earlier write left it, at that write's time.
3. A read that fails, or that tells nothing, hurts nothing. It is not repeated in the run, unless a doubt needs it.
4. The contact is read before another request of ours may change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.apply.run import KnownWrite, Run
from reconciler.core.errors import ApiError, NotApplied
from reconciler.core.names import ContactId, Instant
from reconciler.core.outcome import Rejection
from reconciler.core.settling import Reading, moved_by_journal, moves_updated


async def learn_from_first_write(run: Run) -> None:
    """Reads the contact that was written last, where the run has not read one yet and nothing is known so far."""
    if run.facts.moves_updated is None and run.known_writes and not run.read_written:
        run.read_written = True
        await _learn(run, run.known_writes[-1:])


async def moves_date(run: Run) -> bool | None:
    """Whether a tag write moves `dateUpdated` here; if need be, known writes of this run are read. None: not known."""
    if run.facts.moves_updated is None and run.known_writes:
        writes, run.known_writes = run.known_writes, ()
        await _learn(run, writes)
    return run.facts.moves_updated


def learn_from_journal(run: Run, readings: Mapping[ContactId, Reading]) -> None:
    """Contacts that read as an earlier write left them tell; one that tells of a write that moved nothing, for all."""
    if run.facts.moves_updated is not None:
        return
    trail = run.world.store.trail
    told = {
        moved_by_journal(contact, reading, (batch for _, batch in trail(run.location, contact)))
        for contact, reading in readings.items()
    }
    if told - {None}:
        run.learn(replace(run.facts, moves_updated=False not in told))


async def _learn(run: Run, writes: tuple[KnownWrite, ...]) -> None:
    told = [await _told_by(run, write) for write in writes]
    if False in told or None not in told:
        run.learn(replace(run.facts, moves_updated=False not in told))


async def _told_by(run: Run, write: KnownWrite) -> bool | None:
    """Whether the date moved with the write; None where that cannot be told."""
    reading = await _read_once(run, write)
    return None if reading is None else moves_updated(reading, write.sent, write.answered, write.left)


async def _read_once(run: Run, write: KnownWrite) -> Reading | None:
    """The written contact; None where one attempt did not show it."""
    if run.world.reader is None:
        return None
    try:
        ticket = await run.turn()
        asked, run.reads = run.now(), run.reads + 1
        found = await run.asked(ticket, run.world.reader(run.location).get_contact(write.contact))
    except ApiError as error:
        if isinstance(error, NotApplied) and error.retry_after_ms:
            run.pace.back_off(Instant(run.now() + error.retry_after_ms))
        return None
    if isinstance(found, Rejection) or found.tags is None:
        return None
    return Reading(found.tags, found.updated, asked, run.now(), found.served)
