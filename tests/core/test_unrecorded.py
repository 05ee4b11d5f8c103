"""An answer that the state was not given in its run: which state still waits for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.formats.state_json import UnrecordedAnswers, is_unrecorded
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunRecord, RunStatus
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from tests.build import HERE, LINEAGE, NOW, ids

ANNA, BERT = ids("anna bert")
NOOP = ContactOutcome(Outcome.NOOP)
LOST = UnrecordedAnswers(HERE, LINEAGE, "r1", 1, NOW, {ANNA: NOOP}, {})
RUNNING = RunRecord("r1", RunHeader(HERE, "apply", "anna", NOW), RunStatus.RUNNING, None, 1, 1)
OPEN = BatchRecord(Action.ADD, (Tag("vip"),), NOW, None, BatchStatus.INTENDED, {ANNA: Answer(None)})
ANSWERED = replace(OPEN, ended=NOW, status=BatchStatus.ANSWERED, answers={ANNA: Answer(NOOP)})
OF_ANOTHER = replace(OPEN, answers={BERT: Answer(None)})


@pytest.mark.parametrize(
    ("last", "batches", "waits"),
    [
        (RUNNING, (OPEN,), True),
        (RUNNING, (ANSWERED, OF_ANOTHER, OPEN), True),
        (RUNNING, (ANSWERED,), False),
        (RUNNING, (OF_ANOTHER,), False),
        (RUNNING, (), False),
        (replace(RUNNING, status=RunStatus.STOPPED, ended=NOW), (OPEN,), False),
        (replace(RUNNING, id="r2"), (OPEN,), False),
        (None, (), False),
    ],
    ids=["open", "open behind others", "answered", "of others", "no request", "ended", "later run", "no run"],
)
def test_a_state_waits_for_the_answer_to_an_open_request_of_its_last_run(
    last: RunRecord | None, batches: tuple[BatchRecord, ...], waits: bool
) -> None:
    assert is_unrecorded(LOST, last, batches) is waits
