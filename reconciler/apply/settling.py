"""Reading what is in doubt, and doing what the readings allow.

Rules
1. Nothing is read before the doubtful request can no longer land.
2. A token that may not read contacts leaves everything held, and the run goes on.
3. What a reading tells is durable before anything is sent on it.
4. A contact that the API does not have is gone; one that may not be seen, though others may, is another location's.
   Both are rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.apply.learning import date_tells
from reconciler.apply.reading import Readings, read_contacts
from reconciler.apply.run import Doubt, Run
from reconciler.core.alias import spelling
from reconciler.core.names import ContactId, TagSet
from reconciler.core.observed import Known
from reconciler.core.outcome import Action, Outcome, Rejection
from reconciler.core.settling import (
    SLACK_ELSEWHERE_MS,
    SLACK_MS,
    Reading,
    Settled,
    first_doubt,
    is_untouched,
    lost_sight_of,
    settle,
)

CHUNK = 200
"""So many contacts are read before what they told is made durable."""

NONE: TagSet = frozenset()


Again = dict[tuple[Action, TagSet], list[ContactId]]


async def settle_doubts(run: Run, doubts: Mapping[ContactId, Known]) -> Again:
    """Reads these contacts and takes in what that tells; what of this run may be sent once more, by action and tags."""
    again: Again = {}
    if run.world.reader is None or not doubts:
        return again
    last = max(known.doubt_at or run.now() for known in doubts.values())
    if (wait := last + run.options.settle_ms - run.now()) > 0:
        await run.pause(wait, f"what is in doubt settles: then {len(doubts):,} contacts are read")
    readings = Readings()
    contacts = sorted(doubts)
    for start in range(0, len(contacts), CHUNK):
        chunk = contacts[start : start + CHUNK]
        await read_contacts(run, chunk, readings, done=start, total=len(contacts))
        await _take_in(run, chunk, readings, again)
    if readings.blind:
        run.note(f"what is in doubt stays held: {readings.blind}")
    return again


async def _take_in(run: Run, contacts: Iterable[ContactId], readings: Readings, again: Again) -> None:
    changed: dict[ContactId, Known] = {}
    for contact in contacts:
        if contact in readings.found:
            changed[contact] = await _settled(run, contact, readings.found.pop(contact), again)
        elif contact in readings.missing:
            _reject(run, contact, readings.missing.pop(contact))
        elif contact in readings.forbidden and readings.saw_any and not readings.blind:
            _reject(run, contact, Rejection.FOREIGN)
    if changed:
        run.world.store.learn(run.tenure.lease, changed)
        run.state.observed.update(changed)


async def _settled(run: Run, contact: ContactId, reading: Reading, again: Again) -> Known:
    known = run.state.observed[contact]
    adds = _adds(run, contact, known.doubt)
    tried = run.tried.get(contact, NONE)
    carried = spelt(run, contact, known.doubt, reading.tags)
    proven = await _proven(run, contact, reading, adds - carried - tried)
    found = settle(known, reading, adds, carried=carried, proven=proven, tried=tried, settle_ms=run.options.settle_ms)
    _book(run, contact, found, adds, again)
    return found.known


def spelt(run: Run, contact: ContactId, doubt: TagSet, tags: TagSet) -> TagSet:
    """What was read, in the spellings that were sent."""
    known = spelling(run.facts.aliases, run.desired.want(contact).present).read(Known(tags), doubt)
    return (known.observed or NONE) | tags


def _adds(run: Run, contact: ContactId, doubt: TagSet) -> TagSet:
    """The tags in doubt that are to be there: as this run sent them, else as is desired."""
    ours = run.doubtful.get(contact, Doubt())
    return (doubt & ours.adds) | ((doubt - ours.removes) & frozenset(run.desired.want(contact).present))


async def _proven(run: Run, contact: ContactId, reading: Reading, missing: TagSet) -> TagSet:
    """The additions that may be sent once more."""
    if not missing or not await date_tells(run):
        return NONE
    trail = [batch for _, batch in run.world.store.trail(run.location, contact)]
    proven = set()
    for tag in missing:
        since = first_doubt(contact, tag, trail)
        slack = SLACK_MS if since is not None and since >= run.began else SLACK_ELSEWHERE_MS
        if is_untouched(reading, since, slack_ms=slack):
            proven.add(tag)
    return frozenset(proven)


def _book(run: Run, contact: ContactId, found: Settled, adds: TagSet, again: Again) -> None:
    ours = run.tally.tags(contact, Outcome.IN_DOUBT)
    run.tally.put(contact, found.seen, Outcome.SEEN)
    run.proven[contact] = run.proven.get(contact, NONE) | (found.again & adds)
    for action, tags in ((Action.ADD, found.again & adds & ours), (Action.REMOVE, (found.again - adds) & ours)):
        if tags:
            run.tally.put(contact, tags, Outcome.NOT_SENT)
            run.tried[contact] = run.tried.get(contact, NONE) | tags
            again.setdefault((action, tags), []).append(contact)
    for action, tags in ((Action.ADD, found.held & adds), (Action.REMOVE, found.held - adds)):
        if tags:
            run.tally.spoil(contact, action, tags, Outcome.HELD, _WHY[action])
    run.doubtful.pop(contact, None)


_WHY = {
    Action.ADD: "not there when it was read; it may have been, and nothing proves that it was not",
    Action.REMOVE: "still there when it was read, after it was sent twice",
}


def _reject(run: Run, contact: ContactId, why: Rejection) -> None:
    """A contact that is not there to be read."""
    known = run.state.observed[contact]
    run.rejected[contact] = known
    lost = lost_sight_of(known, why, run.now(), membership=run.desired.membership(contact))
    run.state.observed.update({contact: lost})
    run.tally.spoil(contact, Action.REMOVE, known.doubt, Outcome.REJECTED, f"not found when it was read: {why}")
    run.doubtful.pop(contact, None)
