"""Columns: lists of contacts by their numbers, and what is told of them as small integers.

Rules
1. To everybody else a list of contacts is the sequence of its ids, and a column the mapping from its ids to integers.
2. A column has nothing for contacts that were numbered after it was made.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import TypeVar, overload

from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers, Numbers
from reconciler.core.model.names import ContactId

T = TypeVar("T")


class NumberedContacts(Sequence[ContactId]):
    """Contacts in an order, as their numbers."""

    __slots__ = ("numbered", "numbers")

    def __init__(self, numbered: ContactNumbers, numbers: Numbers) -> None:
        self.numbered, self.numbers = numbered, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[ContactId]:
        return map(self.numbered.ids.__getitem__, self.numbers)

    def list_among(self, contacts: Collection[ContactId]) -> list[ContactId]:
        """Those that are among some, which are nearly always none."""
        return [contact for contact in self if contact in contacts] if contacts else []

    def __contains__(self, contact: object) -> bool:
        number = self.numbered.find(contact)
        return number != ABSENT and number in self.numbers

    @overload
    def __getitem__(self, index: int) -> ContactId: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ContactId]: ...
    def __getitem__(self, index: int | slice) -> ContactId | Sequence[ContactId]:
        if isinstance(index, slice):
            return NumberedContacts(self.numbered, self.numbers[index])
        return self.numbered.ids[self.numbers[index]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class ContactColumn(Mapping[ContactId, int]):
    """An integer for each of some contacts, none below 0."""

    __slots__ = ("_size", "column", "numbered")

    def __init__(self, numbered: ContactNumbers, column: Numbers) -> None:
        """`column`: the integers by the number of the contact, `ABSENT` for other contacts."""
        self.numbered, self.column = numbered, column
        self._size = len(column) - column.count(ABSENT)

    @classmethod
    def of(cls, integers: Mapping[ContactId, int]) -> ContactColumn:
        return integers if isinstance(integers, cls) else cls(ContactNumbers(integers), array("i", integers.values()))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[ContactId]:
        return (contact for contact, integer in zip(self.numbered.ids, self.column, strict=False) if integer >= 0)

    def __contains__(self, contact: object) -> bool:
        return self._find(contact) != ABSENT

    def __getitem__(self, contact: ContactId) -> int:
        if (integer := self._find(contact)) == ABSENT:
            raise KeyError(contact)
        return integer

    def _find(self, contact: object) -> int:
        number = self.numbered.find(contact)
        return self.column[number] if ABSENT < number < len(self.column) else ABSENT

    @overload
    def get(self, contact: ContactId, /) -> int | None: ...
    @overload
    def get(self, contact: ContactId, /, default: int | T) -> int | T: ...
    def get(self, contact: ContactId, /, default: int | T | None = None) -> int | T | None:
        integer = self._find(contact)
        return default if integer == ABSENT else integer

    def items(self) -> ItemsView[ContactId, int]:
        return _Items(self)

    def values(self) -> ValuesView[int]:
        return _Values(self)

    def count_integers(self) -> Counter[int]:
        """How many contacts have each of the integers."""
        return self.numbered.count_integers(self.column)

    def distinct_integers(self) -> set[int]:
        return set(self.count_integers())

    def find_all(self, contacts: Iterable[ContactId], absent: int) -> list[int]:
        """The integer of each of the contacts, `absent` for those that have none."""
        column, end = self.column, len(self.column)
        numbers = list(self.numbered.find_all(contacts))
        # all are there, most of the time: then no contact costs a step of Python
        if numbers and min(numbers) > ABSENT and max(numbers) < end:
            known = list(map(column.__getitem__, numbers))
            if ABSENT not in known:
                return known
        found = (column[number] if ABSENT < number < end else ABSENT for number in numbers)
        return [absent if integer == ABSENT else integer for integer in found]

    def put_all(self, contacts: Collection[ContactId], integers: Iterable[int]) -> None:
        """Gives the contacts these integers, in place of those that they have."""
        if not contacts:
            return
        numbers = self.numbered.number(contacts)
        self.numbered.extend(self.column)
        column = self.column
        self._size += list(map(column.__getitem__, set(numbers))).count(ABSENT)
        for number, integer in zip(numbers, integers, strict=True):
            column[number] = integer

    def beside(self, other: ContactColumn) -> tuple[ContactNumbers, Sequence[int], Sequence[int]]:
        """The contacts of both columns, with the integer that each has in this and in the other one, or `ABSENT`.

        There may be contacts among them of which neither column has anything.
        """
        if self.numbered is other.numbered:
            for column in (self.column, other.column):
                self.numbered.extend(column)
            return self.numbered, self.column, other.column
        if not other:
            self.numbered.extend(self.column)
            return self.numbered, self.column, array("i", [ABSENT]) * len(self.column)
        contacts, integers = list(self), list(self.values())
        others = list(other)
        more = [who for who, integer in zip(others, self.find_all(others, ABSENT), strict=True) if integer == ABSENT]
        contacts += more
        return ContactNumbers(contacts), integers + [ABSENT] * len(more), other.find_all(contacts, ABSENT)


class _Items(ItemsView[ContactId, int]):
    _mapping: ContactColumn

    def __iter__(self) -> Iterator[tuple[ContactId, int]]:
        pairs = zip(self._mapping.numbered.ids, self._mapping.column, strict=False)
        return ((contact, integer) for contact, integer in pairs if integer >= 0)


class _Values(ValuesView[int]):
    _mapping: ContactColumn

    def __iter__(self) -> Iterator[int]:
        return (integer for integer in self._mapping.column if integer >= 0)
