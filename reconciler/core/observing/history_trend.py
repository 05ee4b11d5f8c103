"""What the kept rows of several runs tell beside one another: how much we changed, how much others did, who holds what.

Rules
1. Others changed a tag where an answer's `oldTags` differ from what the answer before it, of the same contact, left.
2. Holders are counted among the contacts that the runs were told of: what was never told is not "no tags".
3. Runs that were answered nothing, or whose rows were given up, have no point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from reconciler.core.model.journal import RunLog
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import ContactOutcome

Points = tuple[tuple[Instant, int], ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """A point a run, at its beginning. `changed` and `drifted` count pairs, `holders` contacts."""

    changed: Points
    drifted: Points
    holders: Mapping[Tag, Points]


def trend(logs: Iterable[RunLog]) -> Trend:
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
