"""Resolving doubts: contacts in doubt are read, and the readings settle them; doubts of earlier runs come first.

Rules
1. Nothing is read before the doubtful request can no longer take effect, nor so soon after the answer to a later one
   that a copy may be behind it. Many contacts are searched for first.
2. A token that may not read contacts leaves everything held, and the run goes on.
3. A reading is durable before a request is sent because of it.
4. A contact that the API says not to have is rejected, once all are read. Too many of them, and the run stops, believes
   none of these absences, and leaves the doubts as they are.
5. A doubt of an earlier run that this one set out to settle and could not is held in the report of this one.
6. What the answer to a later request tells is not read: a reading so soon after may be behind that answer. As desired:
   seen. An add that it does not show is held, and a removal that did not happen is the next plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress

from reconciler.apply.examine_refused import last_written, learn_from_journal, moves_date
from reconciler.apply.read_contacts import Readings, read_contacts, settle_by_search
from reconciler.apply.run import Run
from reconciler.core.model.contact_changes import not_among, quarantine
from reconciler.core.model.contact_state import NONE, ContactReading, ContactState
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import Answer, BatchRecord
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome, Rejection
from reconciler.core.planning.changes import IN_DOUBT
from reconciler.core.running.doubt import (
    SLACK_ELSEWHERE_MS,
    SLACK_MS,
    Settled,
    decidable_doubts,
    first_doubt,
    is_decidable,
    is_open,
    is_unclear,
    is_untouched,
    open_doubts,
    sent_to_add,
    settle_doubt,
)

CHUNK = 200
"""So many contacts are read before their readings are made durable."""

Again = dict[tuple[Action, TagSet], list[ContactId]]
"""The contacts to which a request of this run may be sent once more, by its action and tags."""


async def settle_doubts(run: Run, doubts: Mapping[ContactId, ContactState]) -> Again:
    """Settles the doubts of these contacts, by readings that were kept or are made now."""
    again: Again = {}
    await _settle_by_kept_readings(run, doubts, again)
    unread = {contact: state for contact, state in doubts.items() if not is_decidable(state, run.facts)}
    await _settle_answered(run, unread)
    if not run.can_read or not unread:
        return again
    last = max(_last_request(run, state) for state in unread.values())
    if (wait := last + run.options.settle_ms - run.now()) > 0:
        read = "1 contact is" if len(unread) == 1 else f"{len(unread):,} contacts are"
        await run.gate.pause(wait, f"what is in doubt settles: then {read} read")
    await settle_by_search(run, unread)
    readings = Readings()
    contacts = sorted(contact for contact in unread if run.state_of(contact).doubtful)
    done = len(unread) - len(contacts)
    for start in range(0, len(contacts), CHUNK):
        chunk = contacts[start : start + CHUNK]
        await read_contacts(run, chunk, readings, done=done + start, total=len(unread))
        await _settle_by_readings(run, readings.found, again)
    if readings.blind:
        run.progress.add_note(f"what is in doubt stays held: {readings.blind}")
    # a contact may have been held only since nobody knew whether a write moves the date: a later one may have shown it
    await _settle_by_kept_readings(run, contacts, again)
    await _reject_missing(run, readings.missing)
    run.rates.count_readings(readings.answered, len(readings.absent))
    run.halt_if_wrong()
    run.gate.raise_if_halted()
    return again


def _last_request(run: Run, state: ContactState) -> Instant:
    """When the contact's last doubtful request left, or a later one was answered."""
    return run.now() if state.doubt is None else max(state.doubt.sent, last_written(state))


async def _settle_answered(run: Run, unread: dict[ContactId, ContactState]) -> None:
    """Settles the doubts of contacts that an answer has shown since, and removes these from `unread`."""
    for contact, state in tuple(unread.items()):
        if not is_open(state, run.options.settle_ms):
            await _record_answered(run, contact, state)
            del unread[contact]


async def _record_answered(run: Run, contact: ContactId, state: ContactState) -> None:
    there, sent = state.observed or NONE, run.doubts.sent_to(contact)
    ended = (sent.adds | sent.removes) & run.outcomes.tags_with(contact, Outcome.IN_DOUBT) - state.doubtful
    adds = run.adds_in_doubt(contact, ended)
    run.outcomes.set_outcome(contact, (adds - not_among(adds, there)) | not_among(ended - adds, there), Outcome.SEEN)
    await _record_failure(run, contact, state.doubtful, Outcome.HELD, _WHY_ANSWERED)
    run.doubts.remove(contact)


async def _settle_by_kept_readings(run: Run, contacts: Iterable[ContactId], again: Again) -> None:
    """A reading may have been kept until it was known whether a write moves the date."""
    states = {contact: run.state_of(contact) for contact in contacts}
    doubts = {contact: state.doubt for contact, state in states.items() if is_decidable(state, run.facts)}
    readings = {contact: doubt.reading for contact, doubt in doubts.items() if doubt and doubt.reading}
    await _settle_by_readings(run, readings, again)


async def _settle_by_readings(run: Run, readings: dict[ContactId, ContactReading], again: Again) -> None:
    """Uses the readings up."""
    await learn_from_journal(run, readings)
    contacts = sorted(readings)
    await run.save_states({contact: await _settle_one(run, contact, readings[contact], again) for contact in contacts})
    readings.clear()


async def _settle_one(run: Run, contact: ContactId, reading: ContactReading, again: Again) -> ContactState:
    state = run.state_of(contact)
    adds = run.adds_in_doubt(contact, state.doubtful)
    tried = run.doubts.tags_tried(contact)
    untouched = await _untouched(run, contact, reading, adds - reading.tags - tried)
    # a run that was told to stop asks nothing more: the reading is kept, and the next run decides by it
    moves = await moves_date(run) if untouched and run.gate.error is None else None
    settled = settle_doubt(
        state,
        reading,
        adds,
        proven=untouched if moves else NONE,
        undecided=untouched if moves is None else NONE,
        tried=tried,
        settle_ms=run.options.settle_ms,
    )
    await _record_settled(run, contact, settled, adds, again)
    return settled.known


async def _untouched(run: Run, contact: ContactId, reading: ContactReading, missing: TagSet) -> TagSet:
    """The additions that may be sent once more, if a tag write moves the date."""
    if not missing:
        return NONE
    trail = await run.trail_of(contact)
    since = {tag: first_doubt(contact, tag, trail) for tag in missing}

    def slack_ms(sent: Instant | None) -> int:
        # an earlier run may have dated its request by the clock of another machine
        return SLACK_MS if sent is not None and sent >= run.began else SLACK_ELSEWHERE_MS

    return frozenset(tag for tag, sent in since.items() if is_untouched(reading, sent, slack_ms=slack_ms(sent)))


async def _record_settled(run: Run, contact: ContactId, settled: Settled, adds: TagSet, again: Again) -> None:
    ours = run.outcomes.tags_with(contact, Outcome.IN_DOUBT)
    run.outcomes.set_outcome(contact, settled.seen, Outcome.SEEN)
    run.doubts.add_proven(contact, settled.again & adds)
    if freed := settled.again & run.outcomes.tags_with(contact, Outcome.HELD):
        # this run held the pairs before it could prove that nothing came of the request: the next round plans them anew
        run.outcomes.set_outcome(contact, freed, Outcome.NOT_SENT)
        run.doubts.add_tried(contact, freed)
    # only pairs that this run sent: those of an earlier run are for the rounds, which plan anew
    for action, tags in ((Action.ADD, settled.again & adds & ours), (Action.REMOVE, (settled.again - adds) & ours)):
        if tags:
            run.outcomes.set_outcome(contact, tags, Outcome.NOT_SENT)
            run.doubts.add_tried(contact, tags)
            again.setdefault((action, tags), []).append(contact)
    await _record_failure(run, contact, settled.held & adds, Outcome.HELD, _WHY_HELD[Action.ADD])
    await _record_failure(run, contact, settled.held - adds, Outcome.HELD, _WHY_HELD[Action.REMOVE])
    run.doubts.remove(contact)


_WHY_ANSWERED = "not there when a later request was answered; it may have been, and nothing proves that it was not"
_WHY_HELD = {
    Action.ADD: "not there when it was read; it may have been, and nothing proves that it was not",
    Action.REMOVE: "still there when it was read, after it was sent twice",
}


async def _reject_missing(run: Run, missing: Mapping[ContactId, Rejection]) -> None:
    for contact, why in missing.items():
        before = run.state_of(contact)
        await _record_failure(run, contact, before.doubtful, Outcome.REJECTED, f"not found when it was read: {why}")
        run.progress.add_rejected({contact: before})
        # in memory only: the quarantine is durable at the end of the run, once the absences are believed
        after = quarantine(before, why, run.now(), run.desired.membership(contact))
        run.observed.update({contact: after})
        run.doubts.remove(contact)


async def hold_unsettled(run: Run) -> None:
    """Reports the doubts of earlier runs that this one could not settle as held."""
    for listed in run.plan.held:
        if listed.why == IN_DOUBT:
            for contact in run.doubts.sought.intersection(listed.contacts) - run.outcomes.rejected:
                # the earlier run may have been killed before it reported the doubt
                reported = run.outcomes.tags_with(contact, *Outcome)
                doubt = run.state_of(contact).doubtful.intersection(listed.tags) - reported
                await _record_failure(
                    run, contact, doubt, Outcome.HELD, "an earlier run sent it, and it could not be read"
                )


async def disbelieve_absences(run: Run) -> None:
    """Reports doubts on contacts that were refused, or said not to be there, as doubts again."""
    why = "the contact is said not to be there, which is not believed"
    for contact, before in run.progress.rejected.items():
        doubt = before.doubtful & run.outcomes.tags_with(contact, Outcome.REJECTED)
        await _record_failure(run, contact, doubt, Outcome.IN_DOUBT, why)


async def _record_failure(run: Run, contact: ContactId, doubt: TagSet, outcome: Outcome, why: str) -> None:
    """Reports a doubt that did not end well by the action that was sent."""
    wanted, added = run.adds_in_doubt(contact, doubt), await _tags_sent_to_add(run, contact, doubt)
    for action, sent in ((Action.ADD, added), (Action.REMOVE, doubt - added)):
        # removals wait for every tag that is to be there, be it that an earlier run sent its removal
        for tags, awaited in ((sent & wanted, True), (sent - wanted, False)):
            if tags:
                run.outcomes.record_failure(contact, action, tags, outcome, why, awaited=awaited)


async def _tags_sent_to_add(run: Run, contact: ContactId, doubt: TagSet) -> TagSet:
    """The tags in doubt that this run sent to be added, or an earlier one did, by the journal."""
    ours = run.doubts.sent_to(contact)
    earlier = doubt - ours.adds - ours.removes
    added: Mapping[Tag, bool] = {}
    if earlier:
        # a state that broke must not cost the report
        with suppress(StateError):
            added = sent_to_add(contact, earlier, await run.trail_of(contact))
    # of a request whose rows cannot be read, or were pruned, the journal tells nothing: it was sent as it is desired
    wanted = run.adds_in_doubt(contact, earlier)
    return (doubt & ours.adds) | frozenset(tag for tag in earlier if added.get(tag, tag in wanted))


async def take_up_earlier_runs(run: Run) -> bool:
    """Takes the additions and the doubts of earlier runs into account; whether the plan is to be made anew."""
    sent = await _adds_of_earlier_runs(run)
    _count_as_done(run, sent)
    doubts = _find_open_doubts(run) if run.reversal is None else {}
    _hold_tried(run, sent, unread=doubts)
    if not doubts:
        return bool(sent) or run.location_book.state.serial != run.plan.serial
    if run.can_read:
        run.doubts.set_sought(doubts)
    await settle_doubts(run, {contact: run.state_of(contact) for contact in doubts})
    _hold_tried(run, sent)
    return True


async def _adds_of_earlier_runs(run: Run) -> list[BatchRecord]:
    """The additions that earlier runs of the same plan sent."""
    batches = [batch for earlier in run.earlier for batch in await run.batches_of(earlier)]
    return [batch for batch in batches if batch.action is Action.ADD]


def _count_as_done(run: Run, sent: Iterable[BatchRecord]) -> None:
    """A tag that an earlier run of the plan added is not added again, though a workflow may have consumed it since."""
    for contact, tags in _still_approved(run, sent, _ended_well):
        run.outcomes.set_outcome(contact, tags, Outcome.NOOP)


def _hold_tried(run: Run, sent: Iterable[BatchRecord], *, unread: Container[ContactId] = ()) -> None:
    """A tag that an earlier run of the plan may have added is not added again, `--retry-held` or not."""
    for contact, tags in _still_approved(run, sent, is_unclear):
        if contact not in unread:
            # only a proof of this run that the request had no effect lets the tag go
            _hold_unproven(run, contact, tags - run.doubts.tags_proven(contact))


def _hold_unproven(run: Run, contact: ContactId, tried: TagSet) -> None:
    state = run.state_of(contact)
    absent = tried - ((state.observed or NONE) - state.doubtful)
    # a confirmed pair of the ledger was seen there; unless it is a restored one, only that run can have added it
    put_back = {tag for tag, _ in state.past_adds.restored}
    consumed = absent & (state.ledger.tags - state.ledger.unconfirmed - state.doubtful) - put_back
    run.outcomes.set_outcome(contact, (tried - absent) | consumed, Outcome.NOOP)
    if held := absent - consumed:
        run.outcomes.record_failure(contact, Action.ADD, held, Outcome.HELD, _WHY_TRIED)


_WHY_TRIED = "an earlier run of this plan sent it, and no reading proves that it had no effect: a new plan may add it"


def _still_approved(
    run: Run, sent: Iterable[BatchRecord], ended: Callable[[Answer], bool]
) -> Iterator[tuple[ContactId, TagSet]]:
    """The additions that ended so, that the plan has or allows, and that the report does not tell of yet."""
    spent = run.outcomes.spent
    for batch in sent:
        for contact, answer in batch.answers.items():
            if ended(answer):
                approved = run.limit.adds.get(contact, NONE) | run.outcomes.tags_with(contact, Outcome.NOT_SENT)
                if tags := approved.intersection(batch.tags) - spent.get(contact, NONE):
                    yield contact, tags


def _ended_well(answer: Answer) -> bool:
    return answer.verdict is not None and answer.verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)


def _find_open_doubts(run: Run) -> dict[ContactId, ContactState]:
    """The doubts of earlier runs that a reading settles, be it one to be made, or one that was kept."""
    options, observed = run.options, run.observed
    unread = open_doubts(observed, run.desired, settle_ms=options.settle_ms, now=options.now)
    return unread | find_decidable(run)


def find_decidable(run: Run) -> dict[ContactId, ContactState]:
    """The doubts that a kept reading settles now."""
    # a run that undoes another one leaves the doubts of others alone: they are none of its pairs
    if run.reversal is not None:
        return {}
    return decidable_doubts(run.observed, run.desired, run.facts, run.options.now)
