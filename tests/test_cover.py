"""The batch planner: laws on small problems, chosen by Hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.cover import Demand, Rectangle, cover, schedule
from reconciler.core.cover.verify import faults
from reconciler.core.names import ContactId, Tag, TagSet
from reconciler.core.outcome import Action

TAGS = [Tag(letter) for letter in "abcdef"]
CAPS = st.integers(1, 9)


def tag_sets(least: int = 0) -> st.SearchStrategy[TagSet]:
    return st.frozensets(st.sampled_from(TAGS), min_size=least)


@st.composite
def problems(draw: st.DrawFn) -> list[Demand]:
    patterns = draw(st.lists(st.tuples(tag_sets(), tag_sets(), st.integers(1, 5)), max_size=7))
    found, first = [], 0
    for must, extra, size in patterns:
        contacts = tuple(ContactId(f"c{number:03}") for number in range(first, first + size))
        found.append(Demand(must, must | extra, contacts))
        first += size
    return found


def per_delta(demands: list[Demand], max_contacts: int, max_tags: int) -> int:
    counts: dict[TagSet, int] = {}
    for demand in demands:
        counts[demand.must] = counts.get(demand.must, 0) + len(demand.contacts)
    return sum(-(-count // max_contacts) * -(-len(must) // max_tags) for must, count in counts.items())


def per_tag(demands: list[Demand], max_contacts: int) -> int:
    return sum(
        -(-sum(len(demand.contacts) for demand in demands if tag in demand.must) // max_contacts) for tag in TAGS
    )


@given(problems(), tag_sets(), CAPS, CAPS)
def test_a_plan_is_exact_and_never_more_than_the_plain_ones(
    demands: list[Demand], repeatable: TagSet, max_contacts: int, max_tags: int
) -> None:
    found = cover(demands, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags)
    caps = {"max_contacts": max_contacts, "max_tags": max_tags}
    assert faults(demands, found.rectangles, repeatable=repeatable, **caps) == ()
    assert "report" not in found.stage
    assert found.lower_bound <= len(found.rectangles) <= per_delta(demands, max_contacts, max_tags)
    assert len(found.rectangles) <= per_tag(demands, max_contacts)
    assert found.proven == (found.lower_bound == len(found.rectangles))


A, B, C = TAGS[:3]
X, Y, Z = (ContactId(name) for name in "xyz")


@pytest.mark.parametrize(
    ("rectangles", "fault"),
    [
        ([], "a needed pair that is not sent"),
        ([Rectangle((A, B), (X,)), Rectangle((C,), (X,))], "a pair that may not be sent"),
        ([Rectangle((A,), (X,)), Rectangle((A,), (X,))], "a pair sent twice that may be sent once"),
        ([Rectangle((B, A), (X,))], "a request that is not sorted, or names something twice"),
        ([Rectangle((A,), (Z,))], "a contact that nobody asked for"),
        ([Rectangle((A,), (X, Y))], "a request of 2 contacts and 1 tags"),
    ],
)
def test_the_last_check_sees_every_kind_of_fault(rectangles: list[Rectangle], fault: str) -> None:
    demands = [
        Demand(frozenset([A]), frozenset([A, B]), (X,)),
        Demand(frozenset([A]), frozenset([A]), (Y,)),
    ]
    assert fault in faults(demands, rectangles, repeatable=frozenset([B]), max_contacts=1, max_tags=2)


def test_wrong_input_is_refused() -> None:
    caps = {"repeatable": frozenset[Tag](), "max_contacts": 1, "max_tags": 1}
    with pytest.raises(ValueError, match="must be sent but may not"):
        cover([Demand(frozenset([A]), frozenset(), (X,))], **caps)
    with pytest.raises(ValueError, match="twice"):
        cover([Demand(frozenset([tag]), frozenset([tag]), (X,)) for tag in (A, B)], **caps)


@given(st.lists(st.frozensets(st.integers(0, 9), min_size=1), max_size=8), st.integers(0, 8))
def test_a_schedule_orders_batches_that_share_a_contact_and_no_others(groups: list[frozenset[int]], adds: int) -> None:
    batches = [Rectangle((A,), tuple(sorted(ContactId(str(number)) for number in group))) for group in groups]
    steps = schedule(batches[:adds], batches[adds:])
    assert sorted(step.rectangle for step in steps) == sorted(batches)
    actions = [step.action for step in steps]
    assert actions == sorted(actions)
    reach: list[set[int]] = []
    for place, step in enumerate(steps):
        assert all(earlier < place for earlier in step.after)
        shared = {
            earlier for earlier in range(place) if set(steps[earlier].rectangle.contacts) & set(step.rectangle.contacts)
        }
        assert set(step.after) <= shared
        reach.append(set(step.after).union(*(reach[earlier] for earlier in step.after)))
        assert shared <= reach[place]
    assert [step.action for step in steps].count(Action.ADD) == len(batches[:adds])
