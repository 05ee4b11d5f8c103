"""Laws of the checks: order does not matter, conflicts are exactly those of a naive definition, sizes stay bounded."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.manifests import order_sets
from reconciler.core.manifests.checks import CHECKS, Manifests, check_manifests
from reconciler.core.manifests.checks.conflicts import DatedUse, find_clashes, find_rivals
from reconciler.core.manifests.checks.loops import filters_that_flip
from reconciler.core.model.contact_filter import Condition, FilterOperator
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.manifest import Combined, ContactSet, ListedContacts, Manifest, SetUse, TagUse
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag
from reconciler.core.model.people import Match
from reconciler.loading import FileTree, load

LOCATION = LocationId("asdrwHvLUxlfw5SqKVCN")
NAMES = "abcde"
CONTACTS = ["qFSqySFkVvNzOSqgGqF" + char for char in "0123"]
TAGS = ["lead", "customer", "VIP", "vip", "trial"]

times = st.sampled_from([None, "2026-01-01", "2026-06-01", "2027-01-01", "2028-01-01"])
references = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)
contacts = st.one_of(
    st.lists(st.sampled_from(CONTACTS), max_size=4),
    st.fixed_dictionaries({"sets": references}, optional={"except": references, "only": references}),
)
contact_sets = st.fixed_dictionaries(
    {"contacts": contacts, "tags": st.lists(st.sampled_from(TAGS), max_size=2)},
    optional={"absent": st.lists(st.sampled_from(TAGS), max_size=2), "from": times, "until": times},
)
RULES = {"lead": {"group": "life"}, "customer": {"group": "life"}, "unused": {"inert": "true"}}


def problems(manifests: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
    """The checks that speak, and of what, whatever the places are."""
    files = {name: yaml.safe_dump(content, sort_keys=False).encode() for name, content in manifests.items()}
    try:
        found: tuple[Problem, ...] = load(FileTree(files), now=Instant(1_780_000_000_000)).problems
    except InvalidInput as error:
        found = error.problems
    return {(problem.check, problem.severity) for problem in found}


def without_nothing(contact_set: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in contact_set.items() if value is not None}


@pytest.mark.slow
@given(sets=st.dictionaries(st.sampled_from(NAMES), contact_sets, min_size=1), seed=st.randoms(use_true_random=False))
def test_the_order_of_files_and_keys_does_not_matter(sets: dict[str, Any], seed: random.Random) -> None:
    entries = [(name, without_nothing(content)) for name, content in sets.items()]
    half = len(entries) // 2

    def whole(first: str, second: str) -> dict[str, dict[str, Any]]:
        seed.shuffle(entries)
        chosen = sorted(entries)[:half]
        return {
            first: {
                "location": LOCATION,
                "tags": RULES,
                "contact_sets": dict(each for each in entries if each in chosen),
            },
            second: {"contact_sets": dict(each for each in entries if each not in chosen), "location": LOCATION},
        }

    assert problems(whole("a.yaml", "b.yaml")) == problems(whole("b.yaml", "a.yaml"))


def listed_set(number: int, ids: list[str], tag: str, window: tuple[int | None, int | None]) -> ContactSet:
    place = Source("m.yaml", number + 1, 1)
    start, until = (None if end is None else Instant(end) for end in window)
    return ContactSet(
        SetName(f"s{number}"),
        place,
        ListedContacts(tuple(map(ContactId, dict.fromkeys(ids))), place),
        (TagUse(Tag(tag), tag, place),),
        start=start,
        until=until,
    )


windows = st.tuples(st.one_of(st.none(), st.integers(0, 6)), st.one_of(st.none(), st.integers(0, 6)))
random_sets = st.lists(
    st.tuples(st.lists(st.sampled_from(CONTACTS), max_size=3), st.sampled_from(["x", "y", "z"]), windows), max_size=7
)


def overlap(one: DatedUse, other: DatedUse) -> bool:
    alive = one.start < one.until and other.start < other.until
    return alive and max(one.start, other.start) < min(one.until, other.until)


@settings(deadline=None)
@given(entries=random_sets)
def test_clashes_are_those_of_the_naive_definition(entries: list[Any]) -> None:
    sets = [listed_set(number, *entry) for number, entry in enumerate(entries)]
    scene = Manifests((Manifest("m.yaml", LOCATION, Source("m.yaml"), tuple(sets)),))
    demands = [DatedUse(each, each.tags[0].tag, each.tags[0]) for each in sets]
    clashing = {
        (one.set.name, other.set.name): contact
        for one, other in combinations(demands, 2)
        if one.label != other.label and overlap(one, other)
        for contact in set(one.set.contacts.ids) & set(other.set.contacts.ids)  # type: ignore[union-attr]
    }
    found = find_clashes(scene.locations[0], demands, None)
    assert {(clash.first.set.name, clash.second.set.name) for clash in found} <= clashing.keys()
    assert bool(found) == bool(clashing)
    told = {contact for clash in found for contact in _common(clash.first, clash.second)}
    assert told == {contact for pair in clashing for contact in _common(*(_of(demands, name) for name in pair))}


def _common(one: DatedUse, other: DatedUse) -> set[str]:
    return set(one.set.contacts.ids) & set(other.set.contacts.ids)  # type: ignore[union-attr]


def _of(demands: list[DatedUse], name: str) -> DatedUse:
    return next(demand for demand in demands if demand.set.name == name)


@given(entries=random_sets)
def test_a_rival_is_found_wherever_there_is_one(entries: list[Any]) -> None:
    sets = [listed_set(number, *entry) for number, entry in enumerate(entries)]
    demands = [
        demand for each in sets if (demand := DatedUse(each, each.tags[0].tag, each.tags[0])).start < demand.until
    ]
    pairs = [
        (one, other) for one, other in combinations(demands, 2) if one.label != other.label and overlap(one, other)
    ]
    found = list(find_rivals(demands))
    assert bool(found) == bool(pairs)
    assert all(one.label != other.label and overlap(one, other) for one, other in found)


graphs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=3).map(tuple), max_size=6
)


@given(graph=graphs)
def test_references_come_first_unless_they_are_in_a_cycle(graph: Any) -> None:
    order, cycles = order_sets(graph)
    assert sorted(order) == sorted(graph)
    in_cycle = {name for names in cycles for name in names}
    for name, below in graph.items():
        for reference in below:
            if reference in graph and not {name, reference} <= in_cycle:
                assert order.index(reference) < order.index(name)
    for name in graph:
        assert (name in in_cycle) == _reaches(graph, name, name)


def _reaches(graph: Any, start: str, goal: str) -> bool:
    seen: set[str] = set()
    work = list(graph[start])
    while work:
        name = work.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            work += graph.get(name, ())
    return False


def test_sets_of_sets_are_bounded_before_they_are_worked_out() -> None:
    place = Source("m.yaml", 1, 1)
    base = ContactSet(SetName("s0"), place, ListedContacts(tuple(ContactId(str(n)) for n in range(10_000)), place))
    chain = [
        ContactSet(
            SetName(f"s{n}"),
            place,
            Combined((SetUse(SetName("s0"), place),), (SetUse(SetName(f"s{n - 1}"), place),), (), place),
        )
        for n in range(1, 3000)
    ]
    scene = Manifests((Manifest("m.yaml", LOCATION, place, (base, *chain)),))
    assert scene.locations[0].members(SetName("s5")) == frozenset()
    found = [problem for problem in check_manifests(scene) if problem.check == "set-size"]
    assert "come to 29,990,000 contacts, the limit is 2,100,000" in found[0].message


@pytest.mark.slow
def test_sets_are_followed_to_filters_so_many_steps_and_no_further() -> None:
    place = Source("m.yaml", 1, 1)
    match = Match("", (), filter=Condition("tags", FilterOperator.NOT_EQ, "welcome", source=place))
    filtered = ContactSet(SetName("filtered"), place, ListedContacts((), place, match=match))
    listed = [ContactSet(SetName(f"listed {n}"), place, ListedContacts((), place)) for n in range(1_000)]
    of_all = Combined(tuple(SetUse(each.name, place) for each in (filtered, *listed)), (), (), place)
    given = (TagUse(Tag("other"), "other", place),)
    several = [ContactSet(SetName(f"of all {n}"), place, of_all, given) for n in range(1_000)]

    def found(sets: list[ContactSet]) -> list[str]:
        scene = Manifests((Manifest("m.yaml", LOCATION, place, (filtered, *listed, *sets)),))
        return [finding.message for finding in filters_that_flip(scene)]

    assert found(several[:10]) == []
    (told,) = found(several)
    assert "in too many ways to tell which take back a tag by a filter" in told


def test_checks_have_names_of_their_own() -> None:
    assert len({entry.name for entry in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("complete", [True, False])
def test_nothing_follows_from_absence_in_an_incomplete_whole(complete: bool) -> None:
    place = Source("m.yaml", 1, 1)
    lonely = ContactSet(SetName("a"), place, Combined((SetUse(SetName("gone"), place),), (), (), place))
    scene = Manifests((Manifest("m.yaml", LOCATION, place, (lonely,)),), complete=complete)
    assert ("unknown-set" in {problem.check for problem in check_manifests(scene)}) == complete
