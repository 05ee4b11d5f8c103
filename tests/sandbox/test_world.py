"""Laws of the emulated location, for any sequence of writes under any assumptions about spelling."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import Instant, Tag, looks_like_contact_id
from reconciler.core.model.outcome import Action, Outcome, classify_rows
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import World, made_up_id
from tests.build import HERE, NOW, contact
from tests.sandbox.builders import ANNA, BERT, CARA, FOREIGN, GONE, NOBODY, a_world

HELD = (ANNA, BERT, CARA)


@dataclass(frozen=True)
class Write:
    action: Action
    contacts: tuple[str, ...]
    tags: tuple[str, ...]
    everything: bool
    wait_ms: int


spellings = st.sampled_from(("a", "B", " b ", "c  d", "É", "\u0130", ""))
names = st.sampled_from((*HELD, GONE, FOREIGN, NOBODY, "abcdef", ""))
writes = st.builds(
    Write,
    action=st.sampled_from(Action),
    contacts=st.lists(names, max_size=6).map(tuple),
    tags=st.lists(spellings, max_size=4).map(tuple),
    everything=st.booleans(),
    wait_ms=st.integers(-5_000, 5_000),
)
rules = st.builds(
    Assumptions,
    lowercases_tags=st.booleans(),
    trims_tags=st.booleans(),
    collapses_spaces=st.booleans(),
    repeats_give_rows=st.booleans(),
    rows_as_sent=st.booleans(),
    tag_write_moves_date=st.booleans(),
    noop_write_moves_date=st.booleans(),
    search_lag_ms=st.sampled_from((0, 3_000)),
)


def tags_now(world: World) -> dict[str, frozenset[Tag]]:
    return {name: found.tags for name, found in world.contacts.items()}


def write(world: World, step: Write, now: int) -> None:
    world.bulk(step.action, step.contacts, step.tags, now=Instant(now), by="api", everything=step.everything)


@given(rules, st.lists(writes, max_size=8))
def test_the_log_is_the_difference_of_the_states(assumptions: Assumptions, steps: list[Write]) -> None:
    world, now = World(HERE, a_world().contacts.values(), assumptions=assumptions), int(NOW)
    for step in steps:
        before, logged, now = tags_now(world), len(world.transitions), now + step.wait_ms
        write(world, step, now)
        after = tags_now(world)
        gained = {(name, tag, Action.ADD) for name in after for tag in after[name] - before[name]}
        lost = {(name, tag, Action.REMOVE) for name in after for tag in before[name] - after[name]}
        log = [(change.contact, change.tag, change.action) for change in world.transitions[logged:]]
        assert Counter(log) == Counter(gained | lost)
    instants = [change.at for change in world.transitions]
    assert instants == sorted(instants)


@given(rules, st.lists(writes, max_size=8))
def test_a_row_tells_the_truth(assumptions: Assumptions, steps: list[Write]) -> None:
    world = World(HERE, a_world().contacts.values(), assumptions=assumptions)
    for step in steps:
        before = tags_now(world)
        rows = world.bulk(step.action, step.contacts, step.tags, now=NOW, by="api", everything=step.everything)
        for row in rows:
            if row.type == "success":
                assert row.old is not None
                assert row.added is not None
                assert row.removed is not None
                assert row.added.isdisjoint(row.old)
                assert row.removed <= row.old
                before[row.contact] = (row.old | row.added) - row.removed
        assert tags_now(world) == before
        assert {row.contact for row in rows} == set(step.contacts)


@given(rules, writes)
def test_what_is_there_is_not_added_again(assumptions: Assumptions, step: Write) -> None:
    world = World(HERE, a_world().contacts.values(), assumptions=assumptions)
    write(world, step, NOW)
    logged = len(world.transitions)
    write(world, step, NOW)

    assert len(world.transitions) == logged


@given(st.lists(st.sampled_from(HELD), min_size=1, unique=True), st.sets(st.sampled_from("abc"), min_size=1))
def test_our_judge_believes_every_row_of_a_living_contact(contacts: list[str], tags: set[str]) -> None:
    wanted = frozenset(map(Tag, tags))
    for action in Action:
        world = a_world()
        rows = world.bulk(action, contacts, sorted(tags), now=NOW, by="api")
        verdicts = classify_rows(action, [row.contact for row in rows], wanted, rows)
        assert {verdict.outcome for verdict in verdicts.values()} <= {Outcome.APPLIED, Outcome.NOOP}
        assert {name: verdict.observed for name, verdict in verdicts.items()} == {
            name: world.tags_of(name) for name in contacts
        }


@given(st.lists(st.tuples(writes, st.booleans()), max_size=8), st.integers(0, 8_000))
def test_a_search_sees_what_was_true_before_the_lag(steps: list[tuple[Write, bool]], later: int) -> None:
    world, states = a_world(search_lag_ms=3_000), [(0, a_world().contacts)]
    now = int(NOW)
    for step, looked in steps:
        now += abs(step.wait_ms)
        write(world, step, now)
        states.append((now, dict(world.contacts)))
        if looked:
            world.indexed(Instant(now))
    seen = world.indexed(Instant(now + later))

    assert seen == [state for since, state in states if since <= now + later - 3_000][-1]


def test_a_contact_is_created_and_deleted_without_a_transition() -> None:
    world = a_world()
    world.put(contact(NOBODY, ["New "]), now=NOW)
    world.delete(NOBODY, now=NOW)

    assert world.tags_of(NOBODY) == {"new"}
    assert (world.find(NOBODY), world.transitions) == (None, [])
    assert world.known_tags == ("a", "b", "new")


def test_holders_are_the_living_of_this_location() -> None:
    assert a_world().holders("A ") == {ANNA, BERT}


@given(st.lists(st.text(), max_size=3))
def test_a_made_up_id_could_be_one(parts: list[str]) -> None:
    assert looks_like_contact_id(made_up_id(*parts))
    assert made_up_id(*parts) == made_up_id(*parts)
