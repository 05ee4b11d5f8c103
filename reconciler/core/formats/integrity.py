"""Whether a location's state hangs together: the laws that every state of ours obeys; and which may replace it. Pure.

The checks look at patterns, not at contacts one by one, and name a few contacts of each fault.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from reconciler.core.formats.state_json import Portable
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.contact_state import ContactReading, ContactState
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import BatchRecord, BatchStatus, RunLog, RunStatus
from reconciler.core.model.names import ContactId, Instant, Tag, alike_but_for_spelling, normalise_tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.people import Snapshot
from reconciler.core.model.state_fields import name_faults, state_fields

TOLERANCE_MS = 300_000
"""How far two machines' clocks may be apart."""

_LINEAGE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def verify(portable: Portable, *, now: Instant) -> tuple[str, ...]:
    """The faults, a line each."""
    state = portable.state
    lines = [] if _LINEAGE.fullmatch(state.lineage or "") else [f"the lineage {state.lineage!r} is none"]
    lines += [f"set {name!r} has a size of {size}" for name, size in state.set_sizes.items() if size < 0]
    lines += _of_facts(state.facts)
    for name, snapshot in portable.snapshots.items():
        lines += [f"the snapshot of set {name!r}: {text}" for text in _of_snapshot(snapshot, now)]
    # a million contacts share a few thousand states: each is checked once
    where: defaultdict[int, list[ContactId]] = defaultdict(list)
    for contact, index in state.observed.contacts.items():
        where[index].append(contact)
    for index, contacts in where.items():
        lines += name_faults(contacts, _of_contact(state.observed.patterns[index], now))
    return (*lines, *_of_runs(portable.runs, now))


def _of_facts(facts: LocationFacts) -> Iterator[str]:
    for what, limit in (("contacts", facts.max_contacts), ("tags", facts.max_tags)):
        if limit is not None and limit < 1:
            yield f"a request may hold {limit} {what}"
    if facts.limits_at is not None and facts.max_contacts is None and facts.max_tags is None:
        yield "a time at which limits were learnt, and no limit"
    for sent, back in facts.aliases:
        # an alias leads from one spelling to another; from or to itself it would rename nothing
        if sent == back or not _is_normal(sent) or not _is_normal(back):
            yield f"the alias {sent!r} of {back!r} is none"
    if len(dict(facts.aliases)) < len(facts.aliases):
        yield "one tag has several aliases"
    if sorted({row.name for row in facts.tried}) != [row.name for row in facts.tried]:
        yield "rows of a trial that are not sorted, or twice there"


def _of_snapshot(snapshot: Snapshot, now: Instant) -> Iterator[str]:
    contacts, counts = snapshot.contacts, snapshot.counts
    # each before the next: sorted, and no contact twice
    if any(one >= next_one for one, next_one in pairwise(contacts)):
        yield "contacts that are not sorted, or twice there"
    if not 0 <= snapshot.as_of <= now + TOLERANCE_MS:
        yield "pulled at a time that is yet to come"
    classes = (counts.matched, counts.not_found, counts.ambiguous, counts.duplicate, counts.malformed)
    if sum(classes) != counts.rows or counts.kept > counts.matched:
        yield "rows that its classes do not add up to"
    if not snapshot.missing.keys() <= set(contacts):
        yield "contacts that are not shown, and are not among its own"


def _of_contact(state: ContactState, now: Instant) -> Iterator[str]:
    ledger, refused = state.ledger, state.quarantine
    restored, spent = dict(state.past_adds.restored), dict(state.past_adds.spent)
    # a pair leaves `kept`, `restored` and `unconfirmed` together with the ledger
    if not ledger.kept <= ledger.tags:
        yield "tags to be kept on leaving are not under management"
    if not restored.keys() <= ledger.tags:
        yield "tags that were put back, and are not under management"
    if not ledger.unconfirmed <= ledger.tags:
        yield "tags whose adds are unconfirmed, and which are not under management"
    if refused is not None and refused.since is not None and refused.since > refused.at:
        yield "first refused after it was last refused"
    # the table of pairs is read as a mapping: a tag twice would lose a date
    if len(spent) < len(state.past_adds.spent):
        yield "one tag was given before at several times"
    for event, moment in _moments(state):
        if not 0 <= moment <= now + TOLERANCE_MS:
            yield f"{event} at a time that is yet to come"
    spelt = (state.observed or frozenset()) | ledger.tags | state.doubtful | restored.keys() | spent.keys()
    # two spellings of one tag would be planned as two tags
    odd = sorted(tag for tag in spelt if not _is_normal(tag))
    if odd:
        yield f"tags that are not in their one spelling, such as {odd[0]!r}"


def _moments(state: ContactState) -> Iterator[tuple[str, Instant]]:
    """Every time of a state with its event."""
    for field, value in state_fields(state):
        event = field.stored.event
        match value:
            case int() if event:
                yield event, Instant(value)
            case tuple():
                yield from ((event, at) for _, at in value)
            case ContactReading():
                yield event, value.asked


def _is_normal(tag: Tag) -> bool:
    return normalise_tag(tag) == tag


def _of_runs(runs: tuple[RunLog, ...], now: Instant) -> Iterator[str]:
    for run, times in Counter(log.record.id for log in runs).items():
        if times > 1:
            yield f"run {run} is there {times} times"
    for place, log in enumerate(runs):
        record, last = log.record, place == len(runs) - 1
        if record.status is RunStatus.RUNNING and not last:
            yield f"run {record.id} is said to be running, and later ones began"
        if record.ended is not None and record.ended < record.header.started:
            yield f"run {record.id} ended before it began"
        # a run that a signal ended wrote down its end, one that was killed did not
        may_end = record.status is not RunStatus.RUNNING
        may_go_on = record.status in (RunStatus.RUNNING, RunStatus.INTERRUPTED)
        if not (may_go_on if record.ended is None else may_end):
            yield f"run {record.id} is {record.status}, which does not go with its end"
        if record.header.started > now + TOLERANCE_MS:
            yield f"run {record.id} began at a time that is yet to come"
        # rows that are wrong alike are told once a batch
        for number, batch in enumerate(log.batches, start=1):
            for text in set(_of_batch(batch, last=last)):
                yield f"run {record.id}, batch {number}: {text}"


def _of_batch(batch: BatchRecord, *, last: bool) -> Iterator[str]:
    if not batch.tags:
        yield "no tags"
    if batch.status is BatchStatus.INTENDED and not last:
        yield "left open, and later runs began"
    if (batch.ended is None) != (batch.status in (BatchStatus.INTENDED, BatchStatus.IN_DOUBT)):
        yield f"{batch.status}, which does not go with its end"
    tags = frozenset(batch.tags)
    for answer in set(batch.answers.values()):
        verdict = answer.verdict
        if (verdict is None) != (batch.status is BatchStatus.INTENDED):
            yield f"{batch.status}, which does not go with its rows"
        if verdict is None:
            continue
        if (verdict.outcome is Outcome.NOT_SENT) != (batch.status is BatchStatus.WITHDRAWN):
            yield f"{batch.status}, and a row {verdict.outcome}"
        mine, other = verdict.added, verdict.removed
        if batch.action is Action.REMOVE:
            mine, other = other, mine
        if other or not alike_but_for_spelling(mine - tags, tags) or (verdict.outcome is Outcome.APPLIED) != bool(mine):
            yield "a row that does not go with what was asked"


def accept(present: Portable, new: Portable) -> Portable | None:
    """The content after a push: None where it changes nothing; raises StateError where it would lose a run or a change.

    A push into an empty state takes lineage and serial over. Elsewhere the lineage must be the same, the serial not
    older than that of the state, and no run may be missing.
    """
    state = present.state
    if not state.serial and not present.runs and not len(state.observed):
        # a location whose only run ended before it began has a lineage, and nothing else
        is_same = (new.state.lineage, new.state.serial) == (state.lineage, state.serial)
        return None if is_same and _content_of(new) == _content_of(present) else new
    if new.state.lineage != state.lineage:
        raise StateError(
            f"the state of location {state.location} is of lineage {state.lineage}, and this is of {new.state.lineage}",
            hint="they have nothing to do with one another: see that --state names the right one",
        )
    missing = {log.record.id for log in present.runs} - {log.record.id for log in new.runs}
    if new.state.serial < state.serial or missing:
        lacks = f", and lacks run {min(missing)}" if missing else ""
        raise StateError(
            f"this is older than the state: serial {new.state.serial}, there {state.serial}{lacks}",
            hint="pull again, and make the change once more",
        )
    # serial and lineage alone are no change: a push of what is there writes nothing
    if _content_of(new) == _content_of(present):
        return None
    # the serial grows with each change of content, wherever the change was made
    serial = max(new.state.serial, state.serial + 1)
    return replace(new, state=replace(new.state, serial=serial))


def _content_of(portable: Portable) -> tuple[object, ...]:
    state = portable.state
    runs = [log.record.id for log in portable.runs]
    return dict(state.observed.items()), dict(state.set_sizes), state.facts, runs, dict(portable.snapshots)
