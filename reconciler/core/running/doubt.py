"""How a reading, or a row of a search, settles the pairs in doubt on a contact, and which of the two is cheaper. Pure.

Rules
1. A doubt is settled by a reading once its request can no longer take effect: `is_open` tells where that may help.
2. As desired: seen. A removal that did not happen may be sent once more.
3. An addition that is not there may have been, and been consumed by a workflow. It may be sent once more only where
   `dateUpdated` proves the contact untouched since before the request, and tag writes are known to move that date here.
4. Where that habit is not known yet, the addition is held with the reading, which decides as soon as it is: by a known
   write of this run, or by a contact that still reads as an earlier one left it.
5. Times are compared on the server's clock: an answer that was served at S and arrived at A tells that an instant T of
   ours was S - A + T there, or later.
6. An index that lags can hide a tag that was added, and show one that was removed lately. So a row shows an add to have
   come to be where the row is younger than the request; and where the tag was seen absent so long ago that the row
   cannot be from before that. Nothing else follows from a row: removals in doubt, and adds that no row shows, are
   settled by reading.
7. The cheaper way is the one that takes less time at the rate limit: a page follows the one before, reads do not wait
   for one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import LocationFacts, Rate, duration
from reconciler.core.model.contact_changes import confirm_adds, disown_adds, not_among, record_observation
from reconciler.core.model.contact_state import (
    NONE,
    ContactReading,
    ContactState,
    ContactStates,
    Doubt,
    ObservationOrigin,
)
from reconciler.core.model.journal import Answer, BatchRecord
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS, count_pages, estimate_cost

SLACK_MS = 2_000
"""How far apart two readings of one clock may be: the server tells its time in whole seconds."""

SLACK_ELSEWHERE_MS = 60_000
"""How far the clock of the machine that an earlier run was on may be from ours."""

_UNCLEAR = (Outcome.IN_DOUBT, Outcome.HELD)


def is_open(known: ContactState, settle_ms: int) -> bool:
    """Whether a reading could settle the doubt: none was made since its request could take effect."""
    if known.doubt is None:
        return False
    return known.observation is None or known.observation.at < known.doubt.sent + settle_ms


def is_decidable(known: ContactState, facts: LocationFacts) -> bool:
    """Whether the reading that did not decide the doubt does so by the location's habits, as they are known now."""
    return known.doubt is not None and known.doubt.reading is not None and facts.moves_updated is True


def open_doubts(
    observed: ContactStates, desired: Desired, *, settle_ms: int, now: Instant
) -> dict[ContactId, ContactState]:
    """The contacts with doubts that a reading could settle, but for those that the API refused for good."""
    return _doubts(observed, desired, now, lambda known: is_open(known, settle_ms))


def decidable_doubts(
    observed: ContactStates, desired: Desired, facts: LocationFacts, now: Instant
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


def is_untouched(reading: ContactReading, since: Instant | None, *, slack_ms: int = SLACK_MS) -> bool:
    """Whether the contact's date proves that it was not changed since that instant of ours."""
    there = None if since is None else reading.there(since)
    return there is not None and reading.updated is not None and reading.updated + slack_ms < there


def moves_updated(reading: ContactReading, sent: Instant, answered: Instant, left: TagSet) -> bool | None:
    """Whether a write that changed the contact's tags, to these, moved its date; None where that cannot be told."""
    # what is earlier may be from before the request
    return _has_moved(reading, sent, answered, left, early_ms=0, slack_ms=SLACK_MS)


def moved_by_journal(contact: ContactId, reading: ContactReading, trail: Iterable[BatchRecord]) -> bool | None:
    """Whether the last write that is known to have changed the contact moved its date; None where that cannot be told,
    as where the contact does not read as that write left it. `trail`: its batches, in their order."""
    # only the last known write can be compared: it overwrote the date of those before
    left, write = None, None
    for batch in trail:
        verdict = batch.answers[contact].verdict if contact in batch.answers else None
        if verdict is not None and verdict.outcome is Outcome.APPLIED:
            left, write = verdict.observed, batch
    if write is None or write.ended is None:
        return None
    # the other machine's clock may differ more: then it is not known, which harms less than a date that proves too much
    return _has_moved(reading, write.intended, write.ended, left, early_ms=SLACK_MS, slack_ms=SLACK_ELSEWHERE_MS)


def _has_moved(
    reading: ContactReading, sent: Instant, answered: Instant, left: TagSet | None, *, early_ms: int, slack_ms: int
) -> bool | None:
    there = reading.there(sent)
    # of other tags: somebody edits it too and may have moved the date, or it was read from a copy that is behind
    if there is None or reading.updated is None or reading.tags != left:
        return None
    if reading.updated < there - slack_ms:
        return False
    # what is later may be somebody else's
    return True if there - early_ms <= reading.updated <= there + (answered - sent) + SLACK_MS else None


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
    doubt = known.doubtful
    # the location may keep it in a spelling that nobody learnt yet: it is not known to be gone
    seen = (doubt & adds & reading.tags) | not_among(doubt - adds, reading.tags)
    again = ((doubt - adds) | proven) - seen - tried
    held = doubt - seen - again
    read = record_observation(known, reading.tags, at=reading.asked, origin=ObservationOrigin.GET, settle_ms=settle_ms)
    # what is proven never to have been added is not ours so far
    after = confirm_adds(disown_adds(read, again & adds), seen & adds)
    kept = reading if held & undecided else None
    unsettled = Doubt(held, known.doubt.sent, kept) if known.doubt is not None and held else None
    return Settled(seen, again, held, replace(after, doubt=unsettled))


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


PAGE_MS = 1_000
"""How long a page is reckoned to take: the next one is asked for with its cursor."""

EVERYBODY = Tag("")
"""In place of a tag to search for: all contacts of the location."""


def provable_adds(known: ContactState, adds: TagSet, before: TagSet, asked: Instant) -> TagSet:
    """Those of `adds`, all tags in doubt on the contact, that a row asked for then may prove to have come to be.

    `before`: its tags by the observation before, spelt as we send them.
    """
    if known.doubt is None or known.doubt.tags != adds:
        return NONE
    oldest = asked - INDEX_LAG_MS
    # even an index that lags as far as it may has seen the request by then
    if oldest >= known.doubt.sent:
        return adds
    if known.observation is None or known.observation.at > oldest:
        return NONE
    # a tag that was there before may be shown from before: it proves nothing
    return adds - before


def record_search_row(
    known: ContactState, seen: TagSet, tags: TagSet, asked: Instant, *, settle_ms: int
) -> ContactState:
    """The state once a row with these `tags` showed the adds `seen`; the others stay in doubt."""
    at = Instant(asked - INDEX_LAG_MS)
    if known.observation is None or at >= known.observation.at:
        after = record_observation(known, tags, at=at, origin=ObservationOrigin.SEARCH, settle_ms=settle_ms)
    else:
        # of all else the row may tell what was before
        after = replace(known, observation=replace(known.observation, tags=known.observation.tags | seen))
    doubt = None
    if known.doubt is not None and (unsettled := known.doubt.tags - seen):
        doubt = Doubt(unsettled, known.doubt.sent, None if after.doubt is None else after.doubt.reading)
    return replace(confirm_adds(after, seen), doubt=doubt)


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches for one tag each, or for all contacts; `pages`: the requests that they take, as far as is known."""

    tags: tuple[Tag, ...] = ()
    pages: int = 0


def cheapest_searches(groups: Counter[TagSet], observed: ContactStates, sought: TagSet, rate: Rate) -> Searches:
    """The searches that take less time than reading; none where none does.

    `groups`: how many contacts have these adds in doubt; the row of a contact tells of all of them. `sought`: the tags
    that can be searched for.
    """
    by_tag, left = _by_tag(groups, _holders(observed, sought), rate)
    everybody = Searches((EVERYBODY,), count_pages(max(len(observed), groups.total())))
    to_beat = min(searching_ms(by_tag.pages, rate) + duration(left, rate), duration(groups.total(), rate))
    return everybody if searching_ms(everybody.pages, rate) < to_beat else by_tag


def _by_tag(groups: Counter[TagSet], holders: Mapping[Tag, int], rate: Rate) -> tuple[Searches, int]:
    """One tag after the other, most contacts first; and how many contacts are left to be read."""
    left, chosen = Counter(groups), Searches()
    while left:
        shown: Counter[Tag] = Counter()
        for tags, number in left.items():
            shown.update(dict.fromkeys(tags & holders.keys(), number))
        tag = max(sorted(shown), key=shown.__getitem__, default=EVERYBODY)
        # a greedy choice: it ends where the tag that shows the most contacts does not pay
        if searching_ms(number := count_pages(holders.get(tag, 0)), rate) >= duration(shown[tag], rate):
            break
        chosen = Searches((*chosen.tags, tag), chosen.pages + number)
        left = Counter({tags: number for tags, number in left.items() if tag not in tags})
    return chosen, left.total()


def _holders(observed: ContactStates, tags: TagSet) -> dict[Tag, int]:
    """How many contacts a search for each tag may show, as far as is known."""
    # counted by state: a million contacts share a few thousand
    alike = Counter(observed.contacts.values())
    holders = dict.fromkeys(tags, 0)
    for index, known in enumerate(observed.patterns):
        for tag in ((known.observed or NONE) | known.doubtful) & tags:
            holders[tag] += alike[index]
    return holders


def searching_ms(number: int, rate: Rate) -> int:
    return estimate_cost(number, rate, each_ms=PAGE_MS).milliseconds
