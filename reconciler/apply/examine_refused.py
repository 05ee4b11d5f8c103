"""Examining a request that the API refused as a whole for its effect; learning whether a write moves a contact's date.

Rules
1. The refusal alone proves nothing. One contact of each half is read, those first that tell most; in the second look
   all of them, where it adds tags that are `once` or `triggers`.
2. A tag that came or went as the request asked, since the contact was last observed, shows an effect. So does a date
   that is not from before the request, though another cause may have moved it.
3. An add that may start a workflow is proven to have had no effect by the date alone, where a write of tags is known to
   move it: a workflow may have consumed the tag already.
4. A look at once may show an effect, and proves none: a copy that is read may be behind, or the effect may come late.
   Where it shows none, an add is looked at again once it can no longer take effect; a run that ends before that leaves
   it in doubt. Removals do not wait: to remove twice harms no contact.
5. Where the contacts that are read show no effect, one that is not there to be read may have had one: the tags of a
   contact that was merged are on another one. Its additions stay in doubt.
6. Whether a write of tags moves `dateUpdated` is learnt once a location: by one read after the first write with an
   answer that tells of a change, before another request of ours may change the contact; or from a contact that reads as
   a journalled write left it, at that write's time. A read that fails is repeated only where a doubt needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from reconciler.apply.books import KnownWrite
from reconciler.apply.read_contacts import Readings, read_contact, read_contacts
from reconciler.apply.run import Run
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NONE, ContactReading, ContactState, ObservationOrigin
from reconciler.core.model.errors import ApiError
from reconciler.core.model.journal import ReadFor
from reconciler.core.model.names import ContactId, Instant, TagSet, fold_spelling
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.running.doubt import SLACK_MS, is_untouched, moved_by_journal, moves_updated
from reconciler.request_gate import Halted

MOST_TRIED = 3
"""So many contacts of a half are asked for; where none of them can be read, nothing is known of it."""

CHUNK = 50
APART_MS = 2 * SLACK_MS
"""So long after a write a contact's date tells it from the next one: the server tells its time in whole seconds."""


class Effect(Enum):
    """The effect of a refused request, as a look at its contacts shows it."""

    NONE = "none"
    POSSIBLE = "possible"
    UNREAD = "unread"
    """Nothing: contacts could not be read, or not late enough."""
    FORBIDDEN = "forbidden"
    """Nothing: the token may not read contacts, or there is no reader."""


@dataclass(frozen=True, slots=True)
class Look:
    effect: Effect
    why: str = ""
    absent: frozenset[ContactId] = frozenset()
    """Contacts that are not there to be read, of a request that shows no effect on the others."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A refused request that left at `sent`, and the states of its contacts before."""

    batch: Batch
    before: Mapping[ContactId, ContactState]
    sent: Instant


async def look_at(run: Run, suspect: Suspect, *, waits: bool) -> Look:
    """`waits`: for as long as an add may take effect; else a look that shows no effect proves nothing."""
    if not run.can_read:
        return Look(Effect.FORBIDDEN, "nobody may read contacts, to see whether it took effect")
    try:
        early = await _look_at_some(run, suspect)
        return await _look_late(run, suspect, waits=waits) if early.effect is Effect.NONE else early
    except Halted:
        return Look(Effect.UNREAD, "the run was stopped before its contacts were read")


async def _look_late(run: Run, suspect: Suspect, *, waits: bool) -> Look:
    """The second look, for an add, once it can no longer take effect."""
    starts = _starts_workflow(run, suspect.batch)
    if starts and await moves_date(run) is not True:
        return Look(Effect.POSSIBLE, "nothing tells whether a workflow has consumed what it added")
    if not waits or suspect.batch.action is Action.REMOVE:
        return Look(Effect.UNREAD, "nothing of it is seen so far, and it may show later")
    if (wait := suspect.sent + run.options.settle_ms - run.options.latest_ms - run.now()) > 0:
        await run.gate.pause(
            wait, "a request was refused: once it can no longer take effect, its contacts are looked at again"
        )
    return await (_look_at_all if starts else _look_at_some)(run, suspect)


def _starts_workflow(run: Run, batch: Batch) -> bool:
    """Whether the batch adds a tag that is `once` or `triggers`."""
    rules = [rule for tag in batch.tags if (rule := run.desired.rules.get(tag))]
    return batch.action is Action.ADD and any(rule.once or rule.triggers for rule in rules)


def last_written(state: ContactState) -> Instant:
    """The time of our last write to the contact, by its answer."""
    at = state.observed_at
    return at if state.origin is ObservationOrigin.WRITE and at is not None else Instant(0)


async def _look_at_some(run: Run, suspect: Suspect) -> Look:
    readings = Readings(ReadFor.REFUSALS)
    # of each half: a request may have been carried out in part
    for half in _halves(suspect.batch.contacts):
        for contact in sorted(half, key=lambda contact: _shows_little(suspect, contact))[:MOST_TRIED]:
            await read_contact(run, contact, readings)
            if why := _explain_effect(suspect, contact, readings):
                return Look(Effect.POSSIBLE, why)
            if readings.blind or contact in readings.found:
                break
        if readings.blind or not _is_read(half, readings):
            return _unseen(readings)
    return _nothing_seen(readings) if readings.found else _unseen(readings)


def _halves(contacts: Sequence[ContactId]) -> list[Sequence[ContactId]]:
    middle = (len(contacts) + 1) // 2
    return [half for half in (contacts[:middle], contacts[middle:]) if half]


def _is_read(half: Sequence[ContactId], readings: Readings) -> bool:
    return any(contact in readings.found for contact in half) or readings.missing.keys() >= {*half}


async def _look_at_all(run: Run, suspect: Suspect) -> Look:
    contacts, readings = suspect.batch.contacts, Readings(ReadFor.REFUSALS)
    for start in range(0, len(contacts), CHUNK):
        chunk = contacts[start : start + CHUNK]
        await read_contacts(run, chunk, readings, done=start, total=len(contacts))
        if whys := [why for contact in chunk if (why := _explain_effect(suspect, contact, readings))]:
            return Look(Effect.POSSIBLE, whys[0])
        if readings.blind:
            break
    if not readings.found or not set(contacts) <= {*readings.found, *readings.missing}:
        return _unseen(readings)
    # a workflow may have consumed the tags: that they are not there proves nothing without the date
    dated = [is_untouched(reading, suspect.sent) for reading in readings.found.values()]
    return _nothing_seen(readings) if all(dated) else Look(Effect.POSSIBLE, "a contact without a date proves nothing")


def _nothing_seen(readings: Readings) -> Look:
    # that a contact is not there to be read proves nothing of it: a merged contact's tags go to another one
    return Look(Effect.NONE, absent=frozenset(readings.missing))


def _shows_little(suspect: Suspect, contact: ContactId) -> tuple[bool, bool]:
    """Whether the request was to change nothing on the contact, and whether another one of ours changed it lately."""
    state = suspect.before[contact]
    there = (state.observed or NONE).intersection(suspect.batch.tags)
    adding = suspect.batch.action is Action.ADD
    unmoved = len(there) == len(suspect.batch.tags) if adding else state.observed is not None and not there
    # right after another write the date cannot tell which of the two moved it
    return unmoved, suspect.sent - last_written(state) < APART_MS


def _explain_effect(suspect: Suspect, contact: ContactId, readings: Readings) -> str:
    """The effect of the request that the reading of a contact shows; empty where it shows none."""
    reading = readings.found.get(contact)
    if reading is None:
        return ""
    batch, before, after = suspect.batch, suspect.before[contact].observed or NONE, reading.tags
    if batch.action is Action.ADD and (added := _find_named(batch, after - before)):
        return f"{contact} carries {added} now"
    if batch.action is Action.REMOVE and (removed := _find_named(batch, before - after)):
        return f"{contact} does not carry {removed} any more"
    return f"{contact} was changed since it was sent" if _moved(reading, suspect.sent) else ""


def _find_named(batch: Batch, tags: TagSet) -> str:
    """One of `tags` that the request names; the location may keep it in another spelling."""
    named = set(map(fold_spelling, batch.tags))
    return min((tag for tag in tags if fold_spelling(tag) in named), default="")


def _moved(reading: ContactReading, sent: Instant) -> bool:
    return reading.updated is not None and reading.there(sent) is not None and not is_untouched(reading, sent)


def _unseen(readings: Readings) -> Look:
    if readings.forbidden:
        return Look(Effect.FORBIDDEN, readings.blind)
    return Look(Effect.UNREAD, readings.blind or "its contacts could not be read, to see whether it took effect")


async def learn_from_first_write(run: Run) -> None:
    """Reads the contact that was written last, where the run has not read one yet and the habit is not known."""
    if run.facts.moves_updated is None:
        await _learn_habit(run, run.location_book.take_last_write())


async def moves_date(run: Run) -> bool | None:
    """Whether a tag write moves `dateUpdated` here; if need be, known writes of this run are read. None: not known."""
    if run.facts.moves_updated is None:
        await _learn_habit(run, run.location_book.take_writes())
    return run.facts.moves_updated


async def learn_from_journal(run: Run, readings: Mapping[ContactId, ContactReading]) -> None:
    """Learns the habit from contacts that read as an earlier write left them."""
    if run.facts.moves_updated is None:
        moved = {
            moved_by_journal(contact, reading, await run.trail_of(contact)) for contact, reading in readings.items()
        }
        await _save_habit(run, moved - {None})


async def _learn_habit(run: Run, writes: Iterable[KnownWrite]) -> None:
    moved = [await _read_whether_moved(run, write) for write in writes]
    # a date that moved may have been moved by others: only if both contacts show it, it is the habit
    if False in moved or None not in moved:
        await _save_habit(run, moved)


async def _save_habit(run: Run, moved: Collection[bool | None]) -> None:
    """One write that moved nothing tells for all."""
    if moved:
        await run.learn(lambda facts: replace(facts, moves_updated=False not in moved))


async def _read_whether_moved(run: Run, write: KnownWrite) -> bool | None:
    """Whether the date moved with the write; None where one attempt does not tell."""
    if not run.can_read:
        return None
    try:
        asked, answer = await run.gate.read(lambda: run.reader.get_contact(write.contact), ReadFor.DATES)
    except ApiError as error:
        run.gate.pace.heed(error, run.now())
        return None
    if isinstance(answer, Rejection) or answer.tags is None:
        return None
    reading = ContactReading(asked, run.now(), answer.served, answer.updated, answer.tags)
    return moves_updated(reading, write.sent, write.answered, write.after)
