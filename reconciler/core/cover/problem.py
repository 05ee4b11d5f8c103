"""The planning problem as arrays, in an order that does not depend on how things are called.

Rules
1. Demands of equal (must, may) are one pattern. A tag that nobody needs is never sent, so it is left out.
2. In a tag that is not repeatable, may is must.
3. Patterns and tags are sorted by what they look like (colour refinement: a tag is known by the patterns that
   hold it,
   a pattern by its size and its tags), and by name only where they look alike. Renaming and reordering
   therefore change nothing but names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reconciler.core.cover.bits import Bits, Ints, pack, pack_sets
from reconciler.core.cover.model import Demand
from reconciler.core.names import ContactId, Tag, TagSet

_ROUNDS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """`must`, `may`: patterns × tags, packed. Pattern p owns the contacts from start[p] to start[p + 1].
    `once`: one packed row, the tags not repeatable."""

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
    patterns = _merge(demands, repeatable)
    names = sorted(frozenset[Tag]().union(*{must for must, _ in patterns}))
    index = {tag: number for number, tag in enumerate(names)}
    musts = _numbered([must for must, _ in patterns], index)
    mays = _numbered([may for _, may in patterns], index)
    once = np.array([tag not in repeatable for tag in names], np.bool_)
    sizes = np.array([len(contacts) for contacts in patterns.values()], np.int64)
    rows, columns = _colours(musts, mays, sizes, once)
    firsts = [contacts[0] for contacts in patterns.values()]
    row_order = np.array(sorted(range(len(firsts)), key=lambda row: (rows[row], firsts[row])), np.int64)
    column_order = np.lexsort((np.arange(len(names)), columns))
    place = np.empty(len(names), np.int64)
    place[column_order] = np.arange(len(names))
    groups = list(patterns.values())
    return Problem(
        tags=tuple(names[column] for column in column_order),
        contacts=tuple(contact for row in row_order for contact in groups[row]),
        start=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[row_order])]),
        must=_packed(musts, place)[row_order],
        may=_packed(mays, place)[row_order],
        once=pack_sets([place[once].tolist()], len(names))[0],
        max_contacts=max_contacts,
        max_tags=max_tags,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Where the ones of a matrix are: cell i is (rows[i], columns[i])."""

    rows: Ints
    columns: Ints
    shape: tuple[int, int]


def _merge(demands: Iterable[Demand], repeatable: TagSet) -> dict[tuple[TagSet, TagSet], list[ContactId]]:
    groups: dict[tuple[TagSet, TagSet], list[ContactId]] = {}
    for demand in demands:
        if not demand.must <= demand.may:
            raise ValueError(f"tags that must be sent but may not: {sorted(demand.must - demand.may)}")
        if demand.must:
            key = (demand.must, demand.must | (demand.may & repeatable))
            groups.setdefault(key, []).extend(demand.contacts)
    for contacts in groups.values():
        contacts.sort()
    found = {key: contacts for key, contacts in groups.items() if contacts}
    total = sum(map(len, found.values()))
    if len({contact for contacts in found.values() for contact in contacts}) != total:
        raise ValueError("a contact occurs twice in the demands")
    return found


def _numbered(sets: Sequence[TagSet], index: dict[Tag, int]) -> _Cells:
    known = {one: [index[tag] for tag in one if tag in index] for one in set(sets)}
    lists = [known[one] for one in sets]
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    columns = np.fromiter((column for one in lists for column in one), np.int64, int(lengths.sum()))
    return _Cells(np.repeat(np.arange(len(lists)), lengths), columns, (len(lists), len(index)))


def _packed(cells: _Cells, place: Ints) -> Bits:
    return pack(cells.rows, place[cells.columns], shape=cells.shape)


def _colours(
    musts: _Cells, mays: _Cells, sizes: Ints, once: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> tuple[Bits, Bits]:
    """A number for each pattern and tag that says what it looks like."""
    rows = _mix(sizes.astype(np.uint64))
    columns = _mix(once.astype(np.uint64))
    for _ in range(_ROUNDS):
        rows = _mix(rows + _sums(musts, columns, 1, by_row=True) + _sums(mays, columns, 2, by_row=True))
        columns = _mix(columns + _sums(musts, rows, 3, by_row=False) + _sums(mays, rows, 4, by_row=False))
    return rows, columns


def _sums(cells: _Cells, colours: Bits, salt: int, *, by_row: bool) -> Bits:
    total = np.zeros(cells.shape[0 if by_row else 1], np.uint64)
    there, other = (cells.rows, cells.columns) if by_row else (cells.columns, cells.rows)
    np.add.at(total, there, _mix(colours + np.uint64(salt))[other])
    return _mix(total + np.uint64(salt))


def _mix(values: Bits) -> Bits:
    """SplitMix64: every bit of the result depends on every bit of the value."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
