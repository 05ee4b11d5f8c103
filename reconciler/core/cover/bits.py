"""Packed 0/1 matrices: 64 columns a word, column c in bit c % 64 of word c // 64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def words(columns: int) -> int:
    """Words a row of so many columns takes; at least one."""
    return max(1, -(-columns // 64))


def pack(rows: Ints, columns: Ints, *, shape: tuple[int, int]) -> Bits:
    """A matrix of `shape` (rows, columns) with ones at the given cells, each named once."""
    packed = np.zeros((shape[0], words(shape[1])), np.uint64)
    np.add.at(packed, (rows, columns >> 6), np.uint64(1) << (columns & 63).astype(np.uint64))
    return packed


def pack_sets(sets: Sequence[Sequence[int]], columns: int) -> Bits:
    """One row for each set of column numbers."""
    lengths = np.fromiter(map(len, sets), np.int64, len(sets))
    flat = np.fromiter((column for one in sets for column in one), np.int64, int(lengths.sum()))
    return pack(np.repeat(np.arange(len(sets)), lengths), flat, shape=(len(sets), columns))


def unpack(packed: Bits, columns: int) -> Bools:
    """The matrix with a bool a cell."""
    return np.unpackbits(little(packed), axis=1, count=columns, bitorder="little").view(np.bool_)


def little(packed: Bits) -> npt.NDArray[np.uint8]:
    """The bytes of the words, least significant first on every machine."""
    return np.ascontiguousarray(packed.astype("<u8", copy=False)).view(np.uint8)


def pack_bools(cells: Bools) -> Bits:
    """The inverse of `unpack`."""
    rows, columns = np.nonzero(cells)
    return pack(rows, columns, shape=(cells.shape[0], cells.shape[1]))


def sizes(packed: Bits) -> Ints:
    """The ones of each row."""
    found: Ints = np.bitwise_count(packed).sum(axis=1, dtype=np.int64)
    return found


def members(row: Bits) -> Ints:
    """The columns that hold a one in a single row, ascending."""
    found: Ints = np.flatnonzero(np.unpackbits(little(row), bitorder="little")).astype(np.int64)
    return found


def column(packed: Bits, index: int) -> Bools:
    """Which rows hold a one in this column."""
    found: Bools = packed[:, index >> 6] & np.uint64(1 << (index & 63)) != 0
    return found


def unique_rows(packed: Bits) -> tuple[Bits, Ints]:
    """The distinct rows, in order of their words, and for each row the number of its distinct one."""
    order = np.lexsort(packed.T)
    ordered = packed[order]
    fresh = np.ones(len(packed), np.bool_)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(packed), np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    return ordered[fresh], inverse


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers start, start + 1, … of each range, one range after the other."""
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    found: Ints = np.arange(total) + np.repeat(starts - before, lengths)
    return found
