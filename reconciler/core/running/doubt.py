"""How a reading settles the pairs in doubt on a contact. Pure.

Rules
1. A doubt is settled by a reading once its request can no longer take effect: `is_open` tells where that may help.
2. As desired: seen. A removal that did not happen may be sent once more.
3. An addition that is not there may have been, and been consumed by a workflow. It may be sent once more only where
   `dateUpdated` proves the contact untouched since before the request, and tag writes are known to move that date here.
4. Where that habit is not known yet, the addition is held with the reading, which decides as soon as it is: by a known
   write of this run, or by a contact that still reads as an earlier one left it.
5. Times are compared on the server's clock: an answer that was served at S and arrived at A tells that an instant T of
   ours was S - A + T there, or later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_changes import confirm_adds, disown_adds, not_among, record_observation
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin, UndecidedReading
from reconciler.core.model.journal import Answer, BatchRecord
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome, Rejection
from reconciler.core.planning.changes import IN_DOUBT
from reconciler.core.planning.plan import LocationPlan

SLACK_MS = 2_000
"""How far apart two readings of one clock may be: the server tells its time in whole seconds."""

SLACK_ELSEWHERE_MS = 60_000
"""How far the clock of the machine that an earlier run was on may be from ours."""

NONE: TagSet = frozenset()
_UNCLEAR = (Outcome.IN_DOUBT, Outcome.HELD)


def is_open(known: ContactState, settle_ms: int) -> bool:
    """Whether a reading could settle the doubt: none was made since its request could take effect."""
    if not known.doubt:
        return False
    return known.observed_at is None or known.doubt_at is None or known.observed_at < known.doubt_at + settle_ms


def is_decidable(known: ContactState, facts: Facts) -> bool:
    """Whether the reading that did not decide the doubt does so by the location's habits, as they are known now."""
    return bool(known.doubt) and known.reading is not None and facts.moves_updated is True


def open_doubts(
    observed: ContactStates, desired: Desired, *, settle_ms: int, now: Instant
) -> dict[ContactId, ContactState]:
    """The contacts with doubts that a reading could settle, but for those that the API refused for good."""
    return _doubts(observed, desired, now, lambda known: is_open(known, settle_ms))


def decidable_doubts(
    observed: ContactStates, desired: Desired, facts: Facts, now: Instant
) -> dict[ContactId, ContactState]:
    """The contacts with doubts that the last reading decides by now, but for those that the API refused for good."""
    return _doubts(observed, desired, now, lambda known: is_decidable(known, facts))


def _doubts(
    observed: ContactStates, desired: Desired, now: Instant, wanted: Callable[[ContactState], bool]
) -> dict[ContactId, ContactState]:
    indexes, sets = {index for index, known in enumerate(observed.patterns) if wanted(known)}, desired.set_names
    return {
        contact: known
        for contact, index in observed.contacts.items()
        if index in indexes
        if not (known := observed.patterns[index]).is_barred(desired.membership(contact), sets, now)
    }


def may_have_work(plan: LocationPlan) -> bool:
    """Whether there are changes to send or record, or doubts to settle."""
    return not plan.is_empty or bool(plan.observations) or any(each.why == IN_DOUBT for each in plan.held)


@dataclass(frozen=True, slots=True)
class ContactReading:
    """A contact as it was read: asked for and answered at these instants. `served`: the server's time then."""

    tags: TagSet
    updated: Instant | None
    asked: Instant
    answered: Instant
    served: Instant | None

    def there(self, ours: Instant) -> Instant | None:
        """The time that the server's clock showed at our instant, at the least."""
        return None if self.served is None else Instant(self.served - self.answered + ours)

    def undecided(self) -> UndecidedReading:
        """The reading as it is kept with a doubt that it does not decide."""
        return UndecidedReading(self.asked, self.answered, self.served, self.updated, self.tags)


def kept_reading(known: ContactState) -> ContactReading | None:
    """The reading that is kept with the doubt; None where there is none."""
    kept = known.reading
    return None if kept is None else ContactReading(kept.tags, kept.updated, kept.asked, kept.answered, kept.served)


def is_untouched(reading: ContactReading, since: Instant | None, *, slack_ms: int = SLACK_MS) -> bool:
    """Whether the contact's date proves that it was not changed since that instant of ours."""
    there = None if since is None else reading.there(since)
    return there is not None and reading.updated is not None and reading.updated + slack_ms < there


def moves_updated(reading: ContactReading, sent: Instant, answered: Instant, left: TagSet) -> bool | None:
    """Whether a write that changed the contact's tags, to these, moved its date; None where that cannot be told."""
    there = reading.there(sent)
    # of other tags: somebody edits it too and may have moved the date, or it was read from a copy that is behind
    if there is None or reading.updated is None or reading.tags != left:
        return None
    if reading.updated < there - SLACK_MS:
        return False
    # what is earlier may be from before the request, what is later somebody else's
    return True if there <= reading.updated <= there + (answered - sent) + SLACK_MS else None


def moved_by_journal(contact: ContactId, reading: ContactReading, trail: Iterable[BatchRecord]) -> bool | None:
    """Whether the last write that is known to have changed the contact moved its date; None where that cannot be told,
    as where the contact does not read as that write left it. `trail`: its batches, in their order."""
    # only the last known write can be compared: it overwrote the date of those before
    left, write = None, None
    for batch in trail:
        verdict = batch.answers[contact].verdict if contact in batch.answers else None
        if verdict is not None and verdict.outcome is Outcome.APPLIED:
            left, write = verdict.observed, batch
    there = None if write is None else reading.there(write.intended)
    if write is None or write.ended is None or there is None or reading.updated is None or reading.tags != left:
        return None
    if reading.updated < there - SLACK_ELSEWHERE_MS:
        return False
    # the other machine's clock may differ more: then it is not known, which harms less than a date that proves too much
    at_the_time = there - SLACK_MS <= reading.updated <= there + (write.ended - write.intended) + SLACK_MS
    return True if at_the_time else None


@dataclass(frozen=True, slots=True)
class Settled:
    """The tags of a contact that were in doubt: as desired, to be sent once more, or held; and its state now."""

    seen: TagSet
    again: TagSet
    held: TagSet
    known: ContactState


def settle_doubt(
    known: ContactState,
    reading: ContactReading,
    adds: TagSet,
    *,
    proven: TagSet,
    undecided: TagSet,
    tried: TagSet,
    settle_ms: int,
) -> Settled:
    """`adds`: the tags that are to be there, of those in doubt. `proven`: that may be added once more; `undecided`:
    that may be, should tag writes turn out to move the date; `tried`: that were sent once more already."""
    doubt = known.doubt
    # the location may keep it in a spelling that nobody learnt yet: it is not known to be gone
    seen = (doubt & adds & reading.tags) | not_among(doubt - adds, reading.tags)
    again = ((doubt - adds) | proven) - seen - tried
    held = doubt - seen - again
    read = record_observation(known, reading.tags, at=reading.asked, origin=ObservationOrigin.GET, settle_ms=settle_ms)
    # what is proven never to have been added is not ours so far
    after = confirm_adds(disown_adds(read, again & adds), seen & adds)
    since, kept = (known.doubt_at, reading.undecided()) if held else (None, None)
    after = replace(after, doubt=held, doubt_at=since, reading=kept if held & undecided else None)
    return Settled(seen, again, held, after)


def record_absence(known: ContactState, why: Rejection, at: Instant, *, membership: frozenset[SetName]) -> ContactState:
    """The state of a contact that is not there to be read; its doubts stay. `membership`: its sets."""
    since = known.quarantined_since or known.quarantined_at or at
    return replace(known, quarantine=why, quarantined_at=at, quarantined_since=since, membership=membership)


def first_doubt(contact: ContactId, tag: Tag, trail: Iterable[BatchRecord]) -> Instant | None:
    """When the first request left that may have added the tag, as the journal tells; None where it does not."""
    mine = [each for each in trail if each.action is Action.ADD and tag in each.tags]
    unclear = [each.intended for each in mine if contact in each.answers and is_unclear(each.answers[contact])]
    return min(unclear, default=None)


def sent_to_add(contact: ContactId, tags: TagSet, trail: Iterable[BatchRecord]) -> dict[Tag, bool]:
    """Whether the last request of unknown effect about each tag was to add it; a tag without one is left out.

    `trail`: the contact's batches, in their order.
    """
    return {
        tag: batch.action is Action.ADD
        for batch in trail
        if contact in batch.answers and is_unclear(batch.answers[contact])
        for tag in tags.intersection(batch.tags)
    }


def is_unclear(answer: Answer) -> bool:
    """Whether the effect of the request is unknown by the answer."""
    return answer.verdict is None or answer.verdict.outcome in _UNCLEAR
