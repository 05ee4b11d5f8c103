"""What many contacts share is worked out once: to the same end as contact by contact."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.alike import count_alike, distinct_objects, map_alike
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import ContactState, Doubt, Observation, ObservationOrigin
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import (
    Action,
    ContactOutcome,
    Outcome,
    Rejection,
    ResponseRow,
    classify_rows,
)
from reconciler.core.running.pair_outcomes import PairOutcomes
from reconciler.core.running.stop_conditions import Rates

CONTACTS = [ContactId(name) for name in ("anna", "bert", "cara", "dora", "emil")]
TAGS = tuple(map(Tag, "ab"))

contacts = st.lists(st.sampled_from(CONTACTS), unique=True, max_size=5)
tags = st.frozensets(st.sampled_from(TAGS))
observations = st.builds(Observation, tags=tags, at=st.just(Instant(1)), origin=st.just(ObservationOrigin.WRITE))
doubts = st.builds(Doubt, tags=tags, sent=st.just(Instant(1)))
states = st.builds(ContactState, observation=st.none() | observations, doubt=st.none() | doubts)
verdicts = st.builds(
    ContactOutcome,
    outcome=st.sampled_from((Outcome.APPLIED, Outcome.NOOP, Outcome.HELD, Outcome.IN_DOUBT, Outcome.REJECTED)),
    rejection=st.none() | st.sampled_from(Rejection),
    old=st.none() | tags,
    added=tags,
    removed=tags,
)
response_rows = st.builds(
    ResponseRow,
    contact=st.sampled_from(CONTACTS),
    type=st.sampled_from(("success", "success", "error", "new")),
    message=st.sampled_from(("", "contact is deleted", "Tags updated")),
    old=st.none() | tags,
    added=st.none() | tags,
    removed=st.none() | tags,
)


@given(st.lists(st.tuples(st.sampled_from(TAGS), tags)), st.booleans())
def test_work_is_done_once_for_the_same_objects_and_again_for_equal_ones(
    asked: list[tuple[Tag, frozenset[Tag]]], copies: bool
) -> None:
    done: list[object] = []

    def work(tag: Tag, among: frozenset[Tag]) -> tuple[Tag, bool]:
        done.append((id(tag), id(among)))
        return tag, tag in among

    sent, kept = [tag for tag, _ in asked], [frozenset(list(among)) if copies else among for _, among in asked]
    assert map_alike(work, sent, kept) == [(tag, tag in among) for tag, among in asked]
    assert len(done) == len(set(done))
    assert len(distinct_objects(kept)) == len(set(map(id, kept)))


@given(st.lists(st.tuples(states, verdicts), max_size=5), st.booleans())
def test_pairs_of_the_same_two_objects_are_counted(
    drawn: list[tuple[ContactState, ContactOutcome]], twice: bool
) -> None:
    first, second = [state for state, _ in drawn], [verdict for _, verdict in drawn]
    counted = count_alike(first * (1 + twice), second * (1 + twice))
    assert len({(id(state), id(verdict)) for state, verdict, _ in counted}) == len(counted)
    for state, verdict, number in counted:
        pairs = zip(first, second, strict=True)
        assert number == (1 + twice) * sum(one is state and other is verdict for one, other in pairs)


@given(contacts, st.lists(response_rows, max_size=8), st.sampled_from(Action), tags)
def test_rows_are_judged_together_as_one_by_one(
    sent: list[ContactId], rows: list[ResponseRow], action: Action, asked: frozenset[Tag]
) -> None:
    alone = {
        contact: classify_rows(action, [contact], asked, [row for row in rows if row.contact == contact])[contact]
        for contact in sent
    }
    assert classify_rows(action, sent, asked, rows) == alone


answers = st.dictionaries(st.sampled_from(CONTACTS), st.tuples(states, verdicts), max_size=5)


@pytest.mark.slow
@given(st.lists(answers, max_size=4), st.booleans())
def test_rates_count_rows_together_as_one_by_one(
    given_answers: list[dict[ContactId, tuple[ContactState, ContactOutcome]]], shared: bool
) -> None:
    together, alone = Rates(), Rates()
    for answer in given_answers:
        known = {contact: state if shared else copy(state) for contact, (state, _) in answer.items()}
        told = {contact: verdict if shared else replace(verdict) for contact, (_, verdict) in answer.items()}
        together.count_rows(count_alike(list(known.values()), told.values()))
        for contact in told:
            alone.count_rows([(known[contact], told[contact], 1)])
    assert together == alone


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(Action), st.frozensets(st.sampled_from(TAGS), min_size=1), answers), max_size=4)
)
def test_outcomes_of_pairs_are_recorded_together_as_one_by_one(
    batches: list[tuple[Action, frozenset[Tag], dict[ContactId, tuple[ContactState, ContactOutcome]]]],
) -> None:
    together, alone = PairOutcomes(), PairOutcomes()
    for action, sent, answer in batches:
        told = {contact: verdict for contact, (_, verdict) in answer.items()}
        batch = Batch(action, tuple(told), tuple(sorted(sent)))
        together.record_batch(batch, told)
        for contact, verdict in told.items():
            alone.record_batch(replace(batch, contacts=(contact,)), {contact: verdict})
        assert (together.fates, together.failed, together.rejected) == (alone.fates, alone.failed, alone.rejected)
        assert together.findings() == alone.findings()
        worst = [outcome for contact in CONTACTS for outcome in alone.count_worst([contact], sent).elements()]
        assert sorted(together.count_worst(CONTACTS, sent).elements()) == sorted(worst)
        unclear = {contact for contact in CONTACTS if alone.list_unclear([contact], sent)}
        assert together.list_unclear(CONTACTS, sent) == unclear
