"""A location of very many contacts is what one of few is: the same numbers, columns, pairs and digests, by numpy."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.columns import LARGE, QUESTIONS, LargeNumbers
from reconciler.columns.id_table import IdTable
from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers, Numbers
from reconciler.core.model.names import ContactId
from tests.build import column_of

PLAIN = [ContactId("".join(letters)) for letters in product("aB3", repeat=3)]
ODD = [ContactId(text) for text in ("ab", "abcd", "a-b", "aé3", "ab ", "")]
MOSTLY_PLAIN = st.one_of(st.sampled_from(PLAIN), st.sampled_from(PLAIN), st.sampled_from(PLAIN + ODD))
LISTS = st.lists(MOSTLY_PLAIN, max_size=30)
LOTS = st.lists(LISTS, max_size=6)
FEW = st.integers(0, 12)
"""From how many contacts on there is a table."""


def both(
    lots: Sequence[Sequence[ContactId]], large: int, *, questions: int = QUESTIONS
) -> tuple[ContactNumbers, LargeNumbers]:
    plain, many = ContactNumbers(), LargeNumbers(large=large, questions=questions)
    for lot in lots:
        assert many.number_all(lot) == plain.number_all(lot)
    return plain, many


@given(LOTS, FEW, LISTS, LOTS)
def test_contacts_have_the_same_numbers_whenever_they_come(
    lots: list[list[ContactId]], large: int, sought: list[ContactId], later: list[list[ContactId]]
) -> None:
    plain, many = both(lots, large)
    assert [many.find(contact) for contact in sought] == [plain.find(contact) for contact in sought]
    assert many.find(None) == plain.find(None) == ABSENT
    assert list(many.find_all(sought)) == list(plain.find_all(sought))
    for lot in later:
        assert many.number(lot) == plain.number(lot)
    assert many.ids == plain.ids
    assert (len(many), many.list_odd()) == (len(plain), plain.list_odd())


@given(LOTS, FEW, LISTS)
def test_many_questions_about_few_contacts_are_answered_by_a_dictionary(
    lots: list[list[ContactId]], large: int, sought: list[ContactId]
) -> None:
    plain, many = both(lots, large, questions=2)
    assert list(many.find_all(sought)) == list(plain.find_all(sought))
    assert many.number_all(sought) == plain.number_all(sought)
    assert many.ids == plain.ids


@given(LOTS, FEW, st.lists(MOSTLY_PLAIN, min_size=1, max_size=30), st.integers(1, 3), st.data())
def test_the_cells_of_a_block_are_numbered_or_left_as_texts(
    lots: list[list[ContactId]], large: int, ids: list[ContactId], width: int, data: st.DataObject
) -> None:
    plain, many = both(lots, large)
    place = data.draw(st.integers(0, width - 1))
    cells = st.text("xy ", max_size=3)
    rows = [[contact if each == place else data.draw(cells) for each in range(width)] for contact in ids]
    block = "".join(",".join(row) + "\n" for row in rows)
    if not block.isascii():
        return
    assert many.number_cells(block.encode(), ",", width, place) == plain.number_cells(block.encode(), ",", width, place)
    assert many.ids == plain.ids


@pytest.mark.slow
@given(LOTS, FEW, st.dictionaries(MOSTLY_PLAIN, st.integers(0, 3)))
def test_a_column_is_read_with_the_same_integers(
    lots: list[list[ContactId]], large: int, stored: dict[ContactId, int]
) -> None:
    plain, many = both(lots, large)
    integers = {integer: 2 * integer for integer in range(4)}
    column = column_of(list(stored.items()), integers, many)
    assert column.column == column_of(list(stored.items()), integers, plain).column
    assert column.count_integers() == plain.count_integers(column.column)
    assert many.ids == plain.ids


@pytest.mark.slow
@given(LOTS, FEW, st.dictionaries(st.sampled_from(PLAIN), st.integers(0, 3), min_size=1), st.sampled_from(["", "12"]))
def test_a_column_that_comes_as_two_texts_is_that_of_its_rows(
    lots: list[list[ContactId]], large: int, stored: dict[ContactId, int], longer: str
) -> None:
    rows = {ContactId(contact + longer): integer for contact, integer in stored.items()}
    plain, many = both(lots, large)
    integers = {integer: 2 * integer for integer in range(4)}
    texts = "".join(rows), len(next(iter(rows))), ",".join(map(str, rows.values()))
    expected, found = array("i"), array("i", [ABSENT]) * len(many)
    plain.put_rows(expected, rows.items(), integers)
    many.put_joined(found, *texts, integers)
    assert found == expected
    assert many.ids == plain.ids


def test_an_integer_that_stands_for_nothing_is_an_error_of_the_lookup() -> None:
    for numbered in (ContactNumbers(), LargeNumbers(large=1)):
        with pytest.raises(KeyError):
            numbered.put_joined(array("i"), "aBc123", 3, "1,7", {1: 0})
        with pytest.raises(ValueError, match=r"shorter|longer|integers for"):
            numbered.put_joined(array("i"), "aBc123", 3, "1", {1: 0})


def columns_of(numbered: ContactNumbers, data: st.DataObject) -> Numbers:
    size = len(numbered)
    return array("i", data.draw(st.lists(st.integers(ABSENT, 3), min_size=size, max_size=size)))


@pytest.mark.slow
@given(LOTS, FEW, st.data())
def test_pairs_of_integers_are_counted_and_listed_alike(
    lots: list[list[ContactId]], large: int, data: st.DataObject
) -> None:
    plain, many = both(lots, large)
    first, second = columns_of(plain, data), columns_of(plain, data)
    pairs = plain.count_pairs(first, second)
    assert many.count_pairs(first, second) == pairs
    sought = data.draw(st.lists(st.sampled_from([*pairs, (9, 9), (ABSENT, 3)])))
    listed = many.list_pairs(first, second, sought)
    assert {pair: sorted(contacts) for pair, contacts in listed.items()} == {
        pair: sorted(contacts) for pair, contacts in plain.list_pairs(first, second, sought).items()
    }


def test_a_pair_that_no_contact_has_lists_none() -> None:
    many = LargeNumbers(PLAIN[:3], large=0)
    first, second = array("i", [-1, 0, 1]), array("i", [3, 0, 1])
    assert many.list_pairs(first, second, [(9, 9), (0, 0)]) == {(9, 9): [], (0, 0): [PLAIN[1]]}


def test_columns_of_two_lengths_are_a_fault_of_ours() -> None:
    plain, many = ContactNumbers(PLAIN[:3]), LargeNumbers(PLAIN[:3], large=0)
    for numbered in (plain, many):
        for first, second in (([0], [1, 1, 1]), ([1, 1, 1], [0, 0]), ([0] * 4, [0] * 4)):
            with pytest.raises(ValueError, match=r"shorter|longer|column"):
                numbered.list_pairs(first, second, [(0, 1)])
        with pytest.raises(ValueError, match=r"shorter|longer|column"):
            numbered.count_pairs([0], [1, 1, 1])


@pytest.mark.slow
@given(LOTS, FEW, st.data())
def test_the_ids_of_groups_are_written_alike(lots: list[list[ContactId]], large: int, data: st.DataObject) -> None:
    plain, many = both(lots, large)
    column = columns_of(plain, data)
    # others have been numbered since
    later = data.draw(LISTS)
    assert many.number_all(later) == plain.number_all(later)
    expected, found = plain.group_ids(column, 4), many.group_ids(column, 4)
    assert [found.has(integer) for integer in range(4)] == [expected.has(integer) for integer in range(4)]
    integers = data.draw(st.lists(st.integers(0, 3), unique=True))
    assert found.write(integers) == expected.write(integers)


class Steps(dict[int, int]):
    """From the combination that a contact had to that with one more set."""

    def __init__(self, made: list[frozenset[int]], place: int) -> None:
        super().__init__()
        self._made, self._place = made, place

    def __missing__(self, before: int) -> int:
        self[before] = after = len(self._made)
        self._made.append((self._made[before] if before >= 0 else frozenset()) | {self._place})
        return after


@given(LOTS, FEW, st.data())
def test_sets_are_combined_alike(lots: list[list[ContactId]], large: int, data: st.DataObject) -> None:
    plain, many = both(lots, large)
    members = [
        array("i", data.draw(st.lists(st.integers(0, len(plain) - 1), unique=True)) if len(plain) else [])
        for _ in range(3)
    ]

    found = []
    for numbered in (plain, many):
        made: list[frozenset[int]] = []
        column = array("i", [ABSENT]) * len(plain)
        for place, numbers in enumerate(members):
            numbered.advance(column, numbers, Steps(made, place))
        found.append([made[integer] if integer >= 0 else None for integer in column])
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("turn", [1, -1], ids=["that differ at their ends", "that differ at their starts"])
def test_a_table_grows_and_keeps_its_numbers(turn: int) -> None:
    table, known = IdTable(20), defaultdict[str, int](lambda: len(known))
    for lot in range(7):
        ids = [f"{number * 7919 % 150_000:020x}"[::turn] for number in range(lot * 20_000, lot * 20_000 + 40_000)]
        joined = table.join(ids)
        assert joined is not None
        assert table.number(joined).tolist() == [known[contact] for contact in ids]
        assert table.find(joined).tolist() == [known[contact] for contact in ids]
    assert table.texts(slice(None)) == list(known)
    assert table.texts(table.in_order[:1000]) == sorted(known)[:1000]
    assert table.find(b"y" * 20).tolist() == [ABSENT]


def count_steps(work: Callable[[], object]) -> int:
    """The functions of the product that are called meanwhile."""
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and "/reconciler/" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.slow
def test_contacts_that_come_one_by_one_cost_no_more_where_there_are_many() -> None:
    """As those of a text file, or of rows that are not plain."""
    ids = [ContactId(f"{number:020}") for number in range(12_000)]
    plain, many = both([ids[:1_000]], 500)

    def add_each(numbered: ContactNumbers) -> None:
        for contact in ids:
            numbered.find(contact)
            numbered.number((contact,))

    steps = count_steps(lambda: add_each(plain))
    # the table takes tens of steps for each of a few questions, the dictionary then as many as ever
    assert count_steps(lambda: add_each(many)) < 4 * steps + 100 * QUESTIONS
    assert many.ids == plain.ids == ids


def test_a_location_of_few_contacts_does_not_load_numpy() -> None:
    script = (
        "import sys; from reconciler.columns import LargeNumbers;"
        "numbers = LargeNumbers(f'{n:020}' for n in range(1000)); numbers.number_all(numbers.ids);"
        "print('numpy' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.parametrize("more", [["a-b"], *(pytest.param(more, marks=pytest.mark.slow) for more in ([], ["1" * 19]))])
def test_a_hundred_thousand_contacts_have_the_numbers_that_they_would_have_one_by_one(more: list[str]) -> None:
    ids = [ContactId(f"{number * 48271 % 2147483647:020}") for number in range(LARGE + 5_000)]
    lots = [ids[start : start + 2_500] for start in range(0, len(ids), 2_500)]
    lots += [list(map(ContactId, more)), ids[:300], ids[-10:]]
    plain, many = both(lots, LARGE)
    assert many.ids == plain.ids
