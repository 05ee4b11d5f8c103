"""A contact leaves a set by filter after two complete searches, further apart than the index lags, and never before.

Contract 3.18.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.filtered_members import FilteredMembers, Hits, find_members
from reconciler.core.model.names import Instant
from reconciler.core.model.people import Snapshot
from tests.build import NOW, ids

LAG = 300_000
DIGEST = "sha256:gold"
SEARCHES = st.lists(
    st.tuples(st.integers(0, 2 * LAG), st.integers(0, LAG), st.sets(st.sampled_from("abcd")), st.booleans()),
    min_size=1,
    max_size=8,
)
"""How long after the one before each begins, and how long it takes; the contacts it shows; whether it is complete."""


def hits(shown: str, at: int, *, takes: int = 0, why: str = "") -> Hits:
    return Hits(frozenset(ids(shown)), Instant(NOW + at), Instant(NOW + at + takes), why)


def search(before: Snapshot | None, found: Hits, digest: str = DIGEST) -> Snapshot:
    members = find_members(found, before, digest, lag_ms=LAG)
    return Snapshot(members.contacts, found.began, digest, members.counts, members.missing)


def first(shown: str = "a b") -> Snapshot:
    return search(None, hits(shown, -LAG * 10))


def test_one_search_takes_nobody_out() -> None:
    once = search(first(), hits("a", 0, takes=7))
    assert once.contacts == tuple(ids("a b"))
    assert once.missing == {ids("b")[0]: NOW + 7}
    assert (once.counts.rows, once.counts.matched, once.counts.kept) == (2, 2, 1)


def test_two_searches_within_the_lag_do_not_suffice() -> None:
    once = search(first(), hits("a", 0, takes=7))
    again = search(once, hits("a", 7 + LAG))
    assert again.contacts == tuple(ids("a b"))
    # the time of the first one counts, also for a third
    assert again.missing == once.missing
    assert search(again, hits("a", 8 + LAG)).contacts == tuple(ids("a"))


def test_two_searches_further_apart_than_the_lag_suffice() -> None:
    once = search(first(), hits("a", 0, takes=7))
    assert search(once, hits("a", 8 + LAG)).contacts == tuple(ids("a"))


def test_a_contact_that_was_seen_between_begins_anew() -> None:
    once = search(first(), hits("a", 0))
    seen = search(once, hits("a b", LAG))
    assert seen.missing == {}
    assert search(seen, hits("a", 2 * LAG)).contacts == tuple(ids("a b"))


def test_nothing_follows_from_absence_in_an_incomplete_search() -> None:
    cut = search(first(), hits("c", 0, why="it did not come to its end"))
    assert (cut.contacts, cut.missing) == (tuple(ids("a b c")), {})
    once = search(cut, hits("a", LAG))
    assert search(once, hits("a", 3 * LAG, why="it did not come to its end")).contacts == tuple(ids("a b c"))


def test_another_filter_begins_anew() -> None:
    once = search(first(), hits("a", 0))
    other = search(once, hits("c", 2 * LAG), "sha256:silver")
    assert other.contacts == tuple(ids("a b c"))
    assert search(other, hits("c", 4 * LAG), "sha256:silver").contacts == tuple(ids("c"))


@given(SEARCHES)
def test_who_left_was_missing_from_two_complete_searches_far_apart(
    steps: list[tuple[int, int, set[str], bool]],
) -> None:
    snapshot, now, log = first("a b c d"), 0, list[Hits]()
    for wait, takes, shown, complete in steps:
        now += wait
        found = hits(" ".join(sorted(shown)), now, takes=takes, why="" if complete else "cut")
        now += takes
        before, snapshot = snapshot, search(snapshot, found)
        log.append(found)
        assert found.contacts <= set(snapshot.contacts)
        assert snapshot.missing.keys() <= set(snapshot.contacts)
        for contact in set(before.contacts) - set(snapshot.contacts):
            unseen = []
            for entry in reversed(log):
                if contact in entry.contacts:
                    break
                unseen += [] if entry.why_incomplete else [entry]
            assert unseen
            assert unseen[0] is found
            assert found.began - unseen[-1].ended > LAG


def test_a_second_search_at_once_changes_nothing() -> None:
    once = search(first(), hits("a", 0))
    again = find_members(hits("a", 1), once, DIGEST, lag_ms=LAG)
    assert again == FilteredMembers(once.contacts, once.counts, dict(once.missing))
