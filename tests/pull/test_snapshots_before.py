"""The snapshot that a set is compared with, whatever names the sets have by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.manifest import ContactSet, ListedContacts
from reconciler.core.model.names import Instant, SetName
from reconciler.core.model.people import Fingerprint, Match, Snapshot
from reconciler.loading.snapshot_files import KeptSnapshots
from reconciler.operations.people_index import PeopleKey
from reconciler.operations.snapshots_before import add_renamed, choose_assumed
from tests.build import PLACE, a_set, ids

NAMES = [SetName(letter) for letter in "abcd"]
SOURCES = ["sha256:1", "sha256:2", "sha256:3", "sha256:4"]
UNKNOWN = ""
"""The source of a set whose file cannot be read."""


def matched_set(name: SetName, source: str) -> ContactSet:
    contacts = ListedContacts((), PLACE, "people.csv", match=Match("people.csv", (), source_digest=source))
    return replace(a_set(name, ""), contacts=contacts)


def snapshots_of(sources: Mapping[SetName, str]) -> KeptSnapshots:
    """Each of them with one contact, which is called after the set that it was pulled for."""
    return KeptSnapshots(
        {name: Snapshot(ids(f"of-{name}"), Instant(nth), source) for nth, (name, source) in enumerate(sources.items())}
    )


def find_previous(before: Mapping[SetName, str], now: Mapping[SetName, str]) -> dict[SetName, Snapshot | None]:
    sets = [matched_set(name, source) for name, source in now.items()]
    kept = add_renamed(snapshots_of(before), sets, sets, PeopleKey(b""))
    return {name: kept.find_previous(name) for name in now}


@given(st.permutations(NAMES), st.permutations(NAMES), st.integers(1, 4))
def test_each_set_has_the_snapshot_of_its_source_whatever_names_they_take(
    first: list[SetName], then: list[SetName], number: int
) -> None:
    sources = SOURCES[:number]
    before = dict(zip(first, sources, strict=False))
    found = find_previous(before, dict(zip(then, sources, strict=False)))

    assert {name: snapshot and snapshot.contacts for name, snapshot in found.items()} == {
        name: ids(f"of-{old}") for name, old in zip(then[:number], first, strict=False)
    }


@given(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SOURCES)),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*SOURCES, UNKNOWN])),
)
def test_no_set_takes_a_snapshot_of_another_source_or_one_that_its_set_still_has(
    before: dict[SetName, str], now: dict[SetName, str]
) -> None:
    own = snapshots_of(before).found
    for name, snapshot in find_previous(before, now).items():
        if snapshot == own.get(name):
            continue
        assert snapshot is not None
        assert snapshot.source_digest == now[name] != before.get(name)
        (taken,) = (old for old, other in own.items() if other == snapshot)
        assert now.get(taken) not in (before[taken], UNKNOWN)


@pytest.mark.parametrize(("contacts", "assumed"), [(1, 3), (400_000, 2), (1_000_001, 1), (5_000_000, 1)])
def test_however_many_contacts_are_kept_one_value_keeps_them(contacts: int, assumed: int) -> None:
    values = [Fingerprint(bytes([number])) for number in range(3)]
    assert choose_assumed(values, contacts) == frozenset(values[:assumed])
