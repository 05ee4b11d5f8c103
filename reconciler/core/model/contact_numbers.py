"""Contacts by number: an id is a string once, and what is worked out for a million contacts are columns of integers.

Rule: numbers are given from 0 on and never taken back: who shares them may number further contacts.
"""

from __future__ import annotations

import json
import string
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import TypeAlias

from reconciler.core.model.names import ContactId, are_plain, odd_contact_ids

Numbers: TypeAlias = "array[int]"
ABSENT = -1
"""In a column, for a contact of which it has nothing."""
IntegerPair: TypeAlias = tuple[int, int]
"""The integer of a contact in one column, and that in another."""
_BLOCK = 1024
"""So many rows are numbered together."""
_LETTERS_AND_DIGITS = (string.ascii_letters + string.digits).encode()


class _NumberOf(dict[ContactId, int]):
    """By contact; one that is asked for is given the next number."""

    def __missing__(self, contact: ContactId) -> int:
        self[contact] = number = len(self)
        return number


class ContactNumbers:
    """Contacts, each with its number; and what is worked out for all of them, a column at a time."""

    __slots__ = ("_ids", "_numbers")

    def __init__(self, contacts: Iterable[ContactId] = ()) -> None:
        self._numbers = _NumberOf()
        self._ids: list[ContactId] = []
        self.number(contacts)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def ids(self) -> list[ContactId]:
        """The contacts by number."""
        if (known := len(self._ids)) < len(self):
            # put in its place: of two threads that list them at once neither lists them again
            self._ids[known:] = self._list_ids(known)
        return self._ids

    def _list_ids(self, first: int) -> Iterable[ContactId]:
        """The contacts from this number on."""
        # from the end: those before are not walked over
        latest = list(islice(reversed(self._numbers), len(self._numbers) - first))
        return reversed(latest)

    @property
    def _number_of(self) -> Mapping[ContactId, int]:
        """The number of every contact; one without is given the next."""
        return self._numbers

    def list_odd(self) -> list[ContactId]:
        """The contacts with ids that HighLevel cannot have issued."""
        return odd_contact_ids(self.ids)

    def number(self, contacts: Iterable[ContactId]) -> list[int]:
        """The number of each of these contacts; a contact without one is given the next."""
        return list(map(self._number_of.__getitem__, contacts))

    def number_all(self, contacts: Sequence[ContactId]) -> Numbers:
        """The same, as a column."""
        return array("i", self.number(contacts))

    def number_cells(self, block: bytes, delimiter: str, width: int, place: int) -> Numbers | None:
        """The numbers of the cells at one place in rows of so many; None where one is not of letters and digits alone.

        `block`: whole lines of ASCII, in which nothing but delimiters and line feeds parts cells.
        """
        cells = block.decode("ascii").replace("\n", delimiter).split(delimiter)[place:-1:width]
        is_plain = all(cells) and are_plain("".join(cells))
        return self.number_all(list(map(ContactId, cells))) if is_plain else None

    def find_all(self, contacts: Iterable[ContactId]) -> Iterator[int]:
        """The number of each of these contacts; `ABSENT` where it has none."""
        return map(self._number_of.get, contacts, repeat(ABSENT))

    def find(self, contact: object) -> int:
        """The number of a contact; `ABSENT` where it has none."""
        return self._number_of.get(contact, ABSENT)  # type: ignore[call-overload, no-any-return]

    def put_rows(self, column: Numbers, rows: Iterable[tuple[ContactId, int]], integers: Mapping[int, int]) -> None:
        """Gives each contact of these rows, none of them twice, what `integers` has for the integer of its row.

        A contact that has no number is given the next; the column is made as long as there are contacts.
        """
        rows = iter(rows)
        while block := tuple(islice(rows, _BLOCK)):
            contacts, found = zip(*block, strict=True)
            numbers = self.number(contacts)
            self.extend(column)
            for number, integer in zip(numbers, map(integers.__getitem__, found), strict=True):
                column[number] = integer

    def put_joined(self, column: Numbers, ids: str, length: int, found: str, integers: Mapping[int, int]) -> None:
        """The same, of rows that come as two texts.

        `ids`: letters and digits, all of one length, one after another; `found`: the integers, with commas between.
        """
        contacts = (ContactId(ids[start : start + length]) for start in range(0, len(ids), length))
        self.put_rows(column, zip(contacts, map(int, found.split(",")), strict=True), integers)

    def extend(self, column: Numbers) -> None:
        """Makes the column as long as there are contacts; those that are new in it have nothing."""
        if (missing := len(self) - len(column)) > 0:
            column.extend(array("i", [ABSENT]) * missing)

    def advance(self, column: Numbers, members: Numbers, steps: dict[int, int]) -> None:
        """Gives each of the members, none of them twice, the integer that follows the one that it has in the column."""
        for number in members:
            column[number] = steps[column[number]]

    def count_integers(self, column: Numbers) -> Counter[int]:
        """How many contacts have each of the integers of a column."""
        counted = Counter(column)
        del counted[ABSENT]
        return counted

    def count_pairs(self, first: Sequence[int], second: Sequence[int]) -> Counter[IntegerPair]:
        """How many contacts have the same integer in one column and the same in the other."""
        return Counter(zip(first, second, strict=True))

    def list_pairs(
        self, first: Sequence[int], second: Sequence[int], pairs: Iterable[IntegerPair]
    ) -> dict[IntegerPair, list[ContactId]]:
        """The contacts of each of these pairs of integers; without pairs no contact is looked at."""
        alike: dict[IntegerPair, list[ContactId]] = {pair: [] for pair in pairs}
        if alike:
            for contact, pair in zip(self.ids, zip(first, second, strict=True), strict=True):
                if pair in alike:
                    alike[pair].append(contact)
        return alike

    def group_ids(self, column: Numbers, integers: int) -> GroupedIds:
        """The contacts by their integers, which are less than `integers`."""
        return GroupedIds(self.ids, column, integers)


class GroupedIds:
    """The ids of contacts that have the same integer, as JSON."""

    def __init__(self, ids: Iterable[ContactId], column: Numbers, integers: int) -> None:
        self._groups: list[list[ContactId]] = [[] for _ in range(integers + 1)]
        for contact, integer in zip(ids, column, strict=False):
            self._groups[integer].append(contact)
        # of contacts without an integer it is that of the last
        assert ABSENT == -1
        self._groups.pop()

    def has(self, integer: int) -> bool:
        """Whether some contact has it."""
        return bool(self._groups[integer])

    def write(self, integers: Sequence[int]) -> bytes:
        """The list of the ids that have one of these integers, sorted, as JSON."""
        return _write_ids(sorted(chain.from_iterable(map(self._groups.__getitem__, integers))))


def _write_ids(ids: Sequence[ContactId]) -> bytes:
    """The JSON of some ids; where all are letters and digits, it is that of their text."""
    text = '", "'.join(ids).encode(errors="surrogatepass")
    if ids and text.translate(None, _LETTERS_AND_DIGITS) == b'", "' * (len(ids) - 1):
        return b'["' + text + b'"]'
    return json.dumps(ids).encode()
