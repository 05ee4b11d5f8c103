"""What a search row tells of adds in doubt, and where searching is cheaper than reading."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.api_limits import Rate, duration
from reconciler.core.model.contact_state import (
    NONE,
    ContactReading,
    ContactState,
    ContactStates,
    ObservationOrigin,
)
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS
from reconciler.core.running.doubt import (
    EVERYBODY,
    Searches,
    cheapest_searches,
    provable_adds,
    record_search_row,
    searching_ms,
)
from tests.build import changed_state, contact_state, fields_of, tags
from tests.fakes import START

RATE = Rate(100, 10_000)


def at(milliseconds: int) -> Instant:
    return Instant(START + milliseconds)


def doubtful(observed: str | None, doubt: str, *, observed_at: int = -900_000) -> ContactState:
    """In doubt by a request that was sent at 0."""
    seen = None if observed is None else tags(observed)
    when, origin = (None, ObservationOrigin.NEVER) if observed is None else (at(observed_at), ObservationOrigin.WRITE)
    return contact_state(
        seen, when, origin, doubt=tags(doubt), doubt_at=at(0), unconfirmed=tags(doubt), ledger=tags(doubt)
    )


@pytest.mark.parametrize(
    ("known", "asked", "shown"),
    [
        (doubtful("a", "x"), 90_000, "x"),
        (doubtful("", "x y"), 90_000, "x y"),
        # it may have been there all along, and be gone by now
        (doubtful("a x", "x y"), 90_000, "y"),
        (doubtful(None, "x"), 90_000, ""),
        # the row is younger than the request, however far the index is behind
        (doubtful("a x", "x y"), INDEX_LAG_MS, "x y"),
        (doubtful(None, "x"), INDEX_LAG_MS, "x"),
        (doubtful(None, "x"), INDEX_LAG_MS - 1, ""),
        # it was there until lately: the row may be from before it was removed
        (doubtful("a", "x", observed_at=-1_000), 90_000, ""),
        (doubtful("a", "x", observed_at=90_000 - INDEX_LAG_MS + 1), 90_000, ""),
        (doubtful("a", "x", observed_at=90_000 - INDEX_LAG_MS), 90_000, "x"),
    ],
)
def test_a_row_shows_what_was_not_there_before_or_is_younger_than_the_request(
    known: ContactState, asked: int, shown: str
) -> None:
    assert provable_adds(known, known.doubtful, known.observed or NONE, at(asked)) == tags(shown)


def test_a_row_shows_nothing_of_a_contact_with_a_removal_in_doubt() -> None:
    known = doubtful("a", "a x")
    assert provable_adds(known, tags("x"), tags("a"), at(INDEX_LAG_MS)) == NONE


def test_what_is_seen_is_confirmed_and_no_longer_in_doubt() -> None:
    found = record_search_row(doubtful("a", "x y"), tags("x"), tags("b x"), at(90_000), settle_ms=50)

    assert (found.doubtful, fields_of(found)["doubt_at"], found.ledger.unconfirmed) == (tags("y"), at(0), tags("y"))
    # the row may be five minutes old, and is the newest observation all the same
    assert (found.observed, found.observed_at, found.origin) == (
        tags("b x"),
        at(90_000 - INDEX_LAG_MS),
        ObservationOrigin.SEARCH,
    )


def test_a_row_that_may_be_older_than_the_last_observation_adds_what_is_seen_to_it() -> None:
    found = record_search_row(doubtful("a", "x", observed_at=-1), tags("x"), tags("b x"), at(90_000), settle_ms=50)

    assert (found.observed, found.observed_at, found.origin) == (tags("a x"), at(-1), ObservationOrigin.WRITE)
    assert (found.doubtful, fields_of(found)["doubt_at"], found.ledger.unconfirmed) == (NONE, None, NONE)


def test_what_a_row_does_not_show_stays_in_doubt_with_its_reading() -> None:
    reading = ContactReading(at(100), at(101))
    known = changed_state(doubtful("a", "x y", observed_at=-1), reading=reading)
    found = record_search_row(known, tags("x"), tags("x"), at(90_000), settle_ms=50)
    assert found == changed_state(known, observed=tags("a x"), doubt=tags("y"), unconfirmed=tags("y"))
    # a newer observation leaves the older reading nothing to decide
    newer = record_search_row(known, tags("x"), tags("x"), at(INDEX_LAG_MS - 1), settle_ms=50)
    assert newer == changed_state(
        known,
        observed=tags("x"),
        origin=ObservationOrigin.SEARCH,
        doubt=tags("y"),
        unconfirmed=tags("y"),
        reading=None,
    )


def located(*groups: tuple[str, int]) -> ContactStates:
    """A location with so many contacts that carry these tags."""
    observed = ContactStates()
    for nth, (carried, number) in enumerate(groups):
        known = contact_state(tags(carried), at(0), ObservationOrigin.GET)
        observed.update({ContactId(f"{nth}-{each}"): known for each in range(number)})
    return observed


@pytest.mark.parametrize(
    ("groups", "observed", "searches"),
    [
        # twenty pages in place of 17 minutes
        pytest.param(
            {"two": 10_000}, [("two", 10_000), ("one", 100_000)], Searches((Tag("two"),), 21), marks=pytest.mark.slow
        ),
        # everybody is in doubt: one tag or all is the same
        ({"two": 1_000}, [("two", 1_000)], Searches((Tag("two"),), 3)),
        # ten tags cost two pages each at the least, everybody costs five
        ({f"t{nth}": 150 for nth in range(10)}, [("", 2_000)], Searches((EVERYBODY,), 5)),
        # what a window of the rate limit holds is read at once
        ({"two": 100}, [("two", 100)], Searches()),
        # others carry it by the thousand
        pytest.param({"two": 500}, [("two", 100_000)], Searches(), marks=pytest.mark.slow),
        # ten pages take as long as reading in two windows
        ({"two": 150}, [("two", 4_500)], Searches()),
        # the row of a contact tells of all that is in doubt there
        ({"a b": 600, "b c": 600}, [("a b", 600), ("b c", 600), ("", 9_000)], Searches((Tag("b"),), 4)),
        ({}, [], Searches()),
    ],
)
def test_the_searches_that_take_least(
    groups: dict[str, int], observed: list[tuple[str, int]], searches: Searches
) -> None:
    found = Counter({tags(text): number for text, number in groups.items()})
    assert cheapest_searches(found, located(*observed), frozenset().union(*found), RATE) == searches


def test_a_tag_that_cannot_be_searched_for_is_found_among_everybody() -> None:
    assert cheapest_searches(Counter({tags("long"): 1_000}), located(("long", 1_000)), NONE, RATE) == Searches(
        (EVERYBODY,), 3
    )


@given(
    st.dictionaries(st.frozensets(st.sampled_from(sorted(tags("a b c d"))), min_size=1), st.integers(1, 3_000)),
    st.lists(st.tuples(st.sampled_from(["", "a", "b c"]), st.integers(1, 3_000)), max_size=4),
)
def test_searching_never_takes_longer_than_reading(groups: dict[TagSet, int], carried: list[tuple[str, int]]) -> None:
    found = cheapest_searches(Counter(groups), located(*carried), tags("a b c d"), RATE)
    assert searching_ms(found.pages, RATE) <= duration(sum(groups.values()), RATE)
