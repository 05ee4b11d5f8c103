"""Packed 0/1 matrices: 64 columns a word, column c in bit c % 64 of word c // 64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.signedinteger[Any]]
Bools = npt.NDArray[np.bool_]


def words(columns: int) -> int:
    """Words a row of so many columns takes; at least one."""
    return max(1, -(-columns // 64))


def pack(rows: Ints, columns: Ints, *, shape: tuple[int, int]) -> Bits:
    """A matrix of `shape` (rows, columns) with ones at the given cells, each named once."""
    packed = np.zeros((shape[0], words(shape[1])), np.uint64)
    np.add.at(packed, (rows, columns >> 6), np.uint64(1) << (columns & 63).astype(np.uint64))
    return packed


def unpack(packed: Bits, columns: int) -> Bools:
    """The matrix with a bool a cell."""
    return np.unpackbits(little(packed), axis=1, count=columns, bitorder="little").view(np.bool_)


def little(packed: Bits) -> npt.NDArray[np.uint8]:
    """The bytes of the words, least significant first on every machine."""
    return np.ascontiguousarray(packed.astype("<u8", copy=False)).view(np.uint8)


def pack_bools(cells: Bools) -> Bits:
    """The inverse of `unpack`."""
    wide = np.zeros((len(cells), 64 * words(cells.shape[1])), np.bool_)
    wide[:, : cells.shape[1]] = cells
    found: Bits = np.packbits(wide, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)
    return found


def sizes(packed: Bits) -> Ints:
    """The ones of each row. Word by word: reducing along a short axis is several times slower."""
    total = np.zeros(len(packed), np.int64)
    for word in range(packed.shape[1]):
        total += np.bitwise_count(packed[:, word])
    return total


def some(packed: Bits) -> Bools:
    """Which rows hold a one."""
    found = np.zeros(len(packed), np.bool_)
    for word in range(packed.shape[1]):
        found |= packed[:, word] != 0
    return found


def members(row: Bits) -> Ints:
    """The columns that hold a one in a single row, ascending."""
    found: Ints = np.flatnonzero(np.unpackbits(little(row), bitorder="little")).astype(np.int64)
    return found


def column(packed: Bits, index: int) -> Bools:
    """Which rows hold a one in this column."""
    found: Bools = packed[:, index >> 6] & np.uint64(1 << (index & 63)) != 0
    return found


def distinct_rows(packed: Bits) -> tuple[Ints, Ints]:
    """Where each distinct row first occurs, and for each row the number of its distinct one."""
    order = np.lexsort(packed.T)
    ordered = packed[order]
    fresh = np.ones(len(packed), np.bool_)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(packed), np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    return order[fresh], inverse


def compress(packed: Bits, columns: Ints, *, width: int) -> Bits:
    """The matrix that consists of the given columns of one with `width` columns, in that order."""
    found = np.zeros((len(packed), words(len(columns))), np.uint64)
    step = max(1, (1 << 22) // max(1, width))
    for top in range(0, len(packed), step):
        cells = unpack(packed[top : top + step], width)[:, columns]
        found[top : top + step] = pack_bools(cells)
    return found


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers start, start + 1, … of each range, one range after the other."""
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    found: Ints = np.arange(total) + np.repeat(starts - before, lengths)
    return found
