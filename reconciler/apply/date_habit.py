"""Learning what a location is like: whether a write of tags moves a contact's `dateUpdated` here, without which no add
in doubt can be proven lost; and how much a request may hold.

Rules
1. One read after the first write whose answer tells of a change, ever: no later run asks again once that has told.
2. Without a read: a contact in doubt that was read and still reads as an earlier write left it, at that write's time.
3. A read that fails, or that tells nothing, hurts nothing. It is not repeated in the run, unless a doubt needs it.
4. The contact is read before another request of ours may change it.
5. A size is learnt from a number in a refusal, or when parts of what was refused are taken (`refusing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.apply.learnt_aliases import reader_of, trail_of
from reconciler.apply.run import KnownWrite, Run
from reconciler.core.model.api_limits import Facts
from reconciler.core.model.errors import ApiError, RequestRefused
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Rejection
from reconciler.core.planning.batches import Batch
from reconciler.core.running.batch_split import read_limits
from reconciler.core.running.doubt import ContactReading, moved_by_journal, moves_updated


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


def learn_from_journal(run: Run, readings: Mapping[ContactId, ContactReading]) -> None:
    """Contacts that read as an earlier write left them tell; one that tells of a write that moved nothing, for all."""
    if run.facts.moves_updated is not None:
        return
    told = {moved_by_journal(contact, reading, trail_of(run, contact)) for contact, reading in readings.items()}
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


async def _read_once(run: Run, write: KnownWrite) -> ContactReading | None:
    """The written contact; None where one attempt did not show it."""
    if run.world.reader is None:
        return None
    try:
        ticket = await run.turn()
        asked, run.reads = run.now(), run.reads + 1
        found = await run.asked(ticket, reader_of(run).get_contact(write.contact))
    except ApiError as error:
        run.pace.heed(error, run.now())
        return None
    if isinstance(found, Rejection) or found.tags is None:
        return None
    return ContactReading(found.tags, found.updated, asked, run.now(), found.served)


def learn_named(run: Run, batch: Batch, error: RequestRefused) -> bool:
    """Takes the size that the message names, if it does; whether that is so."""
    limits = read_limits(error.message, batch)
    if limits is not None:
        learn_size(run, run.facts.limited(*limits, run.now()), error)
    return limits is not None


def learn_size(run: Run, facts: Facts, error: RequestRefused) -> None:
    run.learn(facts)
    run.note(f"a request was refused for its size, smaller ones from here on: {error.message}")
