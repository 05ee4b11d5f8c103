"""Runs, their batches and the answers to these as JSON, and back: for the portable state, reports and recovery files.

Rules
1. `SPELLINGS` names every exception from "field by field".
2. Contacts of a batch that were answered alike stand together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, NewType, TypeVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count, Form, Schema, described, object_schema, read_list
from reconciler.core.model import Json, JsonObject
from reconciler.core.model.journal import Answer, BatchRecord, RunEnding, RunLog, RunRecord, Shortfall
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, TagSet
from reconciler.core.model.outcome import Outcome

T = TypeVar("T", bound=Hashable)
Adopted = NewType("Adopted", Mapping[ContactId, TagSet])
_Rows = NewType("_Rows", Mapping[ContactId, Answer])
_SortedTags = NewType("_SortedTags", tuple[Tag, ...])
_SortedContacts = NewType("_SortedContacts", tuple[ContactId, ...])
TEXTS: Schema = {"type": "array", "items": {"type": "string"}}

SHORTFALL = JsonSpelling(
    about="Pairs that did not end well, or were not sent, for one reason: the tags on each of the contacts.",
    # a state that a person mended by hand is taken as our own
    types={"tags": _SortedTags, "contacts": _SortedContacts},
)
SPELLINGS: Mapping[type, JsonSpelling] = {
    RunRecord: JsonSpelling(
        # `waits_until` stands in its ending
        members="location=header.location id operation=header.operation who=header.who started=header.started ended "
        "status change_digest=header.change_digest commit=header.commit allowed=header.allowed requests "
        "kept_rows=rows traced",
        types={
            "allowed": Annotated[tuple[str, ...], "Guards that were lifted, each with its reason."],
            "requests": Count,
            "kept_rows": Count,
            "traced": Annotated[bool, "Whether the journal tells what the run put under management."],
        },
    ),
    RunEnding: JsonSpelling(
        about="What the report of the run told at its end; null: it had none, or nobody wrote it down.",
        later="manifests_digest definitions_digest waits_until reads_for",
        sparse="manifests_digest definitions_digest waits_until reads_for",
        types={
            "pairs": Mapping[Outcome, Count],
            "reads_for": Mapping[str, Count],
            **dict.fromkeys(("rounds", "reads", "adopted", "released", "outside"), Count),
        },
    ),
    Shortfall: SHORTFALL,
    BatchRecord: JsonSpelling(
        members="action tags intended ended status rows=answers", types={"tags": _SortedTags, "rows": _Rows}
    ),
    Answer: JsonSpelling(
        members="outcome=verdict.outcome old=verdict.old added=verdict.added removed=verdict.removed released entered "
        "message=verdict.message rejection=verdict.rejection",
        types={"entered": Annotated[TagSet, "What the intent put under management."]},
        # before version 1.3 nobody wrote it down
        later="entered",
    ),
}


def run_document(run: RunRecord) -> JsonObject:
    """The run without its location, which the document around it names."""
    return {name: value for name, value in JOURNAL_FORMS.write(run).items() if name != "location"}


def run_members() -> Schema:
    return {name: schema for name, schema in JOURNAL_FORMS.members(RunRecord).items() if name != "location"}


def listed_document(run: RunRecord) -> JsonObject:
    """The run as a list of runs has it, without all that it asked: with its wait, and whether it was done in part."""
    return {**run_document(run), "waits_until": _WAIT.write(run.waits_until), "partial": run.is_partial}


def listed_members() -> Schema:
    about = "When the additions may go that it left to wait for a pace or a window; null: it left none."
    partial = "Whether something was rejected, held, in doubt, not sent, or needed and not approved."
    flag: Schema = {"type": "boolean"}
    return {**run_members(), "waits_until": described(_WAIT.schema, about), "partial": described(flag, partial)}


def log_document(log: RunLog) -> JsonObject:
    """The run with all that it asked and was answered; one without an ending tells its manifests itself."""
    digest = log.record.header.manifests_digest if log.ending is None else ""
    return {
        **run_document(log.record),
        **({"manifests_digest": digest} if digest else {}),
        "adopted": adopted_document(log.adopted),
        "ending": None if log.ending is None else JOURNAL_FORMS.write(log.ending),
        "batches": [JOURNAL_FORMS.write(batch) for batch in log.batches],
    }


def read_log(location: LocationId, item: Mapping[str, Json]) -> RunLog:
    """The inverse of `log_document`; raises as a reader of a form does."""
    batches = tuple(JOURNAL_FORMS.form(BatchRecord).read(batch) for batch in read_list(item["batches"]))
    # the document's own counts are not believed: its batches are there to be counted
    counts = {"requests": len(batches), "kept_rows": sum(len(batch.answers) for batch in batches)}
    # before version 1.3 nobody wrote down what a run put under management
    told = {"traced": False, **item, "location": location, **counts}
    # before version 1.4 nobody wrote down what the report told
    ending = None if item.get("ending") is None else JOURNAL_FORMS.form(RunEnding).read(item["ending"])
    record = JOURNAL_FORMS.form(RunRecord).read(told)
    digest = _TEXT.read(item.get("manifests_digest", "")) if ending is None else ending.manifests_digest
    record = replace(record, header=replace(record.header, manifests_digest=digest))
    return RunLog(record, batches, _read_adopted(item.get("adopted", [])), ending)


def adopted_document(adopted: Mapping[ContactId, TagSet]) -> list[JsonObject]:
    return [{"tags": sorted(tags), "contacts": contacts} for tags, contacts in group_contacts(adopted.items())]


def _read_adopted(groups: object) -> dict[ContactId, TagSet]:
    adopted: dict[ContactId, TagSet] = {}
    for group in read_list(groups):
        adopted.update(
            dict.fromkeys(read_contact_ids(group["contacts"]), JOURNAL_FORMS.form(frozenset[Tag]).read(group["tags"]))
        )
    return adopted


def answers_document(answers: Mapping[ContactId, Answer]) -> list[JsonObject]:
    return [_write_answer(answer) | {"contacts": contacts} for answer, contacts in group_contacts(answers.items())]


def _write_answer(answer: Answer) -> JsonObject:
    # an open batch has no outcome to spell, only its intent
    return (
        {"outcome": None, "entered": sorted(answer.entered)} if answer.verdict is None else JOURNAL_FORMS.write(answer)
    )


def read_answers(rows: object) -> dict[ContactId, Answer]:
    """The inverse of `answers_document`."""
    answers: dict[ContactId, Answer] = {}
    for row in read_list(rows):
        answers.update(dict.fromkeys(read_contact_ids(row["contacts"]), _read_answer(row)))
    return answers


def _read_answer(row: Mapping[str, Json]) -> Answer:
    if row["outcome"] is None:
        return Answer(None, entered=JOURNAL_FORMS.form(frozenset[Tag]).read(row.get("entered", [])))
    return JOURNAL_FORMS.form(Answer).read(row)


def read_contact_ids(items: object) -> tuple[ContactId, ...]:
    return JOURNAL_FORMS.form(tuple[ContactId, ...]).read(items)


def group_contacts(items: Iterable[tuple[ContactId, T]]) -> list[tuple[T, list[ContactId]]]:
    """The contacts of each value, in the order of the first contact."""
    contacts: defaultdict[T, list[ContactId]] = defaultdict(list)
    # the order of contacts makes the groups' order: same state, same bytes
    for contact, value in sorted(items, key=lambda item: item[0]):
        contacts[value].append(contact)
    return list(contacts.items())


def _sorted_form(form: Form[Any]) -> Form[Any]:
    return replace(form, read=lambda items: tuple(sorted(set(form.read(items)))))


def _rows_schema() -> Schema:
    contacts: Schema = {"contacts": TEXTS}
    unanswered: Schema = {"outcome": {"type": "null"}, "entered": TEXTS}
    return {
        "description": "The contacts that were answered alike.",
        "anyOf": [
            object_schema("No answer so far.", unanswered | contacts),
            object_schema("", _ANSWERS.members(Answer) | contacts),
        ],
    }


_ANSWERS = Forms(SPELLINGS)
_ADOPTED = object_schema("What it put under management without a request.", {"tags": TEXTS, "contacts": TEXTS})
JOURNAL_FORMS = Forms(
    SPELLINGS,
    {
        Adopted: Form(adopted_document, _read_adopted, {"type": "array", "items": _ADOPTED}),
        _Rows: Form(answers_document, read_answers, {"type": "array", "items": _rows_schema()}),
        _SortedTags: _sorted_form(_ANSWERS.form(tuple[Tag, ...])),
        _SortedContacts: _sorted_form(_ANSWERS.form(tuple[ContactId, ...])),
    },
)
_WAIT = JOURNAL_FORMS.form_of(Instant | None)
_TEXT = JOURNAL_FORMS.form(str)
