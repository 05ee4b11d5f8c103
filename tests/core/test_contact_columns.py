"""Numbered contacts are to others what they stand for: a list of ids, and a dict from ids to integers."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.contact_columns import ContactColumn, NumberedContacts
from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers
from reconciler.core.model.names import ContactId
from tests.build import column_of

IDS = st.sampled_from([*map(ContactId, ("anna", "bert", "cara", "dora", "é6"))])
LISTS = st.lists(IDS, unique=True)
INTEGERS = st.dictionaries(IDS, st.integers(0, 3))
NOBODY = ContactId("nobody")


@given(LISTS, LISTS)
def test_numbered_contacts_are_a_sequence_of_ids(numbered_before: list[ContactId], ids: list[ContactId]) -> None:
    numbered = ContactNumbers(numbered_before)
    listed = NumberedContacts(numbered, array("i", numbered.number(ids)))
    assert listed == tuple(ids)
    assert (hash(listed), repr(listed), len(listed)) == (hash(tuple(ids)), repr(tuple(ids)), len(ids))
    assert listed[1:] == ids[1:]
    assert [listed[place] for place in range(len(ids))] == ids
    assert all((contact in listed) == (contact in ids) for contact in [*numbered_before, NOBODY])
    assert listed.list_among({ids[0]} if ids else set()) == ids[:1]


@given(LISTS, INTEGERS, INTEGERS, LISTS)
def test_a_column_is_a_mapping(
    numbered_before: list[ContactId],
    integers: dict[ContactId, int],
    put: dict[ContactId, int],
    numbered_later: list[ContactId],
) -> None:
    column = column_of(list(integers.items()), {n: n for n in range(4)}, ContactNumbers(numbered_before))
    assert column == integers == ContactColumn.of(integers)
    column.put_all(put, put.values())
    plain = integers | put
    column.numbered.number(numbered_later)
    assert dict(column.items()) == {contact: column[contact] for contact in column} == plain
    assert sorted(column) == sorted(plain)
    assert len(column) == len(plain)
    assert sorted(column.values()) == sorted(plain.values())
    assert column.distinct_integers() == set(plain.values())
    assert column.count_integers().total() == len(plain)
    everybody = [*numbered_before, *plain, *numbered_later, NOBODY]
    assert column.find_all(everybody, 7) == [plain.get(contact, 7) for contact in everybody]
    assert [column.get(contact) for contact in everybody] == [plain.get(contact) for contact in everybody]
    assert [contact in column for contact in everybody] == [contact in plain for contact in everybody]


@given(INTEGERS, LISTS)
def test_a_column_has_nothing_for_contacts_that_others_numbered(
    integers: dict[ContactId, int], more: list[ContactId]
) -> None:
    column = ContactColumn.of(integers)
    column.numbered.number(more)
    for contact in {NOBODY, *more} - integers.keys():
        with pytest.raises(KeyError, match=contact):
            column[contact]


@given(INTEGERS, INTEGERS, st.booleans())
def test_two_columns_stand_beside_each_other(
    first: dict[ContactId, int], second: dict[ContactId, int], shared: bool
) -> None:
    one = ContactColumn.of(first)
    same = {integer: integer for integer in range(4)}
    other = column_of(list(second.items()), same, one.numbered if shared else ContactNumbers())
    numbered, integers, others = one.beside(other)
    rows = [row for row in zip(numbered.ids, integers, others, strict=True) if row[1:] != (ABSENT, ABSENT)]
    assert sorted(rows) == sorted(
        (contact, first.get(contact, ABSENT), second.get(contact, ABSENT)) for contact in first.keys() | second.keys()
    )
