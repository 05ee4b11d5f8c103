"""Reading what is in doubt, and doing what the readings allow.

Rules
1. Nothing is read before the doubtful request can no longer land. Many contacts are searched for first.
2. A token that may not read contacts leaves everything held, and the run goes on.
3. What a reading tells is durable before anything is sent on it.
4. A contact that the API says not to have is rejected, once all are read: too many of them, and the run stops, and none
   is believed to be: what is in doubt there stays so.
5. What an earlier run left in doubt, and this one set out to settle and could not, is this one's to tell as held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.apply.date_habit import learn_from_journal, moves_date
from reconciler.apply.learnt_aliases import trail_of
from reconciler.apply.read_contacts import Readings, read_contacts
from reconciler.apply.run import Doubt, Run, halt_if_wrong
from reconciler.apply.search_doubts import settle_by_search
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import ContactId, TagSet
from reconciler.core.model.outcome import Action, Outcome, Rejection
from reconciler.core.planning.changes import IN_DOUBT
from reconciler.core.running.doubt import (
    SLACK_ELSEWHERE_MS,
    SLACK_MS,
    ContactReading,
    Settled,
    first_doubt,
    is_decidable,
    is_untouched,
    kept_reading,
    record_absence,
    sent_to_add,
    settle_doubt,
)

CHUNK = 200
"""So many contacts are read before what they told is made durable."""

NONE: TagSet = frozenset()


Again = dict[tuple[Action, TagSet], list[ContactId]]


async def settle_doubts(run: Run, doubts: Mapping[ContactId, ContactState]) -> Again:
    """Settles the doubts of these contacts by what was read of them, or is now; what of this run may be sent once more,
    by action and tags."""
    again: Again = {}
    await _judge_again(run, doubts, again)
    unread = {contact: known for contact, known in doubts.items() if not is_decidable(known, run.facts)}
    if run.world.reader is None or not unread:
        return again
    last = max(known.doubt_at or run.now() for known in unread.values())
    if (wait := last + run.options.settle_ms - run.now()) > 0:
        await run.pause(wait, f"what is in doubt settles: then {len(unread):,} contacts are read")
    await settle_by_search(run, unread)
    readings = Readings()
    contacts = sorted(contact for contact in unread if run.state.observed[contact].doubt)
    done = len(unread) - len(contacts)
    for start in range(0, len(contacts), CHUNK):
        chunk = contacts[start : start + CHUNK]
        await read_contacts(run, chunk, readings, done=done + start, total=len(unread))
        await _take_in(run, chunk, readings, again)
    if readings.blind:
        run.note(f"what is in doubt stays held: {readings.blind}")
    # a later contact may have told what an earlier one was held for
    await _judge_again(run, contacts, again)
    _reject(run, readings.missing)
    run.rates.count_readings(readings.answered, len(readings.absent))
    halt_if_wrong(run)
    run.check()
    return again


async def _judge_again(run: Run, contacts: Iterable[ContactId], again: Again) -> None:
    """Settles what a kept reading decides, by what is known of the location now."""
    readings = Readings()
    for contact in sorted(contacts):
        known = run.state.observed[contact]
        reading = kept_reading(known) if is_decidable(known, run.facts) else None
        if reading is not None:
            readings.found[contact] = reading
    await _take_in(run, sorted(readings.found), readings, again)


async def _take_in(run: Run, contacts: Iterable[ContactId], readings: Readings, again: Again) -> None:
    learn_from_journal(run, readings.found)
    changed: dict[ContactId, ContactState] = {}
    for contact in contacts:
        if contact in readings.found:
            changed[contact] = await _settled(run, contact, readings.found.pop(contact), again)
    if changed:
        run.world.store.save_states(run.tenure.lease, changed)
        run.state.observed.update(changed)


async def _settled(run: Run, contact: ContactId, reading: ContactReading, again: Again) -> ContactState:
    known = run.state.observed[contact]
    adds = run.adds_in_doubt(contact, known.doubt)
    tried = run.tried.get(contact, NONE)
    untouched = _untouched(run, contact, reading, adds - reading.tags - tried)
    # who is told to stop asks nothing more: what was read is kept, and decided by the next run
    moves = await moves_date(run) if untouched and run.error is None else None
    found = settle_doubt(
        known,
        reading,
        adds,
        proven=untouched if moves else NONE,
        undecided=untouched if moves is None else NONE,
        tried=tried,
        settle_ms=run.options.settle_ms,
    )
    _book(run, contact, found, adds, again)
    return found.known


def _untouched(run: Run, contact: ContactId, reading: ContactReading, missing: TagSet) -> TagSet:
    """The additions that may be sent once more, if a tag write moves the date."""
    if not missing:
        return NONE
    trail = trail_of(run, contact)
    untouched = set()
    for tag in missing:
        since = first_doubt(contact, tag, trail)
        slack = SLACK_MS if since is not None and since >= run.began else SLACK_ELSEWHERE_MS
        if is_untouched(reading, since, slack_ms=slack):
            untouched.add(tag)
    return frozenset(untouched)


def _book(run: Run, contact: ContactId, found: Settled, adds: TagSet, again: Again) -> None:
    ours = run.tally.tags_with(contact, Outcome.IN_DOUBT)
    run.tally.set_outcome(contact, found.seen, Outcome.SEEN)
    run.proven[contact] = run.proven.get(contact, NONE) | (found.again & adds)
    if freed := found.again & run.tally.tags_with(contact, Outcome.HELD):
        # held by this run until it knew better: planned anew
        run.tally.set_outcome(contact, freed, Outcome.NOT_SENT)
        run.tried[contact] = run.tried.get(contact, NONE) | freed
    for action, tags in ((Action.ADD, found.again & adds & ours), (Action.REMOVE, (found.again - adds) & ours)):
        if tags:
            run.tally.set_outcome(contact, tags, Outcome.NOT_SENT)
            run.tried[contact] = run.tried.get(contact, NONE) | tags
            again.setdefault((action, tags), []).append(contact)
    _spoil(run, contact, found.held & adds, Outcome.HELD, _WHY[Action.ADD])
    _spoil(run, contact, found.held - adds, Outcome.HELD, _WHY[Action.REMOVE])
    run.doubtful.pop(contact, None)


_WHY = {
    Action.ADD: "not there when it was read; it may have been, and nothing proves that it was not",
    Action.REMOVE: "still there when it was read, after it was sent twice",
}


def _reject(run: Run, missing: Mapping[ContactId, Rejection]) -> None:
    """Contacts that are not there to be read."""
    for contact, why in missing.items():
        known = run.state.observed[contact]
        _spoil(run, contact, known.doubt, Outcome.REJECTED, f"not found when it was read: {why}")
        run.rejected[contact] = known
        lost = record_absence(known, why, run.now(), membership=run.desired.membership(contact))
        run.state.observed.update({contact: lost})
        run.doubtful.pop(contact, None)


def hold_unsettled(run: Run) -> None:
    """Books what earlier runs left in doubt, and this one could not settle: it may have died before it told of it."""
    for listed in run.plan.held:
        if listed.why == IN_DOUBT:
            for contact in run.sought.intersection(listed.contacts) - run.tally.rejected:
                told = run.tally.tags_with(contact, *Outcome)
                doubt = run.state.observed[contact].doubt.intersection(listed.tags) - told
                _spoil(run, contact, doubt, Outcome.HELD, "an earlier run sent it, and it could not be read")


def disbelieve_absences(run: Run) -> None:
    """Books as in doubt again what was in doubt on contacts that were refused, or said not to be there."""
    for contact, known in run.rejected.items():
        doubt = known.doubt & run.tally.tags_with(contact, Outcome.REJECTED)
        _spoil(run, contact, doubt, Outcome.IN_DOUBT, "the contact is said not to be there, which is not believed")


def _spoil(run: Run, contact: ContactId, doubt: TagSet, outcome: Outcome, why: str) -> None:
    """What is in doubt on the contact did not end well; told as what was sent, be it to add or to remove.

    Removals wait for what is to be there, whatever was sent.
    """
    wanted, added = run.adds_in_doubt(contact, doubt), _sent_to_add(run, contact, doubt)
    for action, sent in ((Action.ADD, added), (Action.REMOVE, doubt - added)):
        for tags, awaited in ((sent & wanted, True), (sent - wanted, False)):
            if tags:
                run.tally.record_failure(contact, action, tags, outcome, why, awaited=awaited)


def _sent_to_add(run: Run, contact: ContactId, doubt: TagSet) -> TagSet:
    """Those of the tags in doubt that were sent to be added: by this run, or an earlier one, as the journal tells."""
    ours = run.doubtful.get(contact, Doubt())
    others = doubt - ours.adds - ours.removes
    told = sent_to_add(contact, others, trail_of(run, contact)) if others else {}
    wanted = run.adds_in_doubt(contact, others)
    return (doubt & ours.adds) | frozenset(tag for tag in others if told.get(tag, tag in wanted))
