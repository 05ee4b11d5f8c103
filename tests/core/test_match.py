"""The class that every row of a matched file ends in, and the contacts that stay in the set."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.match import (
    CLASSES,
    FINGERPRINT_BYTES,
    NO_VALUE,
    MatchResult,
    PeopleRows,
    RematchedRow,
    find_unknown,
    find_unproven,
    match_rows,
)
from reconciler.core.model.names import ContactId, Instant, Source
from reconciler.core.model.people import (
    Fingerprint,
    IndexStatus,
    MatchCounts,
    PeopleBook,
    PeopleIndex,
    RowQuery,
    Snapshot,
    row_place,
)

Contacts = tuple[ContactId, ...]
ANN, BEA, CLEO = map(ContactId, ("ann", "bea", "cleo"))


def value(name: str) -> Fingerprint:
    return Fingerprint(name.encode().ljust(FINGERPRINT_BYTES, b"."))


def rows(*cells: Sequence[str]) -> PeopleRows:
    """Rows by the names of their values; an empty name is a value that is malformed. The first is on line 2."""
    by_key = zip(*([value(name) if name else NO_VALUE for name in row] for row in cells), strict=True)
    return PeopleRows(array("L", range(2, 2 + len(cells))), tuple(map(b"".join, by_key)))


def index(
    current: Mapping[str, Sequence[ContactId]], former: Mapping[str, Sequence[ContactId]] | None = None
) -> PeopleIndex:
    return PeopleIndex(current=by_fingerprint(current), former=by_fingerprint(former or {}))


def by_fingerprint(contacts: Mapping[str, Sequence[ContactId]]) -> dict[Fingerprint, Contacts]:
    return {value(name): tuple(sorted(some)) for name, some in contacts.items() if some}


def snapshot(*contacts: ContactId) -> Snapshot:
    return Snapshot(tuple(sorted(contacts)), Instant(0), "digest")


def classes(result: MatchResult) -> list[str]:
    return [result.class_of(row) for row in range(len(result.classes))]


def test_every_class_has_its_row() -> None:
    people = index({"a@x": [ANN], "ann@x": [ANN], "info@x": [BEA, CLEO]})
    result = match_rows(rows(["a@x"], ["new@x"], ["info@x"], ["ann@x"], [""]), people, None)
    assert classes(result) == ["matched", "not_found", "ambiguous", "duplicate", "malformed"]
    assert result.contacts == (ANN,)
    assert result.counts == MatchCounts(rows=5, matched=1, not_found=1, ambiguous=1, duplicate=1, malformed=1)
    assert list(result.row_contacts) == [ANN, None, None, ANN, None]
    assert (list(result.lines), result.ambiguous) == ([2, 3, 4, 5, 6], {4: (BEA, CLEO)})


def test_a_row_stands_on_a_line_of_its_file_or_is_counted_in_what_a_source_gave() -> None:
    query = RowQuery("vips", Source("reconciler.yaml", 1, 1))
    assert [row_place("vips.csv", 3), row_place(str(query), 3)] == ["vips.csv:3", "source vips, row 3"]
    assert row_place("vips.csv", 0) == "vips.csv"


def test_the_first_key_that_the_index_has_decides() -> None:
    people = index({"a@x": [ANN], "+1": [BEA], "info@x": [ANN, BEA]})
    result = match_rows(rows(["a@x", "+1"], ["new@x", "+1"], ["", "+1"], ["info@x", "+1"], ["", "+9"]), people, None)
    assert classes(result) == ["matched", "matched", "duplicate", "ambiguous", "not_found"]
    assert result.contacts == (ANN, BEA)


def test_a_contact_that_is_not_found_this_time_stays() -> None:
    people = index({}, {"a@x": [ANN], "b@x": [BEA]})
    result = match_rows(rows(["a@x"], ["b@x"]), people, snapshot(ANN))
    assert (result.contacts, classes(result)) == ((ANN,), ["matched", "not_found"])
    assert result.counts == MatchCounts(rows=2, matched=1, not_found=1, kept=1)


def test_a_contact_that_is_proven_gone_leaves() -> None:
    result = match_rows(rows(["a@x"]), index({}), snapshot(ANN))
    assert (result.contacts, classes(result)) == ((), ["not_found"])


def test_a_contact_stays_while_another_key_finds_another_one() -> None:
    result = match_rows(rows(["a@x", "+1"]), index({"+1": [BEA]}, {"a@x": [ANN]}), snapshot(ANN))
    assert (result.contacts, result.counts.kept) == ((ANN, BEA), 0)


def test_a_second_contact_with_the_value_does_not_prune_the_first() -> None:
    people = index({"a@x": [ANN, BEA]})
    assert match_rows(rows(["a@x"]), people, snapshot(ANN)).contacts == (ANN,)
    assert match_rows(rows(["a@x"]), people, None).contacts == ()
    assert classes(match_rows(rows(["a@x"]), people, snapshot(ANN))) == ["ambiguous"]


def test_an_address_that_has_another_contact_now_is_listed() -> None:
    people = index({"a@x": [BEA], "c@x": [CLEO]}, {"a@x": [ANN], "c@x": [ANN]})
    result = match_rows(rows(["a@x"], ["c@x"]), people, snapshot(ANN, CLEO))
    assert result.rematched == (RematchedRow(2, ANN, BEA),)
    assert result.contacts == (BEA, CLEO)


def test_values_that_are_worth_a_request_are_those_that_no_earlier_key_decides() -> None:
    people = index({"a@x": [ANN]}, {"old@x": [ANN]})
    found = find_unknown(rows(["a@x", "+1"], ["old@x", "+2"], ["", "+3"], ["new@x", ""]), people)
    assert found == ({value("old@x"), value("new@x")}, {value("+2"), value("+3")})


NAMES = ["", "u", "v", "w", "x", "y"]
CONTACTS = st.sets(st.sampled_from([ANN, BEA, CLEO, ContactId("dora")]), max_size=3)
FILES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=8)
TABLES = st.dictionaries(st.sampled_from(NAMES[1:]), CONTACTS)


@st.composite
def indexes(draw: st.DrawFn) -> PeopleIndex:
    current, former = draw(TABLES), draw(TABLES)
    return index(
        {name: sorted(some) for name, some in current.items()},
        {name: sorted(some - current.get(name, set())) for name, some in former.items()},
    )


@given(FILES, indexes(), CONTACTS)
def test_every_row_is_in_one_class(cells: list[tuple[str, str]], people: PeopleIndex, before: set[ContactId]) -> None:
    result = match_rows(rows(*cells), people, snapshot(*before))
    counts = result.counts
    assert counts.rows == len(cells) == len(result.classes) == len(result.row_contacts)
    assert sum(getattr(counts, row_class.value) for row_class in CLASSES) == counts.rows
    assert counts.kept <= counts.matched <= len(result.contacts)
    matched = {contact for contact in result.row_contacts if contact}
    assert len(matched) == counts.matched
    assert matched <= set(result.contacts) <= matched | before


@given(FILES, indexes(), CONTACTS, st.randoms())
def test_a_match_does_not_depend_on_the_order_of_the_rows(
    cells: list[tuple[str, str]], people: PeopleIndex, before: set[ContactId], chance: Random
) -> None:
    result = match_rows(rows(*cells), people, snapshot(*before))
    shuffled = list(cells)
    chance.shuffle(shuffled)
    again = match_rows(rows(*shuffled), people, snapshot(*before))
    assert (again.contacts, again.counts) == (result.contacts, result.counts)
    assert changes(again) == changes(result)


def changes(result: MatchResult) -> list[Contacts]:
    return sorted((row.former, row.current) for row in result.rematched)


@given(FILES, indexes(), CONTACTS)
def test_matching_once_more_changes_nothing(
    cells: list[tuple[str, str]], people: PeopleIndex, before: set[ContactId]
) -> None:
    result = match_rows(rows(*cells), people, snapshot(*before))
    again = match_rows(rows(*cells), people, snapshot(*result.contacts))
    assert (again.contacts, again.counts) == (result.contacts, result.counts)
    assert again.rematched == ()


@given(FILES, indexes(), CONTACTS)
def test_an_index_that_flickers_prunes_nobody(
    cells: list[tuple[str, str]], people: PeopleIndex, missed: set[ContactId]
) -> None:
    """Contacts that a reading misses become former ones of all of their values."""
    result = match_rows(rows(*cells), people, None)
    current = {name: tuple(c for c in some if c not in missed) for name, some in people.current.items()}
    former = {
        name: tuple(sorted({*people.former.get(name, ()), *missed.intersection(people.current.get(name, ()))}))
        for name in {*people.former, *people.current}
    }
    flickered = PeopleIndex(current={name: some for name, some in current.items() if some}, former=former)
    again = match_rows(rows(*cells), flickered, snapshot(*result.contacts))
    assert set(result.contacts) <= set(again.contacts)
    gone = PeopleIndex(current=flickered.current)
    assert not missed & set(match_rows(rows(*cells), gone, snapshot(*result.contacts)).contacts)


@pytest.mark.parametrize(
    ("begun_at", "pulled", "now", "lacks"),
    [
        (5, 4, 9, True),
        # by the pull that began it
        (5, 5, 9, False),
        # the clock of the machine that pulled it was ahead
        (5, 7, 5, True),
        (None, 4, 9, False),
    ],
)
def test_an_index_lacks_what_was_before_it_began(begun_at: int | None, pulled: int, now: int, lacks: bool) -> None:
    status = IndexStatus(begun_at=None if begun_at is None else Instant(begun_at))
    assert status.may_lack_past(replace(snapshot(ANN), as_of=Instant(pulled)), Instant(now)) is lacks


def test_of_an_index_that_began_anew_a_value_of_several_may_have_been_anyone_s() -> None:
    people = index({"info@x": [BEA, CLEO], "c@x": [CLEO]})
    found = find_unproven(rows(["info@x", "+1"], ["c@x", "+2"], ["", "+3"]), people, snapshot(ANN, CLEO))
    assert found == ({ANN}, {value("info@x"), value("+3")})
    assert find_unproven(rows(["c@x"]), index({"c@x": [CLEO]}), snapshot(ANN)) == (set(), set())


@given(FILES, FILES, indexes(), CONTACTS)
def test_an_index_that_began_anew_prunes_nobody_and_lets_nobody_join(
    cells: list[tuple[str, str]], others: list[tuple[str, str]], people: PeopleIndex, before: set[ContactId]
) -> None:
    """Nothing tells any more which values its contacts had."""
    file, earlier, anew = rows(*cells), snapshot(*before), PeopleIndex(IndexStatus("key"), people.current)
    contacts, values = find_unproven(file, anew, earlier)
    book = PeopleBook(anew)
    for lot in book.make_former(contacts, values):
        book.apply_lot(lot)
        # a pull may be killed here: an index of no key is read anew, whatever it has
        assert book.status.key_check == "" or book.index.current == people.current

    assert book.status == anew.status
    kept = match_rows(file, book.index, earlier).contacts
    assert set(match_rows(file, people, earlier).contacts) <= set(kept)
    assert match_rows(rows(*others), book.index, None).contacts == match_rows(rows(*others), people, None).contacts
