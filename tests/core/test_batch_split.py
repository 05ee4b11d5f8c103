"""Which batch may leave: no two under way share a contact, the order of the plan holds, and all of them leave."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.batch import Batch
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import Caps
from reconciler.core.running.batch_split import BatchQueue, add_trial, halve_batch
from tests.build import ids

PEOPLE = ids("anna bert cara dora emil")


@st.composite
def some_batches(draw: st.DrawFn) -> list[Batch]:
    number = draw(st.integers(0, 8))
    return [
        Batch(
            Action.ADD,
            tuple(sorted(draw(st.sets(st.sampled_from(PEOPLE), min_size=1)))),
            (Tag("x"),),
            tuple(draw(st.sets(st.integers(0, nth - 1)))) if nth else (),
        )
        for nth in range(number)
    ]


@given(some_batches(), st.integers(1, 4), st.data())
def test_a_schedule_is_safe_and_comes_to_its_end(batches: list[Batch], room: int, data: st.DataObject) -> None:
    schedule = BatchQueue(batches)
    under_way: list[int] = []
    ended: list[int] = []
    while len(ended) < len(batches):
        while len(under_way) < room and (index := schedule.start_next()) is not None:
            assert set(batches[index].after) <= set(ended)
            assert not any(set(batches[index].contacts) & set(batches[each].contacts) for each in under_way)
            under_way.append(index)
        if len(under_way) < room:
            # whoever stays behind has a reason
            for index in set(range(len(batches))) - set(under_way) - set(ended):
                waits = not set(batches[index].after) <= set(ended)
                assert waits or any(set(batches[index].contacts) & set(batches[each].contacts) for each in under_way)
        under_way.remove(index := data.draw(st.sampled_from(under_way)))
        schedule.end_batch(index)
        ended.append(index)
    assert schedule.start_next() is None
    assert sorted(ended) == list(range(len(batches)))


def test_one_that_must_wait_holds_up_nobody_else() -> None:
    anna, bert, cara, *_ = PEOPLE
    batches = [Batch(Action.ADD, (anna, bert), (Tag("x"),)), Batch(Action.ADD, (bert,), (Tag("y"),))]
    schedule = BatchQueue([*batches, Batch(Action.ADD, (cara,), (Tag("x"),)), Batch(Action.REMOVE, (cara,), (), (2,))])

    assert [schedule.start_next() for _ in range(3)] == [0, 2, None]
    schedule.end_batch(0)
    assert [schedule.start_next(), schedule.start_next()] == [1, None]
    schedule.end_batch(2)
    assert schedule.start_next() == 3


rectangles = st.builds(
    Batch,
    st.just(Action.ADD),
    st.sets(st.sampled_from(PEOPLE), min_size=1).map(lambda who: tuple(sorted(who))),
    st.sets(st.sampled_from("abc").map(Tag), min_size=1).map(lambda found: tuple(sorted(found))),
)


def pairs(batch: Batch) -> list[tuple[str, str]]:
    return [(contact, tag) for contact in batch.contacts for tag in batch.tags]


@given(rectangles, st.booleans())
def test_halves_are_the_whole_and_a_single_pair_has_none(batch: Batch, contacts_first: bool) -> None:
    halves = halve_batch(batch, contacts_first=contacts_first)
    assert (halves is None) == (len(pairs(batch)) == 1)
    if halves is not None:
        assert all(map(pairs, halves))
        assert sorted(pairs(halves[0]) + pairs(halves[1])) == sorted(pairs(batch))


def test_two_requests_become_one_only_where_the_second_waits_for_nothing_more() -> None:
    anna, bert, cara, *_ = PEOPLE
    first, between = Batch(Action.ADD, (anna,), (Tag("x"),)), Batch(Action.ADD, (bert,), (Tag("y"),))
    second, waiting = Batch(Action.ADD, (cara,), (Tag("x"),)), Batch(Action.ADD, (cara,), (Tag("x"),), (1,))
    _, trial = add_trial([first, between, second], Caps(10, 10), Caps(1, 1), spare=frozenset())
    assert trial == Batch(Action.ADD, (anna, cara), (Tag("x"),))
    assert add_trial([first, between, waiting], Caps(10, 10), Caps(1, 1), spare=frozenset()) == (
        (first, between, waiting),
        None,
    )
