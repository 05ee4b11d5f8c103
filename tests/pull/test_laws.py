"""Laws of a pull: twice is as good as once, and the order of rows, contacts and keys in a location does not count."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.model.names import Instant
from reconciler.sandbox.world import Contact
from tests.build import NOW, contact, person
from tests.pull.stage import Stage, dated

ADDRESSES = [f"{letter}@example.com" for letter in "abcdefgh"]
PEOPLE = st.lists(st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True), max_size=8)
ROWS = st.lists(
    st.sampled_from([*(address.title() for address in ADDRESSES), "nobody@example.com", "none"]), min_size=1
)


def contacts_of(people: list[list[str]], ages: list[int]) -> list[Contact]:
    """The search shows them in the order of `ages`."""
    return [
        dated(contact(f"c{nth}x", person=person(emails)), Instant(NOW - 86_400_000 - age))
        for nth, (emails, age) in enumerate(zip(people, ages, strict=False))
    ]


@settings(max_examples=settings().max_examples // 2)
@given(PEOPLE, ROWS, st.booleans())
def test_a_second_pull_changes_nothing(people: list[list[str]], rows: list[str], full: bool) -> None:
    stage = Stage(*contacts_of(people, list(range(8))))
    first = stage.pull(*rows)
    index = (dict(stage.index.current), dict(stage.index.former))
    stage.wait(minutes=10)
    second = stage.pull(*rows, full=full)
    assert (second.contacts, second.classes) == (first.contacts, first.classes)
    assert (dict(stage.index.current), dict(stage.index.former)) == index


@settings(max_examples=settings().max_examples // 2)
@given(PEOPLE, ROWS, st.permutations(range(8)), st.randoms())
def test_the_order_of_rows_and_of_contacts_does_not_count(
    people: list[list[str]], rows: list[str], ages: list[int], chance: object
) -> None:
    first = Stage(*contacts_of(people, list(range(8)))).pull(*rows)
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    second = Stage(*contacts_of(people, ages)).pull(*shuffled)
    assert second.contacts == first.contacts
    assert second.result.counts == first.result.counts
