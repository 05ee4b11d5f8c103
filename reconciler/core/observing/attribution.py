"""Who could have: which run of ours last made a pair what it should be, and until when it is known to have been so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.model.journal import BatchRecord, RunRecord
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action, Outcome

SETTLED = (Outcome.APPLIED, Outcome.NOOP, Outcome.SEEN)

Pair = tuple[ContactId, Tag]


@dataclass(frozen=True, slots=True, order=True)
class Setter:
    """A run that last set a pair: its id, whose it was, and when the request was answered."""

    run: str
    who: str
    at: Instant


def last_set(
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
    """The batches of the runs, the last one first, for as long as anything is wanted."""
    for run in reversed(runs):
        if not wanted:
            return
        if run.rows:
            yield from ((run, batch) for batch in reversed(batches(run.id)))


def _take(batch: BatchRecord, run: RunRecord, wanted: dict[ContactId, set[Tag]], found: dict[Pair, Setter]) -> None:
    setter = Setter(run.id, run.header.who, batch.ended if batch.ended is not None else batch.intended)
    tags = frozenset(batch.tags)
    for contact in batch.answers.keys() & wanted.keys():
        verdict = batch.answers[contact].verdict
        if verdict is None or verdict.outcome not in SETTLED:
            continue
        for tag in wanted[contact] & tags:
            found[contact, tag] = setter
        wanted[contact] -= tags
        if not wanted[contact]:
            del wanted[contact]


def added_by_others(
    pairs: Iterable[Pair], runs: Sequence[RunRecord], batches: Callable[[str], Sequence[BatchRecord]]
) -> set[Pair]:
    """The pairs that were absent when an answer last told so, and that no request of ours added since.

    They are known to be there now. Of a pair that every answer showed, or none told of, nobody can say who put it
    there. The runs come with the oldest first.
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
            # what a request of ours may have added is nobody else's doing
            decided = tags.intersection(batch.tags) if batch.action is Action.ADD else set()
        else:
            absent = tags - verdict.observed
            found |= {(contact, tag) for tag in absent}
            decided = absent | (tags & verdict.added)
        tags -= decided
        if not tags:
            del wanted[contact]
