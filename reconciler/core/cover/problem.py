"""The planning problem as arrays, in an order that does not depend on how things are called.

Rules
1. Demands of equal (must, may) are one pattern. A tag that nobody needs is never sent, so it is left out.
2. In a tag that is not repeatable, may is must.
3. Patterns and tags are sorted by what they look like (colour refinement: a tag is known by the patterns that hold
   it, a pattern by its size and its tags), and by name only where they look alike. Renaming and reordering therefore
   change nothing but names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import numpy.typing as npt

from reconciler.core.cover.bits import Bits, Bools, Ints, compress, distinct_rows, pack, unpack
from reconciler.core.cover.model import Demand
from reconciler.core.names import ContactId, Tag, TagSet

_ROUNDS = 6
_FEW_ROUNDS = 2
_MANY_CELLS = 1 << 25
_BLOCK_CELLS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """`must`, `may`: patterns × tags, packed. `once`: one packed row, the tags that are not repeatable.

    Contacts are numbered so that pattern p owns those from start[p] to start[p + 1].
    """

    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]
    start: Ints
    must: Bits
    may: Bits
    once: Bits
    max_contacts: int
    max_tags: int

    @property
    def counts(self) -> Ints:
        return np.diff(self.start)

    def cost(self, contacts: int, tags: int) -> int:
        """The requests for a rectangle of so many contacts and tags."""
        return -(-contacts // self.max_contacts) * -(-tags // self.max_tags)


def collapse(demands: Iterable[Demand], *, repeatable: TagSet, max_contacts: int, max_tags: int) -> Problem:
    """The problem of these demands; raises ValueError for a must outside may or a contact in two demands."""
    asked = [demand for demand in demands if demand.must and demand.contacts]
    _refuse_twice(asked)
    names = sorted(set(chain.from_iterable({demand.must for demand in asked})))
    once = np.array([tag not in repeatable for tag in names], np.bool_)
    cells, groups = _patterns(asked, names, once)
    sizes = np.array([len(group) for group in groups], np.int64)
    rows, columns = _colours(cells, sizes, once)
    row_order = _by_look(rows, [group[0] for group in groups])
    column_order = np.lexsort((np.arange(len(names)), columns))
    width = len(names)
    return Problem(
        tags=tuple(names[column] for column in column_order),
        contacts=tuple(chain.from_iterable(groups[row] for row in row_order.tolist())),
        start=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[row_order])]),
        must=compress(cells.must[row_order], column_order, width=width),
        may=compress(cells.may[row_order], column_order, width=width),
        once=pack(np.zeros(once.sum(), np.int64), np.flatnonzero(once[column_order]), shape=(1, width))[0],
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
    must: Bits
    may: Bits


def _refuse_twice(demands: Sequence[Demand]) -> None:
    contacts = set(chain.from_iterable(demand.contacts for demand in demands))
    if len(contacts) != sum(len(demand.contacts) for demand in demands):
        raise ValueError("a contact occurs twice in the demands")


def _patterns(demands: Sequence[Demand], names: Sequence[Tag], once: Bools) -> tuple[_Cells, list[list[ContactId]]]:
    """The distinct patterns and the contacts of each, sorted."""
    must, may = _encode([demand.must for demand in demands], [demand.may for demand in demands], names)
    if (must & ~may).any() or any(not demand.must <= demand.may for demand in demands):
        raise ValueError("a demand with a tag that must be sent but may not")
    mask = pack(np.zeros(once.sum(), np.int64), np.flatnonzero(once), shape=(1, len(names)))
    may = must | (may & ~mask)
    first, kind = distinct_rows(np.concatenate([must, may], axis=1))
    groups: list[list[ContactId]] = [[] for _ in range(len(first))]
    for demand, number in zip(demands, kind.tolist(), strict=True):
        groups[number].extend(demand.contacts)
    for group in groups:
        group.sort()
    return _Cells(must[first], may[first]), groups


def _encode(musts: Sequence[TagSet], mays: Sequence[TagSet], names: Sequence[Tag]) -> tuple[Bits, Bits]:
    """The sets as packed rows; tags that are not in `names` are left out."""
    number: dict[TagSet, int] = {}
    kinds = [np.array([number.setdefault(one, len(number)) for one in sets], np.int64) for sets in (musts, mays)]
    index = {tag: place for place, tag in enumerate(names)}
    lengths = np.fromiter(map(len, number), np.int64, len(number))
    flat = map(index.get, chain.from_iterable(number), repeat(-1))
    columns = np.fromiter(flat, np.int64, int(lengths.sum()))
    rows = np.repeat(np.arange(len(number)), lengths)
    known = columns >= 0
    packed = pack(rows[known], columns[known], shape=(len(number), len(names)))
    return packed[kinds[0]], packed[kinds[1]]


def _colours(cells: _Cells, sizes: Ints, once: Bools) -> tuple[Bits, Bits]:
    """A number for each pattern and each tag that says what it looks like."""
    rows, columns = _mix(sizes.astype(np.uint64)), _mix(once.astype(np.uint64))
    distinct, same = 0, np.array_equal(cells.must, cells.may)
    for _ in range(_FEW_ROUNDS if len(rows) * len(columns) > _MANY_CELLS else _ROUNDS):
        must = _sums(cells.must, rows, columns)
        may = must if same else _sums(cells.may, rows, columns)
        rows = _mix(rows + _mix(must[0]) + _mix(_mix(may[0])))
        columns = _mix(columns + _mix(must[1]) + _mix(_mix(may[1])))
        before, distinct = distinct, len(np.unique(rows)) + len(np.unique(columns))
        if distinct == before:
            break
    return rows, columns


def _sums(packed: Bits, rows: Bits, columns: Bits) -> tuple[Bits, Bits]:
    """For each row the sum over its columns, for each column the sum over its rows, of their colours.

    Colours are cut to three numbers below 2^20, so that sums of doubles are exact, whatever their order.
    """
    by_row, by_column = _parts(rows), _parts(columns)
    row_sums = np.empty_like(by_row)
    column_sums = np.zeros_like(by_column)
    step = max(1, _BLOCK_CELLS // max(1, len(columns)))
    for top in range(0, len(rows), step):
        block = unpack(packed[top : top + step], len(columns)).astype(np.float64)
        row_sums[top : top + step] = block @ by_column
        column_sums += block.T @ by_row[top : top + step]
    return _whole(row_sums), _whole(column_sums)


def _parts(colours: Bits) -> npt.NDArray[np.float64]:
    shifts = np.array([0, 20, 40], np.uint64)
    return ((colours[:, None] >> shifts) & np.uint64((1 << 20) - 1)).astype(np.float64)


def _whole(parts: npt.NDArray[np.float64]) -> Bits:
    mixed = parts.astype(np.uint64)
    return _mix(mixed[:, 0] + _mix(mixed[:, 1] + _mix(mixed[:, 2])))


def _mix(values: Bits) -> Bits:
    """SplitMix64: every bit of the result depends on every bit of the value."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
