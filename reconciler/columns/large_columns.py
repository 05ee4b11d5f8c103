"""Columns of integers by the numbers of contacts, worked on as wholes; each as its namesake in `contact_numbers.py`."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciler.columns.id_table import IdTable, Ints
from reconciler.core.model.contact_numbers import ABSENT, GroupedIds, IntegerPair, Numbers
from reconciler.core.model.names import ContactId

_Keys: TypeAlias = npt.NDArray[np.int64]
_BETWEEN = b'", "'


def as_numbers(integers: Ints) -> Numbers:
    """A column of the core's."""
    column = array("i")
    column.frombytes(integers.tobytes())
    return column


def _as_ints(column: Sequence[int]) -> Ints:
    """The same memory, where it is a column of the core's."""
    return np.frombuffer(column, np.int32) if isinstance(column, array) else np.array(column, np.int32)


def cut_cells(block: bytes, delimiter: str, width: int, place: int, length: int) -> bytes | None:
    """The cells at one place of the rows, which follow one another; None where one of them is not of this length."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero((text == ord(delimiter)) | (text == ord("\n")) if width > 1 else text == ord("\n"))
    # the cell before the first one ends before the block
    before = np.concatenate([[-1], ends[:-1]])[place::width]
    if not (ends[place::width] - before == length + 1).all():
        return None
    cells: npt.NDArray[np.uint8] = np.lib.stride_tricks.sliding_window_view(text, length)[before + 1]
    return cells.tobytes()


def put_all(column: Numbers, numbers: Ints, found: str, integers: Mapping[int, int]) -> None:
    """Gives each number the value in `integers` of the integer at its place in `found`, a text with commas."""
    stored, places = np.unique(np.fromstring(found, np.int64, sep=","), return_inverse=True)
    if len(places) != len(numbers):
        raise ValueError(f"{len(places):,} integers for {len(numbers):,} contacts")
    _as_ints(column)[numbers] = np.array([integers[integer] for integer in stored.tolist()], np.int32)[places]


def advance(column: Numbers, members: Numbers, steps: dict[int, int]) -> None:
    whole, places = _as_ints(column), _as_ints(members)
    before = whole[places] - ABSENT
    following = np.zeros(before.max(initial=0) + 1, np.int32)
    for integer in np.flatnonzero(np.bincount(before)).tolist():
        following[integer] = steps[integer + ABSENT]
    whole[places] = following[before]


def count_integers(column: Numbers) -> Counter[int]:
    numbers = np.bincount(_as_ints(column) - ABSENT)
    numbers[:1] = 0
    integers = np.flatnonzero(numbers)
    return Counter(dict(zip((integers + ABSENT).tolist(), numbers[integers].tolist(), strict=True)))


def count_pairs(first: Sequence[int], second: Sequence[int]) -> Counter[IntegerPair]:
    width = _width(second)
    keys, numbers = np.unique(_keys(first, second, width), return_counts=True)
    pairs = zip((keys // width).tolist(), (keys % width + ABSENT).tolist(), strict=True)
    return Counter(dict(zip(pairs, numbers.tolist(), strict=True)))


def _width(second: Sequence[int]) -> int:
    return int(_as_ints(second).max(initial=ABSENT)) - ABSENT + 1


def _keys(first: Sequence[int], second: Sequence[int], width: int) -> _Keys:
    """A number for each pair of integers; raises ValueError for columns of two lengths."""
    if len(first) != len(second):
        raise ValueError(f"a column of {len(first):,} contacts beside one of {len(second):,}")
    keys: _Keys = _as_ints(first).astype(np.int64) * width + (_as_ints(second) - ABSENT)
    return keys


def list_pairs(
    table: IdTable, first: Sequence[int], second: Sequence[int], pairs: Iterable[IntegerPair]
) -> dict[IntegerPair, list[ContactId]]:
    """The contacts of a pair are in the order of their ids."""
    if len(first) != len(table):
        raise ValueError(f"a column of {len(first):,} contacts, of which {len(table):,} have numbers")
    width = _width(second)
    # an integer that is not in the column would have the key of another pair: below all others
    nobody = (ABSENT - 1) * width
    key_of = {pair: pair[0] * width + pair[1] - ABSENT if pair[1] - ABSENT < width else nobody for pair in pairs}
    sought = np.array(sorted({nobody, *key_of.values()}), np.int64)
    keys = _keys(first, second, width)[table.in_order]
    places = np.minimum(np.searchsorted(sought, keys), len(sought) - 1)
    is_sought = sought[places] == keys
    groups = places[is_sought]
    chosen = table.in_order[is_sought][np.argsort(groups, kind="stable")]
    found = list(map(ContactId, table.texts(chosen)))
    ends = np.cumsum(np.bincount(groups, minlength=len(sought))).tolist()
    parts = {key: found[start:end] for key, start, end in zip(sought.tolist(), [0, *ends], ends, strict=False)}
    return {pair: parts[key] for pair, key in key_of.items()}


class ManyGroupedIds(GroupedIds):
    """Of ids that are letters and digits, all of one length: their JSON is cut from one text."""

    def __init__(self, table: IdTable, column: Numbers, integers: int) -> None:
        of_column = table.in_order[table.in_order < len(column)]
        held = _as_ints(column)[of_column] - ABSENT
        self._order = of_column[np.argsort(held, kind="stable")]
        self._ends = np.cumsum(np.bincount(held, minlength=integers + 1)).tolist()
        self._table, self._size = table, table.length + len(_BETWEEN)
        self._places = np.empty(len(table), np.int32)
        self._places[table.in_order] = np.arange(len(table), dtype=np.int32)
        self._text = self._write(self._order)

    def has(self, integer: int) -> bool:
        start, end = self._bounds(integer)
        return start < end

    def write(self, integers: Sequence[int]) -> bytes:
        bounds = list(map(self._bounds, integers))
        if len(bounds) == 1:
            ((start, end),) = bounds
            rows = self._text[start * self._size : end * self._size]
        else:
            numbers = np.concatenate([self._order[:0], *(self._order[start:end] for start, end in bounds)])
            rows = self._write(numbers[np.argsort(self._places[numbers])])
        return b'["' + rows[: -len(_BETWEEN)] + b'"]' if rows else b"[]"

    def _bounds(self, integer: int) -> tuple[int, int]:
        # before the first are the contacts that have none
        return self._ends[integer], self._ends[integer + 1]

    def _write(self, numbers: Ints) -> bytes:
        """The ids of these contacts, each with what is between it and the next."""
        rows = np.empty((len(numbers), self._size), np.uint8)
        rows[:, : self._table.length] = self._table.rows(numbers)
        rows[:, self._table.length :] = np.frombuffer(_BETWEEN, np.uint8)
        return rows.tobytes()
