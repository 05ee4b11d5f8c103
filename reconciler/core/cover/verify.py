"""The last check before a plan leaves: cell by cell, from the demands and the rectangles alone.

Nothing here is shared with the search, so that a fault there cannot hide itself: not its patterns, its order,
or its counts.
Memory: the cells are looked at 64 tags at a time, one word a contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reconciler.core.cover.model import Demand, Rectangle
from reconciler.core.names import ContactId, Tag, TagSet

_Word = npt.NDArray[np.uint64]


def faults(
    demands: Sequence[Demand],
    rectangles: Sequence[Rectangle],
    *,
    repeatable: TagSet,
    max_contacts: int,
    max_tags: int,
) -> tuple[str, ...]:
    """What is wrong with the plan, in words; empty when every needed pair is sent, nothing else is, and the
    caps hold."""
    found = [fault for one in rectangles for fault in _shape(one, max_contacts, max_tags)]
    contacts = [contact for demand in demands for contact in demand.contacts]
    place = {contact: number for number, contact in enumerate(contacts)}
    if any(contact not in place for one in rectangles for contact in one.contacts):
        return (*found, "a contact that nobody asked for")
    rows = [np.array([place[contact] for contact in one.contacts], np.int64) for one in rectangles]
    tags = sorted(
        {tag for demand in demands for tag in demand.must} | {tag for one in rectangles for tag in one.tags}
    )
    for left in range(0, len(tags), 64):
        found += _check(demands, rectangles, rows, tags[left : left + 64], repeatable)
    return tuple(dict.fromkeys(found))


def _shape(one: Rectangle, max_contacts: int, max_tags: int) -> list[str]:
    found = []
    if not 0 < len(one.contacts) <= max_contacts or not 0 < len(one.tags) <= max_tags:
        found.append(f"a request of {len(one.contacts)} contacts and {len(one.tags)} tags")
    if not _rising(one.contacts) or not _rising(one.tags):
        found.append("a request that is not sorted, or names something twice")
    return found


def _rising(names: Sequence[ContactId] | Sequence[Tag]) -> bool:
    return all(first < second for first, second in pairwise(names))


def _check(
    demands: Sequence[Demand],
    rectangles: Sequence[Rectangle],
    rows: Sequence[npt.NDArray[np.int64]],
    tags: Sequence[Tag],
    repeatable: TagSet,
) -> list[str]:
    """The faults in at most 64 tags."""
    bit = {tag: 1 << number for number, tag in enumerate(tags)}
    lengths = np.array([len(demand.contacts) for demand in demands], np.int64)
    must = np.repeat(_words([demand.must for demand in demands], bit), lengths)
    may = np.repeat(_words([demand.may for demand in demands], bit), lengths)
    once = np.uint64(sum(value for tag, value in bit.items() if tag not in repeatable))
    may &= must | ~once
    sent = np.zeros(len(must), np.uint64)
    twice = False
    for one, where in zip(rectangles, rows, strict=True):
        mask = np.uint64(sum(bit.get(tag, 0) for tag in one.tags))
        if mask:
            twice = twice or bool((sent[where] & mask & once).any())
            sent[where] |= mask
    found = []
    if (must & ~sent).any():
        found.append("a needed pair that is not sent")
    if (sent & ~may).any():
        found.append("a pair that may not be sent")
    return [*found, "a pair sent twice that may be sent once"] if twice else found


def _words(sets: Sequence[TagSet], bit: dict[Tag, int]) -> _Word:
    known = {one: sum(bit.get(tag, 0) for tag in one) for one in set(sets)}
    return np.array([known[one] for one in sets], np.uint64)
