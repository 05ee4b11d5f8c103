"""Home of numpy beside the cover: what the core works out contact by contact, for locations of tens of thousands of
contacts.

Law: `LargeNumbers` gives what `ContactNumbers` gives, but for the order of the integers that `advance` asks for, and of
the contacts of a pair. Importing this package does not import numpy: a location of few contacts needs none.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from reconciler.core.model.contact_numbers import ContactNumbers, GroupedIds, IntegerPair, Numbers
from reconciler.core.model.names import ID_LENGTH, ContactId

if TYPE_CHECKING:
    from reconciler.columns.id_table import IdTable

LARGE = 1 << 16
"""From so many contacts on numpy saves more time than it takes to load."""
_FEW = 256
"""Contacts that a dictionary finds as soon."""
QUESTIONS = 500
"""So many times the table answers for fewer contacts than that; then the dictionary of all contacts is made."""


class LargeNumbers(ContactNumbers):
    """Contacts by number, from so many on in a table of numpy's.

    An id that is not letters and digits, or is of another length than the others, ends the table. Either the table or
    the dictionary may lack the last contacts, until it is asked again; so who asks changes it, a thread at a time.
    """

    __slots__ = ("_large", "_questions", "_table")

    def __init__(self, contacts: Iterable[ContactId] = (), *, large: int = LARGE, questions: int = QUESTIONS) -> None:
        """`large`: from how many contacts on there is a table; `questions`: that it answers about few contacts."""
        self._large: int | None = large
        self._table: IdTable | None = None
        self._questions = questions
        super().__init__(contacts)

    def __len__(self) -> int:
        return max(len(self._numbers), 0 if self._table is None else len(self._table))

    def _list_ids(self, first: int) -> Iterable[ContactId]:
        if self._table is not None and len(self._table) > len(self._numbers):
            return map(ContactId, self._table.texts(slice(first, None)))
        return super()._list_ids(first)

    @property
    def _number_of(self) -> Mapping[ContactId, int]:
        if (known := len(self._numbers)) < len(self):
            self._numbers.update(zip(self.ids[known:], count(known), strict=False))
        return self._numbers

    def _find_table(self, more: int = 0, length: int = 0) -> IdTable | None:
        """The table with all contacts; None where there are few, with so many more, or ids of other kinds.

        `length`: of the first of those that are to come.
        """
        if self._large is None or len(self) + more < max(self._large, 1):
            return None
        from reconciler.columns.id_table import IdTable

        if self._table is None:
            self._table = IdTable(len(self.ids[0]) if len(self) else length)
        if (known := len(self._table)) < len(self):
            joined = self._table.join(self.ids[known:])
            if joined is None:
                self._large = self._table = None
            else:
                self._table.number(joined)
        return self._table

    def list_odd(self) -> list[ContactId]:
        table = self._find_table()
        # the table has letters and digits alone
        return [] if table is not None and table.length == ID_LENGTH else super().list_odd()

    @property
    def _is_behind(self) -> bool:
        """Whether the dictionary lacks contacts of the table."""
        return self._table is not None and len(self._numbers) < len(self._table)

    def _join(self, contacts: Sequence[ContactId]) -> tuple[IdTable, bytes] | None:
        """The table and the contacts as it takes them; None where the dictionary is to be asked. Counts questions."""
        if len(contacts) < _FEW:
            # a few answers of the table take less time than to make the dictionary of all contacts; once it is made,
            # the table is brought up to it for many contacts alone
            if not self._is_behind or self._questions == 0:
                return None
            self._questions -= 1
        table = self._find_table(len(contacts), len(contacts[0]) if contacts else 0)
        if table is None or (joined := table.join(contacts)) is None:
            return None
        return table, joined

    def number(self, contacts: Iterable[ContactId]) -> list[int]:
        asked = list(contacts)
        return list(self.number_all(asked)) if self._is_behind or len(asked) >= _FEW else super().number(asked)

    def number_all(self, contacts: Sequence[ContactId]) -> Numbers:
        if (asked := self._join(contacts)) is None:
            return array("i", super().number(contacts))
        from reconciler.columns.large_columns import as_numbers

        table, joined = asked
        return as_numbers(table.number(joined))

    def find_all(self, contacts: Iterable[ContactId]) -> Iterator[int]:
        sought = list(contacts)
        # without a table the dictionary has all of them
        if self._table is None or (asked := self._join(sought)) is None:
            return super().find_all(sought)
        table, joined = asked
        return iter(table.find(joined).tolist())

    def find(self, contact: object) -> int:
        if self._table is None or not isinstance(contact, str) or (asked := self._join([ContactId(contact)])) is None:
            return super().find(contact)
        table, joined = asked
        return int(table.find(joined)[0])

    def number_cells(self, block: bytes, delimiter: str, width: int, place: int) -> Numbers | None:
        is_small = block.count(b"\n") < _FEW
        if not is_small and (table := self._find_table()) is not None:
            from reconciler.columns.large_columns import as_numbers, cut_cells

            cells = cut_cells(block, delimiter, width, place, table.length)
            if cells is not None and cells.isalnum():
                return as_numbers(table.number(cells))
        return super().number_cells(block, delimiter, width, place)

    def put_joined(self, column: Numbers, ids: str, length: int, found: str, integers: Mapping[int, int]) -> None:
        table = self._find_table(len(ids) // length, length)
        if table is None or table.length != length:
            super().put_joined(column, ids, length, found, integers)
            return
        from reconciler.columns.large_columns import put_all

        numbers = table.number(ids.encode("ascii"))
        self.extend(column)
        put_all(column, numbers, found, integers)

    def advance(self, column: Numbers, members: Numbers, steps: dict[int, int]) -> None:
        if self._find_table() is None:
            super().advance(column, members, steps)
        else:
            from reconciler.columns.large_columns import advance

            advance(column, members, steps)

    def count_integers(self, column: Numbers) -> Counter[int]:
        if self._find_table() is None:
            return super().count_integers(column)
        from reconciler.columns.large_columns import count_integers

        return count_integers(column)

    def count_pairs(self, first: Sequence[int], second: Sequence[int]) -> Counter[IntegerPair]:
        if self._find_table() is None:
            return super().count_pairs(first, second)
        from reconciler.columns.large_columns import count_pairs

        return count_pairs(first, second)

    def list_pairs(
        self, first: Sequence[int], second: Sequence[int], pairs: Iterable[IntegerPair]
    ) -> dict[IntegerPair, list[ContactId]]:
        table = self._find_table()
        if table is None or not (sought := list(pairs)):
            return super().list_pairs(first, second, pairs)
        from reconciler.columns.large_columns import list_pairs

        return list_pairs(table, first, second, sought)

    def group_ids(self, column: Numbers, integers: int) -> GroupedIds:
        if (table := self._find_table()) is None:
            return super().group_ids(column, integers)
        from reconciler.columns.large_columns import ManyGroupedIds

        return ManyGroupedIds(table, column, integers)
