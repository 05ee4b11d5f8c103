"""Answers that the state could not take, complete enough to be recorded later as they would have been. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.core.formats import checked
from reconciler.core.formats.journal_json import answers_document, read_answers
from reconciler.core.formats.state_json import FORMAT_VERSION, contacts_document
from reconciler.core.formats.state_json_reader import read_contacts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, LocationId, Source, iso
from reconciler.core.model.outcome import ContactOutcome, Outcome
from reconciler.core.planning.batches import Batch

KIND = "emergency journal"


@dataclass(frozen=True, slots=True)
class UnrecordedAnswers:
    """The answer to batch `number` of a run, and the states of the contacts after it. `lineage` is the state's."""

    location: LocationId
    lineage: str | None
    run: str
    number: int
    answered: Instant
    verdicts: Mapping[ContactId, ContactOutcome]
    learnt: Mapping[ContactId, ContactState]

    @property
    def had_no_effect(self) -> bool:
        return all(verdict.outcome is Outcome.NOT_SENT for verdict in self.verdicts.values())


def unrecorded_document(lost: UnrecordedAnswers) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "location": lost.location,
        "lineage": lost.lineage,
        "run": lost.run,
        "batch": lost.number,
        "answered": iso(lost.answered),
        "rows": answers_document({contact: Answer(verdict) for contact, verdict in lost.verdicts.items()}),
        "known": contacts_document(lost.learnt),
    }


def read_unrecorded(document: object, *, path: str) -> UnrecordedAnswers:
    """The inverse of `unrecorded_document`; raises InvalidInput."""
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InvalidInput([Problem(Source(path), "this is no emergency journal", "emergency")])
    try:
        answers = read_answers(document["rows"])
        return UnrecordedAnswers(
            location=LocationId(checked.text(document["location"])),
            lineage=checked.optional(checked.text, document["lineage"]),
            run=checked.text(document["run"]),
            number=checked.count(document["batch"]),
            answered=checked.moment(document["answered"]),
            verdicts={contact: each.verdict for contact, each in answers.items() if each.verdict is not None},
            learnt=dict(read_contacts(document["known"]).items()),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput([Problem(Source(path), f"it lacks something: {error}", "emergency")]) from error


def is_open(lost: UnrecordedAnswers, last: RunRecord | None, batches: tuple[BatchRecord, ...]) -> bool:
    """Whether the state still waits for this answer: its run is the last one, and the batch is not settled."""
    if last is None or last.id != lost.run or last.status is not RunStatus.RUNNING:
        return False
    waiting = [each for each in batches if each.status is BatchStatus.INTENDED]
    return any(each.answers.keys() == lost.verdicts.keys() for each in waiting)


def nothing_sent(batch: Batch) -> dict[ContactId, ContactOutcome]:
    return dict.fromkeys(batch.contacts, ContactOutcome(Outcome.NOT_SENT))
