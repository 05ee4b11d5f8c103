"""Ids of one length as columns of bytes: a hash table that numbers and finds many of them by a few steps of numpy.

Rules
1. Numbers are given from 0 on, in the order in which the ids come; an id that comes again has its first number.
2. The hash is seeded by Python's own, which differs from process to process unless PYTHONHASHSEED says otherwise: no
   file can aim at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciler.core.model.contact_numbers import ABSENT
from reconciler.core.model.names import are_plain

Ints: TypeAlias = npt.NDArray[np.int32]
_Words: TypeAlias = npt.NDArray[np.uint64]
"""A row for each id: its bytes, eight a word, filled up with zeros."""
_SMALLEST = 1 << 16
"""Places of a table at first; half of them at most are taken."""
_WORD = 8
_TOGETHER = 1 << 15
"""So many ids are looked up together."""


class IdTable:
    """Ids of one length, each with its number."""

    def __init__(self, length: int) -> None:
        """`length`: of every id, in bytes."""
        self.length = length
        self._width = -(-length // _WORD)
        # odd, so that no bit is lost
        seeds = [hash(("id", word)) | 1 for word in range(self._width)]
        self._factors = np.array([seed % (1 << 64) for seed in seeds], np.uint64)
        self._size = 0
        self._words = np.empty((_SMALLEST // 2, self._width), np.uint64)
        self._places = np.full(_SMALLEST, ABSENT, np.int32)
        self._in_order = np.empty(0, np.int32)

    def __len__(self) -> int:
        return self._size

    def join(self, ids: Sequence[str]) -> bytes | None:
        """The ids as `number` takes them; None where one is not of this length, or not letters and digits of ASCII."""
        joined = "".join(ids)
        is_plain = not ids or (are_plain(joined) and set(map(len, ids)) == {self.length})
        return joined.encode() if is_plain else None

    def number(self, joined: bytes) -> Ints:
        """The number of each of these ids, which follow one another; an id without one is given the next."""
        return self._in_parts(joined, self._number)

    def _in_parts(self, joined: bytes, answer: Callable[[_Words], Ints]) -> Ints:
        # what a part takes stays in a processor's cache
        step = self.length * _TOGETHER
        parts = [answer(self._read(joined[start : start + step])) for start in range(0, len(joined), step)]
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def _number(self, words: _Words) -> Ints:
        self._make_room(len(words))
        end = self._size + len(words)
        # each is a row of the table, until those are found that were there
        self._words[self._size : end] = words
        own = np.arange(self._size, end, dtype=np.int32)
        numbers, places = self._settle(words, own)
        is_new = numbers == own
        kept = np.flatnonzero(is_new)
        final = np.cumsum(is_new, dtype=np.int32) + np.int32(self._size - 1)
        self._words[self._size : self._size + len(kept)] = words[kept]
        self._places[places[kept]] = final[kept]
        again = numbers >= self._size
        numbers[again] = final[numbers[again] - self._size]
        self._size += len(kept)
        return numbers

    def find(self, joined: bytes) -> Ints:
        """The number of each of these ids; `ABSENT` where it has none."""
        return self._in_parts(joined, lambda words: self._settle(words, None)[0])

    def texts(self, numbers: Ints | slice) -> list[str]:
        """The ids of these numbers."""
        ids, length = self.rows(numbers).tobytes().decode("ascii"), self.length
        return [ids[start : start + length] for start in range(0, len(ids), length)]

    @property
    def in_order(self) -> Ints:
        """The numbers in the order of their ids."""
        if len(self._in_order) < self._size:
            # as numbers, whose first digits stand first: the first eight bytes tell nearly all ids apart
            words = self._words[: self._size].view(">u8").astype(np.uint64)
            order = np.argsort(words[:, 0])
            first = words[order, 0]
            self._in_order = (np.lexsort(words.T[::-1]) if (first[1:] == first[:-1]).any() else order).astype(np.int32)
        return self._in_order

    def rows(self, numbers: Ints | slice) -> npt.NDArray[np.uint8]:
        """The bytes of these ids, a row for each."""
        return self._words[: self._size].view(np.uint8)[numbers, : self.length]

    def _read(self, joined: bytes) -> _Words:
        rows = np.frombuffer(joined, np.uint8).reshape(-1, self.length)
        padded = np.zeros((len(rows), self._width * _WORD), np.uint8)
        padded[:, : self.length] = rows
        return padded.view(np.uint64)

    def _make_room(self, more: int) -> None:
        """For so many more ids, with half of the places free."""
        needed = self._size + more
        if needed > len(self._words):
            # what is not yet used is never written: it takes no memory
            words = np.empty((self._size + needed, self._width), np.uint64)
            words[: self._size] = self._words[: self._size]
            self._words = words
        if 2 * needed > len(self._places):
            self._places = np.full(1 << (4 * needed - 1).bit_length(), ABSENT, np.int32)
            self._settle(self._words[: self._size], np.arange(self._size, dtype=np.int32))

    def _settle(self, words: _Words, own: Ints | None) -> tuple[Ints, npt.NDArray[np.int64]]:
        """The row of the table that has each id, and its place; of an id without a place `own`, which takes one.

        Without `own` none is taken, and the row is `ABSENT`.
        """
        numbers = np.full(len(words), ABSENT, np.int32)
        places = self._hash(words)
        left, at, sought = np.arange(len(words)), places, words
        while len(left):
            found = self._places.take(at)
            free = np.flatnonzero(found == ABSENT)
            if own is not None and len(free):
                taken = at.take(free)
                # of several that take one place the first one has it: the last assignment stays
                self._places[taken[::-1]] = own.take(left.take(free))[::-1]
                found[free] = self._places.take(taken)
            # row 0 stands for those that have none
            differing = np.logical_or.reduce(self._words.take(found, axis=0, mode="clip") ^ sought, axis=1)
            if own is None:
                differing[free] = False
            numbers[left], places[left] = found, at
            further = np.flatnonzero(differing)
            left, sought = left.take(further), sought.take(further, axis=0)
            at = (at.take(further) + 1) & (len(self._places) - 1)
        return numbers, places

    def _hash(self, words: _Words) -> npt.NDArray[np.int64]:
        mixed = words[:, 0] * self._factors[0]
        for word in range(1, self._width):
            mixed ^= mixed >> np.uint64(29)
            mixed += words[:, word] * self._factors[word]
        mixed ^= mixed >> np.uint64(32)
        mixed *= self._factors[0]
        # the upper half is the better mixed
        places: npt.NDArray[np.int64] = (mixed >> np.uint64(32)).astype(np.int64) & (len(self._places) - 1)
        return places
