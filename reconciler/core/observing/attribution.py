"""The rows of several runs beside one another: the run that last set a pair, the changes of others, holders of a tag.

Rules
1. Others changed a tag where an answer's `oldTags` differ from what the answer before it, of the same contact, left.
2. Holders are counted among the contacts of answers: a contact that was never in one is not "no tags".
3. Runs that were answered nothing, or whose rows were given up, have no point in a trend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.model.journal import BatchRecord, RunLog, RunRecord
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome

SETTLED = (Outcome.APPLIED, Outcome.NOOP, Outcome.SEEN)

Pair = tuple[ContactId, Tag]


@dataclass(frozen=True, slots=True, order=True)
class Setter:
    """A run that last set a pair: its id, its user, and when the request was answered."""

    run: str
    who: str
    at: Instant


def find_setters(
    pairs: Iterable[Pair],
    action: Action,
    runs: Sequence[RunRecord],
    batches: Callable[[str], Sequence[BatchRecord]],
) -> dict[Pair, Setter]:
    """Of each pair the last run that added (removed) it, or found it so; the runs come with the oldest first."""
    found: dict[Pair, Setter] = {}
    wanted = _by_contact(pairs)
    for run, batch in _backwards(runs, batches, wanted):
        if batch.action is action:
            _take(batch, run, wanted, found)
    return found


def _by_contact(pairs: Iterable[Pair]) -> dict[ContactId, set[Tag]]:
    wanted: dict[ContactId, set[Tag]] = {}
    for contact, tag in pairs:
        wanted.setdefault(contact, set()).add(tag)
    return wanted


def _backwards(
    runs: Sequence[RunRecord], batches: Callable[[str], Sequence[BatchRecord]], wanted: Collection[ContactId]
) -> Iterator[tuple[RunRecord, BatchRecord]]:
    """The batches of the runs, the last one first, while pairs are wanted."""
    for run in reversed(runs):
        if not wanted:
            return
        # the rows of older runs are given up: their batches tell nothing any more
        if run.rows:
            yield from ((run, batch) for batch in reversed(batches(run.id)))


def _take(batch: BatchRecord, run: RunRecord, wanted: dict[ContactId, set[Tag]], found: dict[Pair, Setter]) -> None:
    setter = Setter(run.id, run.header.who, batch.ended if batch.ended is not None else batch.intended)
    tags = frozenset(batch.tags)
    for contact in batch.answers.keys() & wanted.keys():
        verdict = batch.answers[contact].verdict
        # a row in doubt does not show that the pair was ever as it should be
        if verdict is None or verdict.outcome not in SETTLED:
            continue
        for tag in wanted[contact] & tags:
            found[contact, tag] = setter
        # the walk goes backwards: the first batch found is the last that set the pair
        wanted[contact] -= tags
        if not wanted[contact]:
            del wanted[contact]


def added_by_others(
    pairs: Iterable[Pair], runs: Sequence[RunRecord], batches: Callable[[str], Sequence[BatchRecord]]
) -> set[Pair]:
    """The pairs that were absent when an answer last told so, and that no request of ours added since.

    They are known to be there now. The origin of a pair that every answer showed, or none told of, is unknown. The runs
    come with the oldest first.
    """
    found: set[Pair] = set()
    wanted = _by_contact(pairs)
    for _, batch in _backwards(runs, batches, wanted):
        _take_absent(batch, wanted, found)
    return found


def _take_absent(batch: BatchRecord, wanted: dict[ContactId, set[Tag]], found: set[Pair]) -> None:
    for contact in batch.answers.keys() & wanted.keys():
        verdict = batch.answers[contact].verdict
        if verdict is None:
            continue
        tags = wanted[contact]
        if verdict.observed is None or verdict.old is None:
            # a tag that a request of ours may have added is not the doing of others
            decided = tags.intersection(batch.tags) if batch.action is Action.ADD else set()
        else:
            absent = tags - verdict.observed
            found |= {(contact, tag) for tag in absent}
            # absent: others added it since; added by us then: it is ours
            decided = absent | (tags & verdict.added)
        tags -= decided
        if not tags:
            del wanted[contact]


Points = tuple[tuple[Instant, int], ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """A point a run, at its beginning. `changed` and `drifted` count pairs, `holders` contacts."""

    changed: Points
    drifted: Points
    holders: Mapping[Tag, Points]


def compute_trend(logs: Iterable[RunLog]) -> Trend:
    """`logs`: the runs of one location, the oldest first."""
    last: dict[ContactId, TagSet] = {}
    holders: Counter[Tag] = Counter()
    changed: list[tuple[Instant, int]] = []
    drifted: list[tuple[Instant, int]] = []
    held: dict[Tag, list[tuple[Instant, int]]] = {}
    for log in logs:
        at, ours, theirs = log.record.header.started, 0, 0
        told = list(_told(log))
        if not told:
            continue
        for contact, verdict in told:
            now = verdict.observed or frozenset()
            ours += len(verdict.added) + len(verdict.removed)
            before = last.get(contact)
            # the first answer of a contact has no earlier one to differ from: it shows no change by others
            theirs += len(before ^ (verdict.old or frozenset())) if before is not None else 0
            _move(holders, before or frozenset(), now)
            last[contact] = now
        changed.append((at, ours))
        drifted.append((at, theirs))
        for tag in holders:
            held.setdefault(tag, []).append((at, holders[tag]))
    return Trend(tuple(changed), tuple(drifted), {tag: tuple(points) for tag, points in held.items()})


def _told(log: RunLog) -> Iterator[tuple[ContactId, ContactOutcome]]:
    for batch in log.batches:
        for contact, answer in batch.answers.items():
            if answer.verdict is not None and answer.verdict.observed is not None:
                yield contact, answer.verdict


def _move(holders: Counter[Tag], before: TagSet, now: TagSet) -> None:
    holders.update(now - before)
    holders.subtract(before - now)
