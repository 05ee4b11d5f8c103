"""A state that does not hang together is told of, run by run and set by set; and which state may replace another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.formats.integrity import TOLERANCE_MS, accept, verify
from reconciler.core.formats.state_json import Portable
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, SetName, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.people import MatchCounts, Snapshot
from reconciler.core.planning.plan import LocationState
from tests.build import HERE, NOW, carries, contact_state, ids, state_of, tags

LINEAGE = "6f1c8c4e-0000-4000-8000-000000000000"
ANNA, BERT = ids("anna bert")
APPLIED = ContactOutcome(Outcome.APPLIED, old=frozenset(), added=tags("vip"))
BATCH = BatchRecord(Action.ADD, (Tag("vip"),), NOW, NOW, BatchStatus.ANSWERED, {ANNA: Answer(APPLIED)})
RECORD = RunRecord("r1", RunHeader(HERE, "apply", "anna", Instant(NOW - 60_000)), RunStatus.COMPLETE, NOW, 1, 1)
SNAPSHOT = Snapshot((ANNA, BERT), NOW, "sha256:1", MatchCounts(3, 2, 1))


def portable(
    *runs: RunLog, known: ContactState | None = None, snapshot: Snapshot | None = None, **state: Any
) -> Portable:
    observed = state_of({ANNA: known or carries("vip", ledger="vip")})
    told = {} if snapshot is None else {SetName("vips"): snapshot}
    return Portable(replace(LocationState(HERE, LINEAGE, 3, observed), **state), runs, told)


def faults(state: Portable) -> tuple[str, ...]:
    return verify(state, now=NOW)


def run(*batches: BatchRecord, **fields: Any) -> RunLog:
    return RunLog(replace(RECORD, **fields), batches)


def ended(outcome: Outcome, **changes: Any) -> Mapping[ContactId, Answer]:
    return {ANNA: Answer(ContactOutcome(outcome, **changes))}


def test_a_state_as_runs_leave_it_is_whole() -> None:
    removed = replace(BATCH, action=Action.REMOVE, answers=ended(Outcome.APPLIED, old=tags("vip"), removed=tags("vip")))
    doubtful = replace(BATCH, ended=None, status=BatchStatus.IN_DOUBT, answers=ended(Outcome.IN_DOUBT))
    withdrawn = replace(BATCH, status=BatchStatus.WITHDRAWN, answers=ended(Outcome.NOT_SENT))
    open_batch = replace(BATCH, ended=None, status=BatchStatus.INTENDED, answers={ANNA: Answer(None)})
    runs = (
        run(BATCH, removed, doubtful, withdrawn),
        run(id="r2", status=RunStatus.INTERRUPTED, ended=None),
        run(open_batch, id="r3", status=RunStatus.RUNNING, ended=None),
    )
    assert faults(portable(*runs, snapshot=SNAPSHOT)) == ()


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (carries("vip", ledger="vip", kept="x"), "tags to be kept on leaving are not under management"),
        (
            contact_state(ledger=tags("vip"), unconfirmed=tags("x")),
            "tags whose adds are unconfirmed, and which are not under management",
        ),
    ],
)
def test_what_is_remembered_of_a_managed_tag_goes_with_the_tag(known: ContactState, told: str) -> None:
    assert faults(portable(known=known)) == (f"1 contacts (anna): {told}",)


@pytest.mark.parametrize("lineage", [None, "", "6f1c8c4e", LINEAGE.upper(), f"{LINEAGE}-"])
def test_a_state_without_a_lineage_is_none_of_ours(lineage: str | None) -> None:
    assert faults(portable(lineage=lineage)) == (f"the lineage {lineage!r} is none",)


def test_a_set_has_no_size_below_nothing() -> None:
    assert faults(portable(set_sizes={SetName("s"): 0, SetName("t"): -1})) == ("set 't' has a size of -1",)


@pytest.mark.parametrize(
    ("snapshot", "told"),
    [
        (replace(SNAPSHOT, contacts=(BERT, ANNA)), "contacts that are not sorted, or twice there"),
        (replace(SNAPSHOT, contacts=(ANNA, ANNA)), "contacts that are not sorted, or twice there"),
        (replace(SNAPSHOT, as_of=Instant(NOW + TOLERANCE_MS + 1)), "pulled at a time that is yet to come"),
        (replace(SNAPSHOT, counts=MatchCounts(4, 2, 1)), "rows that its classes do not add up to"),
        (replace(SNAPSHOT, counts=MatchCounts(2, 2, kept=3)), "rows that its classes do not add up to"),
        (
            replace(SNAPSHOT, missing={ContactId("cara"): NOW}),
            "contacts that are not shown, and are not among its own",
        ),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_told_with_its_set(snapshot: Snapshot, told: str) -> None:
    assert faults(portable(snapshot=snapshot)) == (f"the snapshot of set 'vips': {told}",)


def test_a_clock_that_is_a_little_ahead_is_no_fault() -> None:
    ahead = Instant(NOW + TOLERANCE_MS)
    begun = run(header=replace(RECORD.header, started=ahead), ended=ahead)
    assert faults(portable(begun, snapshot=replace(SNAPSHOT, as_of=ahead))) == ()


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([run(), run()], ["run r1 is there 2 times"]),
        (
            [run(status=RunStatus.RUNNING, ended=None), run(id="r2")],
            ["run r1 is said to be running, and later ones began"],
        ),
        ([run(ended=Instant(NOW - 60_001))], ["run r1 ended before it began"]),
        ([run(status=RunStatus.RUNNING)], ["run r1 is running, which does not go with its end"]),
        ([run(ended=None)], ["run r1 is complete, which does not go with its end"]),
        (
            [run(header=replace(RECORD.header, started=Instant(NOW + TOLERANCE_MS + 1)), ended=Instant(NOW + 10**6))],
            ["run r1 began at a time that is yet to come"],
        ),
    ],
    ids=["twice", "running", "ended first", "no end", "an end", "to come"],
)
def test_a_run_that_cannot_have_been_is_told(runs: list[RunLog], told: list[str]) -> None:
    assert faults(portable(*runs)) == tuple(told)


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (replace(BATCH, tags=(), answers={}), "no tags"),
        (
            replace(BATCH, ended=None, status=BatchStatus.INTENDED, answers={ANNA: Answer(None)}),
            "left open, and later runs began",
        ),
        (replace(BATCH, ended=None), "answered, which does not go with its end"),
        (
            replace(BATCH, status=BatchStatus.IN_DOUBT, answers=ended(Outcome.IN_DOUBT)),
            "in_doubt, which does not go with its end",
        ),
        (replace(BATCH, answers={ANNA: Answer(None)}), "answered, which does not go with its rows"),
        (replace(BATCH, answers=ended(Outcome.NOT_SENT)), "answered, and a row not_sent"),
        (
            replace(BATCH, status=BatchStatus.WITHDRAWN, answers=ended(Outcome.NOOP)),
            "withdrawn, and a row noop",
        ),
        (
            replace(BATCH, answers=ended(Outcome.APPLIED, removed=tags("vip"))),
            "a row that does not go with what was asked",
        ),
        (replace(BATCH, action=Action.REMOVE), "a row that does not go with what was asked"),
        (
            replace(BATCH, answers=ended(Outcome.APPLIED, added=tags("x"))),
            "a row that does not go with what was asked",
        ),
        (
            replace(BATCH, answers=ended(Outcome.NOOP, added=tags("vip"))),
            "a row that does not go with what was asked",
        ),
        (replace(BATCH, answers=ended(Outcome.APPLIED)), "a row that does not go with what was asked"),
    ],
)
def test_a_request_whose_parts_contradict_one_another_is_told_with_its_place(batch: BatchRecord, told: str) -> None:
    assert faults(portable(run(BATCH, batch), run(id="r2"))) == (f"run r1, batch 2: {told}",)


def test_rows_that_are_wrong_alike_are_told_once_a_request() -> None:
    wrong = replace(
        BATCH, answers={each: Answer(ContactOutcome(Outcome.NOOP, added=tags("vip"))) for each in (ANNA, BERT)}
    )
    assert len(faults(portable(run(wrong)))) == 1


def test_a_state_of_another_lineage_replaces_nothing() -> None:
    other = portable(lineage="7" + LINEAGE[1:])
    with pytest.raises(StateError, match="is of lineage 6f1c8c4e"):
        accept(portable(run()), other)


def test_an_empty_state_takes_over_whatever_comes() -> None:
    empty = portable(lineage="7" + LINEAGE[1:], serial=0, observed=state_of({}))
    new = portable(run())
    assert accept(empty, new) is new


def test_a_location_with_a_lineage_and_nothing_else_arrives_whole() -> None:
    """As a run leaves it that was stopped once it had its lease: to take over itself changes nothing."""
    founded = portable(serial=0, observed=state_of({}))
    assert accept(portable(lineage="", serial=0, observed=state_of({})), founded) == founded
    assert accept(founded, founded) is None


def test_a_state_that_is_older_or_lacks_a_run_replaces_nothing() -> None:
    present = portable(run(), run(id="r2"))
    with pytest.raises(StateError, match=r"serial 2, there 3$"):
        accept(present, portable(run(), run(id="r2"), serial=2))
    with pytest.raises(StateError, match=r"and lacks run r1$"):
        accept(present, portable(run(id="r2"), serial=9))
