"""The last check before a plan leaves: cell by cell, from the demands and the rectangles alone.

Nothing here is shared with the search, so that a fault there cannot hide itself: not its patterns, its order, or its
counts. Memory: the cells are looked at 64 tags at a time, one word a contact.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconciler.core.cover.model import Demand, Rectangle
from reconciler.core.model.names import ContactId, Tag, TagSet

_Word = npt.NDArray[np.uint64]


def faults(
    demands: Sequence[Demand],
    rectangles: Sequence[Rectangle],
    *,
    repeatable: TagSet,
    max_contacts: int,
    max_tags: int,
) -> tuple[str, ...]:
    """What is wrong with the plan, in words; empty when every needed pair is sent, nothing else is, and the caps
    hold."""
    found = [fault for one in rectangles for fault in _shape(one, max_contacts, max_tags)]
    contacts = [contact for demand in demands for contact in demand.contacts]
    place = {contact: number for number, contact in enumerate(contacts)}
    try:
        rows = [np.array([place[contact] for contact in one.contacts], np.int64) for one in rectangles]
    except KeyError:
        return (*found, "a contact that nobody asked for")
    tags = frozenset[Tag]().union(*{demand.must for demand in demands}, *{one.tags for one in rectangles})
    index = {tag: number for number, tag in enumerate(sorted(tags))}
    lengths = np.array([len(demand.contacts) for demand in demands], np.int64)
    musts = _Sets.of([demand.must for demand in demands], index, lengths)
    mays = _Sets.of([demand.may for demand in demands], index, lengths)
    sent = _Sets.of([one.tags for one in rectangles], index, np.ones(len(rows), np.int64))
    once = _Sets.of([tags - repeatable], index, np.ones(1, np.int64))
    for word in range(musts.packed.shape[1]):
        found += _check(musts.word(word), mays.word(word), once.word(word)[0], sent.word(word), rows)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, eq=False)
class _Sets:
    """A set of tags for each of many, `packed` 64 tags a word, once for all those that have the same set (`kind`)."""

    packed: _Word
    kind: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sets: Sequence[Collection[Tag]], index: dict[Tag, int], repeats: npt.NDArray[np.int64]) -> _Sets:
        number: dict[Collection[Tag], int] = {}
        kind = [number.setdefault(one, len(number)) for one in sets]
        lengths = np.fromiter(map(len, number), np.int64, len(number))
        every = (index.get(tag, -1) for one in number for tag in one)
        columns = np.fromiter(every, np.int64, int(lengths.sum()))
        rows, columns = np.repeat(np.arange(len(number)), lengths)[columns >= 0], columns[columns >= 0]
        packed = np.zeros((len(number), max(1, -(-len(index) // 64))), np.uint64)
        np.bitwise_or.at(packed, (rows, columns // 64), np.uint64(1) << (columns % 64).astype(np.uint64))
        return cls(packed, np.repeat(np.array(kind, np.int64), repeats))

    def word(self, number: int) -> _Word:
        found: _Word = self.packed[self.kind, number]
        return found


def _shape(one: Rectangle, max_contacts: int, max_tags: int) -> list[str]:
    found = []
    if not 0 < len(one.contacts) <= max_contacts or not 0 < len(one.tags) <= max_tags:
        found.append(f"a request of {len(one.contacts)} contacts and {len(one.tags)} tags")
    if not _rising(one.contacts) or not _rising(one.tags):
        found.append("a request that is not sorted, or names something twice")
    return found


def _rising(names: Sequence[ContactId] | Sequence[Tag]) -> bool:
    return len(set(names)) == len(names) and sorted(names) == list(names)


def _check(must: _Word, may: _Word, once: np.uint64, masks: _Word, rows: Sequence[npt.NDArray[np.int64]]) -> list[str]:
    """The faults in 64 tags: `must` and `may` a contact, `masks` and `rows` a rectangle."""
    allowed = may & (must | ~once)
    sent = np.zeros(len(must), np.uint64)
    twice = False
    for number in np.flatnonzero(masks).tolist():
        where, mask = rows[number], masks[number]
        twice = twice or bool((sent[where] & (mask & once)).any())
        sent[where] |= mask
    found = []
    if (must & ~sent).any():
        found.append("a needed pair that is not sent")
    if (sent & ~allowed).any():
        found.append("a pair that may not be sent")
    return [*found, "a pair sent twice that may be sent once"] if twice else found
