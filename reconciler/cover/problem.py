"""The planning problem as packed arrays, in an order that does not depend on how things are called.

Rules
1. Demands of equal (must, may) are one pattern. A tag that no demand needs is never sent, so it is left out.
2. In a tag that is not repeatable, may is must.
3. Patterns and tags are sorted by their look (colour refinement: a tag is known by the patterns that hold it, a
   pattern by its size and its tags), and by name only where they look alike. Renaming and reordering therefore change
   nothing but names.
4. A packed 0/1 matrix has 64 columns a word, column c in bit c % 64 of word c // 64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from reconciler.core.model.batch import Demand
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.system import without_cyclic_gc

_ROUNDS = 6
_FEW_ROUNDS = 2
# a refinement of so many cells takes seconds: ties then go by name more often
_MANY_CELLS = 1 << 25
_BLOCK_CELLS = 1 << 16
"""A block of doubles stays within a processor's cache, which halves the time."""


@dataclass(frozen=True, slots=True, eq=False)
class CoverProblem:
    """Patterns × tags, and the contacts of each pattern."""

    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]
    start: Ints
    """Pattern p owns the contacts from start[p] to start[p + 1]."""
    must: Bits
    """Patterns × tags, packed."""
    may: Bits
    once: Bits
    """One packed row: the tags that are not repeatable."""
    max_contacts: int
    max_tags: int

    @property
    def counts(self) -> Ints:
        return np.diff(self.start)

    def cost(self, contacts: int, tags: int) -> int:
        """The requests for a rectangle of so many contacts and tags."""
        return -(-contacts // self.max_contacts) * -(-tags // self.max_tags)


def make_problem(demands: Iterable[Demand], *, repeatable: TagSet, max_contacts: int, max_tags: int) -> CoverProblem:
    """The problem of these demands; raises ValueError for a must outside may or a contact in two demands."""
    with without_cyclic_gc():
        return _make_problem(demands, repeatable, max_contacts, max_tags)


def _make_problem(demands: Iterable[Demand], repeatable: TagSet, max_contacts: int, max_tags: int) -> CoverProblem:
    asked = [demand for demand in demands if demand.must and demand.contacts]
    names = sorted(frozenset[Tag]().union(*{demand.must for demand in asked}))
    width = len(names)
    once = np.array([tag not in repeatable for tag in names], np.bool_)
    cells, groups = _group_patterns(asked, names, once)
    sizes = np.array(list(map(len, groups)), np.int64)
    rows, columns = _refine_colours(cells, sizes, once)
    row_order = _by_look(rows, [group[0] for group in groups])
    column_order = np.lexsort((np.arange(width), columns))
    contacts = tuple(chain.from_iterable(groups[row] for row in row_order.tolist()))
    # a contact of two demands might be sent a pair twice, which rule 1 of the package forbids
    if len(set(contacts)) != len(contacts):
        raise ValueError("a contact occurs twice in the demands")
    cells = cells.map(lambda packed: pick_columns(packed[row_order], column_order, width=width))
    return CoverProblem(
        tags=tuple(names[column] for column in column_order),
        contacts=contacts,
        start=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[row_order])]),
        must=cells.must,
        may=cells.may,
        once=pack_cells(np.zeros(once.sum(), np.int64), np.flatnonzero(once[column_order]), shape=(1, width))[0],
        max_contacts=max_contacts,
        max_tags=max_tags,
    )


def _by_look(colours: Bits, names: Sequence[ContactId]) -> Ints:
    """The patterns by colour, those that look alike by name."""
    order = np.argsort(colours, kind="stable")
    cuts = np.flatnonzero(np.diff(colours[order])) + 1
    tops, ends = np.append(0, cuts), np.append(cuts, len(order))
    for top, end in np.stack([tops, ends], axis=1)[ends - tops > 1].tolist():
        order[top:end] = sorted(order[top:end].tolist(), key=names.__getitem__)
    return order


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Of the patterns; one array where may equals must, which halves the work."""

    must: Bits
    may: Bits

    @property
    def same(self) -> bool:
        return self.must is self.may

    def map(self, change: Callable[[Bits], Bits]) -> _Cells:
        must = change(self.must)
        return _Cells(must, must if self.same else change(self.may))


def _group_patterns(
    demands: Sequence[Demand], names: Sequence[Tag], once: Bools
) -> tuple[_Cells, list[list[ContactId]]]:
    """The distinct patterns and the contacts of each, sorted."""
    cells = _encode_demands(demands, names)
    if (cells.must & ~cells.may).any():
        raise ValueError("a demand with a tag that must be sent but may not")
    # rule 2: a pair that may be sent again would be sent twice in a tag that allows it once
    if not cells.same:
        mask = pack_cells(np.zeros(once.sum(), np.int64), np.flatnonzero(once), shape=(1, len(names)))
        cells = _Cells(cells.must, cells.must | (cells.may & ~mask))
    both = cells.must if cells.same else np.concatenate([cells.must, cells.may], axis=1)
    first, kind = distinct_rows(both)
    groups: list[list[ContactId]] = [[] for _ in range(len(first))]
    for demand, number in zip(demands, kind.tolist(), strict=True):
        groups[number] += demand.contacts
    for group in groups:
        group.sort()
    return cells.map(lambda packed: packed[first]), groups


def _encode_demands(demands: Sequence[Demand], names: Sequence[Tag]) -> _Cells:
    """The sets of each demand as packed rows; tags that are not in `names` are left out."""
    number: dict[TagSet, int] = {}
    must = [number.setdefault(demand.must, len(number)) for demand in demands]
    may = [number.setdefault(demand.may, len(number)) for demand in demands]
    index = {tag: place for place, tag in enumerate(names)}
    lengths = np.fromiter(map(len, number), np.int64, len(number))
    flat = map(index.get, chain.from_iterable(number), repeat(-1))
    columns = np.fromiter(flat, np.int64, int(lengths.sum()))
    rows = np.repeat(np.arange(len(number)), lengths)
    needed = columns >= 0
    packed = pack_cells(rows[needed], columns[needed], shape=(len(number), len(names)))
    cells = packed[np.array(must, np.int64)]
    return _Cells(cells, cells if may == must else packed[np.array(may, np.int64)])


def _refine_colours(cells: _Cells, sizes: Ints, once: Bools) -> tuple[Bits, Bits]:
    """A number for each pattern and each tag that tells its look."""
    rows, columns = _mix_bits(sizes.astype(np.uint64)), _mix_bits(once.astype(np.uint64))
    distinct = 0
    for _ in range(_FEW_ROUNDS if len(rows) * len(columns) > _MANY_CELLS else _ROUNDS):
        must = _sum_colours(cells.must, rows, columns)
        may = must if cells.same else _sum_colours(cells.may, rows, columns)
        rows = _mix_bits(rows + _mix_bits(must[0]) + _mix_bits(_mix_bits(may[0])))
        columns = _mix_bits(columns + _mix_bits(must[1]) + _mix_bits(_mix_bits(may[1])))
        before, distinct = distinct, len(distinct_values(rows)) + len(distinct_values(columns))
        if distinct == before:
            break
    return rows, columns


def _sum_colours(packed: Bits, rows: Bits, columns: Bits) -> tuple[Bits, Bits]:
    """For each row the sum over its columns, for each column the sum over its rows, of their colours.

    Colours are cut to three numbers below 2^20, so that sums of doubles are exact in any order.
    """
    by_row, by_column = _split_colours(rows), _split_colours(columns)
    row_sums = np.empty_like(by_row)
    column_sums = np.zeros_like(by_column)
    step = max(1, _BLOCK_CELLS // max(1, len(columns)))
    for top in range(0, len(rows), step):
        block = unpack_cells(packed[top : top + step], len(columns)).astype(np.float64)
        row_sums[top : top + step] = block @ by_column
        column_sums += block.T @ by_row[top : top + step]
    return _join_colours(row_sums), _join_colours(column_sums)


def _split_colours(colours: Bits) -> npt.NDArray[np.float64]:
    shifts = np.array([0, 20, 40], np.uint64)
    return ((colours[:, None] >> shifts) & np.uint64((1 << 20) - 1)).astype(np.float64)


def _join_colours(parts: npt.NDArray[np.float64]) -> Bits:
    mixed = parts.astype(np.uint64)
    return _mix_bits(mixed[:, 0] + _mix_bits(mixed[:, 1] + _mix_bits(mixed[:, 2])))


def _mix_bits(values: Bits) -> Bits:
    """SplitMix64: every bit of the result depends on every bit of the value."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


Bits = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.signedinteger[Any]]
Bools = npt.NDArray[np.bool_]


def count_words(columns: int) -> int:
    """Words a row of so many columns takes; at least one."""
    return max(1, -(-columns // 64))


def pack_cells(rows: Ints, columns: Ints, *, shape: tuple[int, int]) -> Bits:
    """A matrix of `shape` (rows, columns) with ones at the given cells, each named once."""
    packed = np.zeros((shape[0], count_words(shape[1])), np.uint64)
    np.add.at(packed, (rows, columns >> 6), np.uint64(1) << (columns & 63).astype(np.uint64))
    return packed


def unpack_cells(packed: Bits, columns: int) -> Bools:
    """The matrix with a bool a cell."""
    return np.unpackbits(little_endian(packed), axis=1, count=columns, bitorder="little").view(np.bool_)


def little_endian(packed: Bits) -> npt.NDArray[np.uint8]:
    """The bytes of the words, least significant first on every machine."""
    return np.ascontiguousarray(packed.astype("<u8", copy=False)).view(np.uint8)


def row_mask(row: Bits) -> int:
    """A single row as one number."""
    return int.from_bytes(little_endian(row).tobytes(), "little")


def pack_bools(cells: Bools) -> Bits:
    """The inverse of `unpack_cells`."""
    wide = np.zeros((len(cells), 64 * count_words(cells.shape[1])), np.bool_)
    wide[:, : cells.shape[1]] = cells
    packed: Bits = np.packbits(wide, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)
    return packed


def count_ones(packed: Bits) -> Ints:
    """The ones of each row."""
    # word by word: reducing along a short axis is several times slower
    total = np.zeros(len(packed), np.int64)
    for word in range(packed.shape[1]):
        total += np.bitwise_count(packed[:, word])
    return total


def any_ones(packed: Bits) -> Bools:
    """Which rows hold a one."""
    any_in_row = np.zeros(len(packed), np.bool_)
    for word in range(packed.shape[1]):
        any_in_row |= packed[:, word] != 0
    return any_in_row


def find_ones(row: Bits) -> Ints:
    """The columns that hold a one in a single row, ascending."""
    columns: Ints = np.flatnonzero(np.unpackbits(little_endian(row), bitorder="little")).astype(np.int64)
    return columns


def rows_with(packed: Bits, index: int) -> Bools:
    """Which rows hold a one in this column."""
    holding: Bools = packed[:, index >> 6] & np.uint64(1 << (index & 63)) != 0
    return holding


def distinct_values(values: npt.NDArray[Any]) -> Ints:
    """Ascending."""
    # without a further answer `unique` would load numpy.ma, a tenth of numpy's own loading
    found: Ints = np.unique(values, return_counts=True)[0]
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


def pick_columns(packed: Bits, columns: Ints, *, width: int) -> Bits:
    """The matrix that consists of the given columns of one with `width` columns, in that order."""
    picked = np.zeros((len(packed), count_words(len(columns))), np.uint64)
    # unpacked a block of rows at a time: a matrix of bools takes eight times the memory
    step = max(1, (1 << 22) // max(1, width))
    for top in range(0, len(packed), step):
        cells = unpack_cells(packed[top : top + step], width)[:, columns]
        picked[top : top + step] = pack_bools(cells)
    return picked


def join_ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers start, start + 1, … of each range, one range after the other."""
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    numbers: Ints = np.arange(total) + np.repeat(starts - before, lengths)
    return numbers
