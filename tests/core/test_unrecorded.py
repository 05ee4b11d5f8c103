"""An answer that the state was not given in its run: where it is kept, and which state still waits for it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.formats.state_json import UnrecordedAnswers, is_unrecorded
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunRecord, RunStatus
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.planfile import RecoveryJournal, load_unrecorded
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


def test_it_is_kept_beside_the_plan_and_over_no_other(tmp_path: Path) -> None:
    # the system's temporary files are shared with whoever runs this, too
    keep, lost = RecoveryJournal(tmp_path / "plan.json"), replace(LOST, run=tmp_path.name)
    path = Path(keep(lost))
    assert path == tmp_path / f"plan.json.emergency-{tmp_path.name}-1.json"
    assert load_unrecorded(path) == lost
    elsewhere = Path(keep(lost))
    try:
        assert elsewhere.parent == Path(tempfile.gettempdir())
        assert load_unrecorded(elsewhere) == lost
        assert keep(lost) == "", "no place is left"
    finally:
        elsewhere.unlink()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "this is no emergency journal"),
        ('{"kind": "emergency journal"}', "it lacks something"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "lost.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput, match=told):
        load_unrecorded(path)
