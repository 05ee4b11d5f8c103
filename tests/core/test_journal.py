"""A run of the journal as a document, and back; what its record and its report tell of how it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.formats.journal_json import listed_document, listed_members, log_document, read_log, run_members
from reconciler.core.model.errors import ExitCode, InvalidInput, LockHeld, Problem, UsageError
from reconciler.core.model.journal import (
    Answer,
    BatchRecord,
    BatchStatus,
    LocationReport,
    RunEnding,
    RunHeader,
    RunLog,
    RunRecord,
    RunStatus,
    Shortfall,
    UnknownLocation,
    exit_code,
)
from reconciler.core.model.names import Instant, LocationId, Source, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from tests.build import HERE, ids, tags
from tests.fakes import START

ANNA, BERT, CARA, DORA = ids("anna bert cara dora")
THERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
APPLIED = ContactOutcome(Outcome.APPLIED, "", None, tags("old grün"), tags("vip"))
GONE = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)


def at(seconds: int) -> Instant:
    return Instant(START + 1_000 * seconds)


RECORD = RunRecord(
    "r1",
    RunHeader(HERE, "apply", "anna", at(0), "sha256:abc", "0123abc", ("max_adds: launch",)),
    RunStatus.STOPPED,
    at(9),
    requests=2,
    rows=4,
)
ENDING = RunEnding(
    pairs=((Outcome.APPLIED, 2), (Outcome.REJECTED, 1)),
    rounds=1,
    reads=2,
    adopted=3,
    released=4,
    outside=5,
    error="the token was refused",
    shortfalls=(Shortfall(Outcome.REJECTED, Action.ADD, (Tag("vip"),), "contact is deleted", (CARA,)),),
    manifests_digest="sha256:m",
    definitions_digest="sha256:d",
    waits_until=at(60),
    reads_for=(("dates", 1), ("doubts", 1)),
)
LOG = RunLog(
    RECORD,
    (
        BatchRecord(
            Action.ADD,
            (Tag("vip"), Tag("x")),
            at(1),
            at(2),
            BatchStatus.ANSWERED,
            {
                BERT: Answer(APPLIED, tags("b a"), tags("vip")),
                CARA: Answer(GONE),
                ANNA: Answer(APPLIED, tags("b a"), tags("vip")),
            },
        ),
        BatchRecord(
            Action.REMOVE, (Tag("old"),), at(3), None, BatchStatus.INTENDED, {DORA: Answer(None, entered=tags("old"))}
        ),
    ),
    {DORA: tags("z y"), ANNA: tags("z y"), BERT: tags("y")},
    ENDING,
)
DOCUMENT: dict[str, Any] = {
    "id": "r1",
    "operation": "apply",
    "who": "anna",
    "started": "2026-11-18T11:06:40.000Z",
    "ended": "2026-11-18T11:06:49.000Z",
    "status": "stopped",
    "change_digest": "sha256:abc",
    "commit": "0123abc",
    "allowed": ["max_adds: launch"],
    "requests": 2,
    "kept_rows": 4,
    "traced": True,
    "adopted": [{"tags": ["y", "z"], "contacts": ["anna", "dora"]}, {"tags": ["y"], "contacts": ["bert"]}],
    "ending": {
        "pairs": {"applied": 2, "rejected": 1},
        "rounds": 1,
        "reads": 2,
        "adopted": 3,
        "released": 4,
        "outside": 5,
        "error": "the token was refused",
        "shortfalls": [
            {
                "outcome": "rejected",
                "action": "add",
                "tags": ["vip"],
                "why": "contact is deleted",
                "contacts": ["cara"],
            }
        ],
        "manifests_digest": "sha256:m",
        "definitions_digest": "sha256:d",
        "waits_until": "2026-11-18T11:07:40.000Z",
        "reads_for": {"dates": 1, "doubts": 1},
    },
    "batches": [
        {
            "action": "add",
            "tags": ["vip", "x"],
            "intended": "2026-11-18T11:06:41.000Z",
            "ended": "2026-11-18T11:06:42.000Z",
            "status": "answered",
            "rows": [
                {
                    "outcome": "applied",
                    "old": ["grün", "old"],
                    "added": ["vip"],
                    "removed": [],
                    "released": ["a", "b"],
                    "entered": ["vip"],
                    "message": "",
                    "rejection": None,
                    "contacts": ["anna", "bert"],
                },
                {
                    "outcome": "rejected",
                    "old": None,
                    "added": [],
                    "removed": [],
                    "released": [],
                    "entered": [],
                    "message": "contact is deleted",
                    "rejection": "deleted",
                    "contacts": ["cara"],
                },
            ],
        },
        {
            "action": "remove",
            "tags": ["old"],
            "intended": "2026-11-18T11:06:43.000Z",
            "ended": None,
            "status": "intended",
            "rows": [{"outcome": None, "entered": ["old"], "contacts": ["dora"]}],
        },
    ],
}
RUN = {name: value for name, value in DOCUMENT.items() if name not in ("adopted", "ending", "batches")}


def text(document: object) -> str:
    """With the order of members: the same run has the same bytes."""
    return json.dumps(document, ensure_ascii=False)


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def test_a_run_is_a_document_and_comes_back() -> None:
    assert text(log_document(LOG)) == text(DOCUMENT)
    assert read_log(HERE, DOCUMENT) == LOG
    assert read_log(THERE, DOCUMENT).record == replace(RECORD, header=replace(RECORD.header, location=THERE))


def test_a_list_of_runs_has_none_of_the_requests_and_says_how_long_a_run_waits() -> None:
    assert text(listed_document(RECORD)) == text(RUN | {"waits_until": None, "partial": False})
    waiting = replace(RECORD, waits_until=at(60))
    assert text(listed_document(waiting)) == text(RUN | {"waits_until": "2026-11-18T11:07:40.000Z", "partial": False})
    assert listed_document(replace(RECORD, is_partial=True))["partial"] is True
    assert list(run_members()) == list(RUN)
    assert listed_members() == run_members() | {
        "waits_until": {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "description": "When the additions may go that it left to wait for a pace or a window; null: it left none.",
        },
        "partial": {
            "type": "boolean",
            "description": "Whether something was rejected, held, in doubt, not sent, or needed and not approved.",
        },
    }


def test_a_document_of_an_older_version_tells_no_more_than_it_has() -> None:
    older = without(DOCUMENT, "traced", "adopted", "ending")
    answered, open_batch = DOCUMENT["batches"]
    older["batches"] = [
        answered | {"rows": [without(row, "entered") for row in answered["rows"]]},
        open_batch | {"rows": [without(row, "entered") for row in open_batch["rows"]]},
    ]
    first, second = LOG.batches
    assert read_log(HERE, older) == RunLog(
        replace(RECORD, traced=False),
        (
            replace(first, answers={who: replace(each, entered=frozenset()) for who, each in first.answers.items()}),
            replace(second, answers={DORA: Answer(None)}),
        ),
    )
    ended_before = DOCUMENT | {"ending": without(DOCUMENT["ending"], "manifests_digest", "waits_until")}
    found = read_log(HERE, ended_before).ending
    assert found is not None
    assert (found.manifests_digest, found.definitions_digest, found.waits_until) == ("", "sha256:d", None)
    no_report = log_document(replace(LOG, ending=None))
    assert no_report["ending"] is None
    assert read_log(HERE, no_report).ending is None


def test_a_document_that_a_person_mended_is_read_as_our_own() -> None:
    mended = json.loads(text(DOCUMENT)) | {"requests": 77, "kept_rows": 99}
    mended["batches"][0]["tags"] = ["x", "vip", "x"]
    mended["ending"]["shortfalls"][0] |= {"tags": ["x", "vip", "x"], "contacts": ["cara", "anna", "cara"]}
    short = replace(ENDING.shortfalls[0], tags=(Tag("vip"), Tag("x")), contacts=(ANNA, CARA))
    assert read_log(HERE, mended) == replace(LOG, ending=replace(ENDING, shortfalls=(short,)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("adopted", [{"tags": ["y"], "contacts": "anna"}]),
        ("adopted", [{"tags": "y", "contacts": ["anna"]}]),
        ("adopted", {}),
        ("batches", None),
        ("batches", [{}]),
        ("ending", []),
        ("ending", {"pairs": {"applied": -1}}),
        ("status", "asleep"),
        ("started", 7),
    ],
)
def test_what_is_no_such_document_is_refused(place: str, value: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_log(HERE, DOCUMENT | {place: value})


@pytest.mark.parametrize(
    ("requests", "rows", "pruned"), [(0, 0, False), (1, 0, True), (2, 0, True), (1, 1, False), (2, 4, False)]
)
def test_a_run_gave_up_its_rows_where_it_sent_requests_and_has_none(requests: int, rows: int, pruned: bool) -> None:
    assert replace(RECORD, requests=requests, rows=rows).is_pruned is pruned


@pytest.mark.parametrize(
    ("status", "ended", "killed"),
    [
        (RunStatus.INTERRUPTED, None, True),
        (RunStatus.INTERRUPTED, at(9), False),
        (RunStatus.RUNNING, None, False),
        (RunStatus.STOPPED, at(9), False),
    ],
)
def test_a_run_was_killed_where_it_was_interrupted_and_nobody_wrote_its_end(
    status: RunStatus, ended: Instant | None, killed: bool
) -> None:
    assert replace(RECORD, status=status, ended=ended).was_killed is killed


@pytest.mark.parametrize("outcome", Outcome)
def test_a_run_is_partial_where_a_person_or_a_later_run_has_something_to_do(outcome: Outcome) -> None:
    partial = outcome in (Outcome.REJECTED, Outcome.HELD, Outcome.IN_DOUBT, Outcome.NOT_SENT)
    report = LocationReport(HERE, "r1", RunStatus.COMPLETE, pairs={outcome: 1})
    assert RunEnding(((outcome, 1),)).is_partial is partial
    assert report.exit_code == (ExitCode.PARTIAL if partial else ExitCode.DONE)
    assert replace(report, pairs={outcome: 0}).exit_code == ExitCode.DONE


def test_what_was_not_approved_makes_a_run_partial_and_an_error_says_more() -> None:
    done = LocationReport(HERE, "r1", RunStatus.COMPLETE)
    assert (RunEnding().is_partial, RunEnding(outside=1).is_partial) == (False, True)
    assert (done.exit_code, replace(done, outside=1).exit_code) == (ExitCode.DONE, ExitCode.PARTIAL)
    locked = replace(done, outside=1, error_code=ExitCode.LOCKED)
    assert locked.exit_code == ExitCode.LOCKED
    # of several locations the worst, in the order of the contract
    assert exit_code([done, locked, replace(done, outside=1)]) == ExitCode.LOCKED
    assert exit_code([]) == ExitCode.DONE


@pytest.mark.parametrize(
    ("definitions", "manifests", "theirs"),
    [("d", "m", True), ("d", "other", True), ("other", "m", False), ("", "m", True), ("", "other", False)],
)
def test_a_run_carried_out_the_definitions_that_it_names_or_else_the_manifests(
    definitions: str, manifests: str, theirs: bool
) -> None:
    ending = RunEnding(manifests_digest=manifests, definitions_digest=definitions)
    assert ending.is_by("d", "m") is theirs


def test_locations_of_which_nothing_is_known_are_listed_with_why_and_what_helps() -> None:
    place = Source("acme.yaml", 3, 5)
    wrong = InvalidInput(
        [Problem(place, "no set", "sets", hint="name one"), Problem(place, "no tag", "tags", hint="name a tag")]
    )
    assert UnknownLocation.list_from({THERE: LockHeld("it is locked", hint="wait"), HERE: wrong}) == (
        UnknownLocation(HERE, "; ".join(wrong.lines), "; ".join(wrong.hints), ExitCode.ERROR),
        UnknownLocation(THERE, "it is locked", "wait", ExitCode.LOCKED),
    )
    assert UnknownLocation.list_from({}) == ()
    assert UsageError("no such flag").exit_code == ExitCode.USAGE
