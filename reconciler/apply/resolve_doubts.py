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

from collections.abc import Callable, Container, Iterable, Iterator, Mapping

from reconciler.apply.books import NONE
from reconciler.apply.examine_refused import learn_from_journal, moves_date
from reconciler.apply.read_contacts import Readings, read_contacts, settle_by_search
from reconciler.apply.run import Run
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import Answer, BatchRecord
from reconciler.core.model.names import ContactId, TagSet
from reconciler.core.model.outcome import Action, Outcome, Rejection
from reconciler.core.planning.changes import IN_DOUBT
from reconciler.core.running.doubt import (
    SLACK_ELSEWHERE_MS,
    SLACK_MS,
    ContactReading,
    Settled,
    decidable_doubts,
    first_doubt,
    is_decidable,
    is_unclear,
    is_untouched,
    kept_reading,
    open_doubts,
    record_absence,
    sent_to_add,
    settle_doubt,
)

CHUNK = 200
"""So many contacts are read before what they told is made durable."""

Again = dict[tuple[Action, TagSet], list[ContactId]]


async def settle_doubts(run: Run, doubts: Mapping[ContactId, ContactState]) -> Again:
    """Settles the doubts of these contacts by what was read of them, or is now; what of this run may be sent once more,
    by action and tags."""
    again: Again = {}
    await _judge_again(run, doubts, again)
    unread = {contact: known for contact, known in doubts.items() if not is_decidable(known, run.facts)}
    if not run.can_read or not unread:
        return again
    last = max(known.doubt_at or run.now() for known in unread.values())
    if (wait := last + run.options.settle_ms - run.now()) > 0:
        await run.gate.pause(wait, f"what is in doubt settles: then {len(unread):,} contacts are read")
    await settle_by_search(run, unread)
    readings = Readings()
    contacts = sorted(contact for contact in unread if run.state_of(contact).doubt)
    done = len(unread) - len(contacts)
    for start in range(0, len(contacts), CHUNK):
        chunk = contacts[start : start + CHUNK]
        await read_contacts(run, chunk, readings, done=done + start, total=len(unread))
        await _take_in(run, chunk, readings, again)
    if readings.blind:
        run.progress.add_note(f"what is in doubt stays held: {readings.blind}")
    # a later contact may have told what an earlier one was held for
    await _judge_again(run, contacts, again)
    _reject(run, readings.missing)
    run.rates.count_readings(readings.answered, len(readings.absent))
    run.halt_if_wrong()
    run.gate.raise_if_halted()
    return again


async def _judge_again(run: Run, contacts: Iterable[ContactId], again: Again) -> None:
    """Settles what a kept reading decides, by what is known of the location now."""
    readings = Readings()
    for contact in sorted(contacts):
        known = run.state_of(contact)
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
    run.save_states(changed)


async def _settled(run: Run, contact: ContactId, reading: ContactReading, again: Again) -> ContactState:
    known = run.state_of(contact)
    adds = run.adds_in_doubt(contact, known.doubt)
    tried = run.doubts.tags_tried(contact)
    untouched = _untouched(run, contact, reading, adds - reading.tags - tried)
    # who is told to stop asks nothing more: what was read is kept, and decided by the next run
    moves = await moves_date(run) if untouched and run.gate.error is None else None
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
    trail = run.trail_of(contact)
    untouched = set()
    for tag in missing:
        since = first_doubt(contact, tag, trail)
        slack = SLACK_MS if since is not None and since >= run.began else SLACK_ELSEWHERE_MS
        if is_untouched(reading, since, slack_ms=slack):
            untouched.add(tag)
    return frozenset(untouched)


def _book(run: Run, contact: ContactId, found: Settled, adds: TagSet, again: Again) -> None:
    ours = run.outcomes.tags_with(contact, Outcome.IN_DOUBT)
    run.outcomes.set_outcome(contact, found.seen, Outcome.SEEN)
    run.doubts.add_proven(contact, found.again & adds)
    if freed := found.again & run.outcomes.tags_with(contact, Outcome.HELD):
        # held by this run until it knew better: planned anew
        run.outcomes.set_outcome(contact, freed, Outcome.NOT_SENT)
        run.doubts.add_tried(contact, freed)
    for action, tags in ((Action.ADD, found.again & adds & ours), (Action.REMOVE, (found.again - adds) & ours)):
        if tags:
            run.outcomes.set_outcome(contact, tags, Outcome.NOT_SENT)
            run.doubts.add_tried(contact, tags)
            again.setdefault((action, tags), []).append(contact)
    _spoil(run, contact, found.held & adds, Outcome.HELD, _WHY[Action.ADD])
    _spoil(run, contact, found.held - adds, Outcome.HELD, _WHY[Action.REMOVE])
    run.doubts.remove(contact)


_WHY = {
    Action.ADD: "not there when it was read; it may have been, and nothing proves that it was not",
    Action.REMOVE: "still there when it was read, after it was sent twice",
}


def _reject(run: Run, missing: Mapping[ContactId, Rejection]) -> None:
    """Contacts that are not there to be read."""
    for contact, why in missing.items():
        known = run.state_of(contact)
        _spoil(run, contact, known.doubt, Outcome.REJECTED, f"not found when it was read: {why}")
        run.progress.add_rejected({contact: known})
        lost = record_absence(known, why, run.now(), membership=run.desired.membership(contact))
        run.location_book.observed.update({contact: lost})
        run.doubts.remove(contact)


def hold_unsettled(run: Run) -> None:
    """Books what earlier runs left in doubt, and this one could not settle: it may have died before it told of it."""
    for listed in run.plan.held:
        if listed.why == IN_DOUBT:
            for contact in run.doubts.sought.intersection(listed.contacts) - run.outcomes.rejected:
                told = run.outcomes.tags_with(contact, *Outcome)
                doubt = run.state_of(contact).doubt.intersection(listed.tags) - told
                _spoil(run, contact, doubt, Outcome.HELD, "an earlier run sent it, and it could not be read")


def disbelieve_absences(run: Run) -> None:
    """Books as in doubt again what was in doubt on contacts that were refused, or said not to be there."""
    for contact, known in run.progress.rejected.items():
        doubt = known.doubt & run.outcomes.tags_with(contact, Outcome.REJECTED)
        _spoil(run, contact, doubt, Outcome.IN_DOUBT, "the contact is said not to be there, which is not believed")


def _spoil(run: Run, contact: ContactId, doubt: TagSet, outcome: Outcome, why: str) -> None:
    """What is in doubt on the contact did not end well; told as what was sent, be it to add or to remove.

    Removals wait for what is to be there, whatever was sent.
    """
    wanted, added = run.adds_in_doubt(contact, doubt), _sent_to_add(run, contact, doubt)
    for action, sent in ((Action.ADD, added), (Action.REMOVE, doubt - added)):
        for tags, awaited in ((sent & wanted, True), (sent - wanted, False)):
            if tags:
                run.outcomes.record_failure(contact, action, tags, outcome, why, awaited=awaited)


def _sent_to_add(run: Run, contact: ContactId, doubt: TagSet) -> TagSet:
    """Those of the tags in doubt that were sent to be added: by this run, or an earlier one, as the journal tells."""
    ours = run.doubts.sent_to(contact)
    others = doubt - ours.adds - ours.removes
    told = sent_to_add(contact, others, run.trail_of(contact)) if others else {}
    wanted = run.adds_in_doubt(contact, others)
    return (doubt & ours.adds) | frozenset(tag for tag in others if told.get(tag, tag in wanted))


async def take_up_earlier_runs(run: Run) -> bool:
    """What earlier runs added or left in doubt; whether that, or what is known, is not what the plan was made on."""
    before = _added_before(run)
    _take_as_done(run, before)
    # what undoes a run leaves the doubts of others to them
    left = _left_behind(run) if run.reversal is None else {}
    _hold_what_was_tried(run, before, besides=left)
    if not left:
        return bool(before) or run.location_book.state.serial != run.plan.serial
    if run.can_read:
        run.doubts.set_sought(left)
    await settle_doubts(run, {contact: run.state_of(contact) for contact in left})
    _hold_what_was_tried(run, before)
    return True


def _added_before(run: Run) -> list[BatchRecord]:
    """The additions that earlier runs of the same plan sent."""
    batches = (batch for earlier in run.earlier for batch in run.batches_of(earlier))
    return [batch for batch in batches if batch.action is Action.ADD]


def _take_as_done(run: Run, before: Iterable[BatchRecord]) -> None:
    """What an earlier run of the same plan added is not added again, though a workflow may have consumed it since."""
    for contact, tags in _still_approved(run, before, _ended_well):
        run.outcomes.set_outcome(contact, tags, Outcome.NOOP)


def _hold_what_was_tried(run: Run, before: Iterable[BatchRecord], *, besides: Container[ContactId] = ()) -> None:
    """What an earlier run of the same plan may have added is not added again, whoever asks to retry what is held.

    Only a proof of this run that it never landed lets it go. `besides`: not yet read.
    """
    for contact, tags in _still_approved(run, before, is_unclear):
        if contact not in besides:
            _hold(run, contact, tags - run.doubts.tags_proven(contact))


def _hold(run: Run, contact: ContactId, tried: TagSet) -> None:
    known = run.state_of(contact)
    gone = tried - ((known.observed or NONE) - known.doubt)
    # what was not put back was asked for first by that run, and seen since
    landed = gone & (known.ledger - known.unconfirmed - known.doubt) - {tag for tag, _ in known.restored}
    run.outcomes.set_outcome(contact, (tried - gone) | landed, Outcome.NOOP)
    if held := gone - landed:
        run.outcomes.record_failure(contact, Action.ADD, held, Outcome.HELD, _TRIED)


_TRIED = "an earlier run of this plan sent it, and no reading proves that it had no effect: a new plan may add it"


def _still_approved(
    run: Run, before: Iterable[BatchRecord], ended: Callable[[Answer], bool]
) -> Iterator[tuple[ContactId, TagSet]]:
    """The additions that ended so, and that the plan has or allows and nothing was said of yet."""
    spent = run.outcomes.spent
    for batch in before:
        for contact, answer in batch.answers.items():
            if ended(answer):
                approved = run.limit.adds.get(contact, NONE) | run.outcomes.tags_with(contact, Outcome.NOT_SENT)
                if tags := approved.intersection(batch.tags) - spent.get(contact, NONE):
                    yield contact, tags


def _ended_well(answer: Answer) -> bool:
    return answer.verdict is not None and answer.verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)


def _left_behind(run: Run) -> dict[ContactId, ContactState]:
    """What earlier runs left in doubt, and a reading settles: one to be made, or one that was kept."""
    options, observed = run.options, run.location_book.observed
    unread = open_doubts(observed, run.desired, settle_ms=options.settle_ms, now=options.now)
    return unread | find_decidable(run)


def find_decidable(run: Run) -> dict[ContactId, ContactState]:
    # what undoes a run leaves the doubts of others to them
    if run.reversal is not None:
        return {}
    return decidable_doubts(run.location_book.observed, run.desired, run.facts, run.options.now)
