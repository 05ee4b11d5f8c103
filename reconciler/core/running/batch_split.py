"""Which batch may leave next, and the parts of a request that the API refuses as a whole. Pure.

Rules
1. A batch starts when every batch of its `after` has ended, and none that is under way shares a contact with it.
2. Of those that may start, the first in the plan's order does; one that may not holds up no other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import TypeVar

from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.names import ContactId, Instant, TagSet
from reconciler.core.planning.batches import Caps

T = TypeVar("T")


class BatchQueue:
    """Batches, and how far they are. The work is per contact of a batch, however many batches wait."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._waits = [len(set(batch.after)) for batch in batches]
        self._followers: defaultdict[int, list[int]] = defaultdict(list)
        for index, batch in enumerate(batches):
            for before in set(batch.after):
                self._followers[before].append(index)
        self._ready = [index for index, waits in enumerate(self._waits) if not waits]
        heapify(self._ready)
        self._busy: set[ContactId] = set()
        self._parked: defaultdict[ContactId, list[int]] = defaultdict(list)

    def start_next(self) -> int | None:
        """The batch that starts now; None while there is none that may."""
        while self._ready:
            index = heappop(self._ready)
            # parked at one contact only: once that is free the others are looked at again
            taken = self._taken(index)
            if taken is None:
                self._busy.update(self._batches[index].contacts)
                return index
            self._parked[taken].append(index)
        return None

    def end_batch(self, index: int) -> None:
        contacts = self._batches[index].contacts
        self._busy.difference_update(contacts)
        if self._parked:
            for contact in contacts:
                for waiting in self._parked.pop(contact, ()):
                    # the heap puts it back into the plan's order
                    heappush(self._ready, waiting)
        for follower in self._followers.pop(index, ()):
            self._waits[follower] -= 1
            if not self._waits[follower]:
                heappush(self._ready, follower)

    def _taken(self, index: int) -> ContactId | None:
        """A contact of the batch that another batch under way has."""
        if self._busy.isdisjoint(self._batches[index].contacts):
            return None
        return next((each for each in self._batches[index].contacts if each in self._busy), None)


_BOUND = r"(?:no|not) more than|more than|at most|up to|less than or equal to|maximum(?: of| is)?|max|limit(?: of| is)?"
_UNIT = "elements?|items?|entries|values|ids|contacts?|tags?"
_SIZE = re.compile(
    rf"\b(?:{_BOUND})[\s:=]+(\d{{1,6}})\s+(?:{_UNIT})\b(?!\s*(?:per|each|every|an?|in|/))", re.IGNORECASE
)
_WHAT = re.compile(r"\b(contact|tag)s?\b", re.IGNORECASE)


def split_to_caps(batch: Batch, caps: Caps) -> tuple[Batch, ...]:
    """The batch in rectangles that the caps allow: itself where it is one."""
    return tuple(
        replace(batch, contacts=contacts, tags=tags)
        for tags in _runs(batch.tags, caps.tags)
        for contacts in _runs(batch.contacts, caps.contacts)
    )


def halve_batch(batch: Batch, *, contacts_first: bool = False) -> tuple[Batch, Batch] | None:
    """The batch in halves: of its tags where it has several, else of its contacts; None where it is a single pair."""
    # tags first: a batch has far fewer of them than contacts, so that few requests find a refused one
    if len(batch.tags) > 1 and not (contacts_first and len(batch.contacts) > 1):
        first, second = _halves(batch.tags)
        return replace(batch, tags=first), replace(batch, tags=second)
    if len(batch.contacts) > 1:
        ours, theirs = _halves(batch.contacts)
        return replace(batch, contacts=ours), replace(batch, contacts=theirs)
    return None


def is_single(batch: Batch) -> bool:
    return len(batch.contacts) == len(batch.tags) == 1


def fits_caps(batch: Batch, caps: Caps) -> bool:
    return len(batch.contacts) <= caps.contacts and len(batch.tags) <= caps.tags


def narrow_limits(facts: LocationFacts, refused: Batch, part: Batch, now: Instant) -> LocationFacts:
    """The limits once all parts of a refused batch were taken: its size was at fault. `part`: the largest one."""
    if len(part.tags) < len(refused.tags):
        return facts.limited(None, len(part.tags), now)
    return facts.limited(len(part.contacts), None, now)


def widen_limits(facts: LocationFacts, taken: Batch, caps: Caps) -> LocationFacts:
    """The limits once a batch was taken that is larger than was learnt; one that allows all of `caps` is none."""
    contacts, tags = facts.max_contacts, facts.max_tags
    contacts = None if contacts is None else max(contacts, len(taken.contacts))
    tags = None if tags is None else max(tags, len(taken.tags))
    contacts = None if contacts is None or contacts >= caps.contacts else contacts
    tags = None if tags is None or tags >= caps.tags else tags
    if contacts is None and tags is None:
        return facts.without_limits()
    return replace(facts, max_contacts=contacts, max_tags=tags)


def add_trial(
    batches: Sequence[Batch], caps: Caps, learnt: Caps, *, spare: TagSet
) -> tuple[tuple[Batch, ...], Batch | None]:
    """Two of the batches as one that is larger than was `learnt`, and no larger than `caps`; None: there are none such.

    The smallest one, without tags of `spare`. Where it is refused, the two cost one request more.
    """
    found = [
        (union, first, second)
        for first, second in _neighbours(batches)
        if (union := _joined(batches, first, second)) and fits_caps(union, caps) and not fits_caps(union, learnt)
        if spare.isdisjoint(union.tags)
    ]
    if not found:
        return tuple(batches), None
    trial, first, second = min(found, key=lambda each: (len(each[0].contacts), len(each[0].tags), *each[1:]))
    # batches behind the second move up by one; those that waited for it wait for the union
    moved = [first if nth == second else nth - (nth > second) for nth in range(len(batches))]
    kept = [trial if nth == first else batch for nth, batch in enumerate(batches) if nth != second]
    merged = tuple(replace(each, after=tuple(sorted({moved[nth] for nth in each.after}))) for each in kept)
    return merged, merged[first]


def _neighbours(batches: Sequence[Batch]) -> Iterator[tuple[int, int]]:
    """The places of batches that follow each other among those with the same tags, or with the same contacts."""
    last: dict[tuple[object, ...], int] = {}
    for nth, batch in enumerate(batches):
        for key in ((batch.action, "tags", batch.tags), (batch.action, "contacts", batch.contacts)):
            if key in last:
                yield last[key], nth
            last[key] = nth


def _joined(batches: Sequence[Batch], first: int, second: int) -> Batch | None:
    """Both batches in one; None where they share a pair, or the second waits for more than the first."""
    one, other = batches[first], batches[second]
    # the union would start before a batch that the second must wait for
    if not {*other.after} - {first} <= {*one.after}:
        return None
    contacts, tags = dict.fromkeys((*one.contacts, *other.contacts)), dict.fromkeys((*one.tags, *other.tags))
    # a rectangle holds no pair that neither batch has
    together = len(contacts) * len(tags) == len(one.contacts) * len(one.tags) + len(other.contacts) * len(other.tags)
    return replace(one, contacts=tuple(contacts), tags=tuple(tags)) if together else None


def read_limits(message: str, batch: Batch) -> tuple[int | None, int | None] | None:
    """The limits of contacts and of tags that a message names; None where it names neither.

    A number that the batch does not exceed is no limit of it.
    """
    found: dict[str, int] = {}
    # a sentence that names both contacts and tags does not tell which of them its number limits
    for sentence in re.split(r"[;.]\s", message):
        named = {what.lower() for what in _WHAT.findall(sentence)}
        size = _SIZE.search(sentence)
        if size and len(named) == 1:
            found[named.pop()] = int(size[1])
    contacts, tags = found.get("contact", 0), found.get("tag", 0)
    limits = contacts if 0 < contacts < len(batch.contacts) else None, tags if 0 < tags < len(batch.tags) else None
    return None if limits == (None, None) else limits


def _halves(items: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _runs(items: Sequence[T], most: int) -> Iterator[tuple[T, ...]]:
    for start in range(0, len(items), most):
        yield tuple(items[start : start + most])
