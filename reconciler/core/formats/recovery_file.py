"""Answers that the state could not take, complete enough to be recorded later as they would have been. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.journal_json import answers_document, read_answers
from reconciler.core.formats.json_forms import Count, Form
from reconciler.core.formats.state_json import FORMAT_VERSION, contacts_document, read_contacts
from reconciler.core.model import JsonObject
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, LocationId, Source
from reconciler.core.model.outcome import ContactOutcome, Outcome

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


def _write_outcomes(verdicts: Mapping[ContactId, ContactOutcome]) -> list[JsonObject]:
    return answers_document({contact: Answer(verdict) for contact, verdict in verdicts.items()})


def _read_outcomes(rows: object) -> dict[ContactId, ContactOutcome]:
    answers = read_answers(rows)
    return {contact: answer.verdict for contact, answer in answers.items() if answer.verdict is not None}


_Outcomes = NewType("_Outcomes", Mapping[ContactId, ContactOutcome])
_States = NewType("_States", Mapping[ContactId, ContactState])
_FORMS = Forms(
    {
        UnrecordedAnswers: JsonSpelling(
            members="location lineage run batch=number answered rows=verdicts known=learnt",
            types={"batch": Count, "rows": _Outcomes, "known": _States},
        )
    },
    {
        _Outcomes: Form(_write_outcomes, _read_outcomes, {}),
        _States: Form(contacts_document, lambda groups: dict(read_contacts(groups).items()), {}),
    },
)


def unrecorded_document(lost: UnrecordedAnswers) -> JsonObject:
    return {"format_version": FORMAT_VERSION, "kind": KIND, **_FORMS.write(lost)}


def read_unrecorded(document: object, *, path: str) -> UnrecordedAnswers:
    """The inverse of `unrecorded_document`; raises InvalidInput."""
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InvalidInput([Problem(Source(path), "this is no emergency journal", "emergency")])
    try:
        return _FORMS.form(UnrecordedAnswers).read(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput([Problem(Source(path), f"it lacks something: {error}", "emergency")]) from error


def is_open(lost: UnrecordedAnswers, last: RunRecord | None, batches: tuple[BatchRecord, ...]) -> bool:
    """Whether the state still waits for this answer: its run is the last one, and the batch is not settled."""
    if last is None or last.id != lost.run or last.status is not RunStatus.RUNNING:
        return False
    # the batch may have been settled meanwhile, by another recovery or by a reading
    waiting = [batch for batch in batches if batch.status is BatchStatus.INTENDED]
    return any(batch.answers.keys() == lost.verdicts.keys() for batch in waiting)


def nothing_sent(batch: Batch) -> dict[ContactId, ContactOutcome]:
    return dict.fromkeys(batch.contacts, ContactOutcome(Outcome.NOT_SENT))
