"""State as a portable JSON document, which `state pull` prints and `state push` takes; and answers that it lacks. Pure.

Rules
1. `format_version` is "MAJOR.MINOR": a reader ignores unknown fields and refuses an unknown MAJOR.
2. Contacts that share their whole state stand together, and so do contacts of a batch that were answered alike.
3. `pull` then `push` into an empty state gives the same content, the same runs and the same document.
4. Answers that the state could not take are complete enough to be recorded later as they would have been.
5. Writer, reader and schema of a contact's state derive from its class; `STATE_FORMS` names every exception.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NewType, TypeVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.journal_json import (
    JOURNAL_FORMS,
    answers_document,
    group_contacts,
    log_document,
    read_answers,
    read_contact_ids,
    read_log,
)
from reconciler.core.formats.json_forms import Count, Form, mapping_form, read_list, read_text
from reconciler.core.model import Json, JsonObject
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.contact_state import ContactReading, ContactState, ContactStates, DatedTags
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunLog, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag
from reconciler.core.model.outcome import ContactOutcome, Outcome
from reconciler.core.model.people import IndexStatus, MatchCounts, Snapshot
from reconciler.core.model.state_fields import (
    FIELDS,
    FIRST_VERSION,
    ContradictoryState,
    StateField,
    build_state,
    name_faults,
)
from reconciler.core.planning.plan import LocationState

FORMAT_VERSION = "1.6"
T = TypeVar("T", IndexStatus, MatchCounts)
_SetSizes = NewType("_SetSizes", Mapping[SetName, int])
_Contacts = NewType("_Contacts", ContactStates)
_Aliases = NewType("_Aliases", tuple[tuple[Tag, Tag], ...])
_Secret = NewType("_Secret", bytes)
_Missing = Mapping[ContactId, Instant]
_Outcomes = NewType("_Outcomes", Mapping[ContactId, ContactOutcome])
_States = NewType("_States", Mapping[ContactId, ContactState])
EMERGENCY = "emergency journal"


@dataclass(frozen=True, slots=True)
class Portable:
    """All there is of a location: its content and its journal. Its index of people stays where it was learnt."""

    state: LocationState
    runs: tuple[RunLog, ...]
    snapshots: Mapping[SetName, Snapshot] = field(default_factory=dict)


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


def state_document(locations: Iterable[Portable]) -> JsonObject:
    return {"format_version": FORMAT_VERSION, "locations": [_write_location(portable) for portable in locations]}


def read_state(document: object, *, path: str) -> tuple[Portable, ...]:
    """The locations of a document; raises InvalidInput for anything else. `path` names it in the message."""
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), str):
        raise _refuse(path, "this is no state: `format_version` is missing", "`reconciler state pull` writes one")
    version = document["format_version"]
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        readable = f"this reconciler reads {FORMAT_VERSION}"
        raise _refuse(path, f"state format {version[:20]!r} is not known here; {readable}", "upgrade reconciler")
    try:
        return tuple(map(_read_location, read_list(document["locations"])))
    except ContradictoryState as error:
        raise InvalidInput([Problem(Source(path), fault, "state") for fault in error.faults]) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _refuse(path, f"the state lacks something: {type(error).__name__} {error}", "pull it again") from error


def _refuse(path: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(Source(path), message, "state", hint=hint)])


def _write_location(portable: Portable) -> JsonObject:
    # version 1.5 added them: a state without them keeps its bytes
    snapshots: JsonObject = {"snapshots": snapshots_document(portable.snapshots)} if portable.snapshots else {}
    return STATE_FORMS.write(portable.state) | snapshots | {"runs": [log_document(log) for log in portable.runs]}


def _read_location(item: Any) -> Portable:
    state = STATE_FORMS.form(LocationState).read(item)
    runs = tuple(read_log(state.location, run) for run in read_list(item["runs"]))
    return Portable(state, runs, read_snapshots(item.get("snapshots", {})))


def contacts_document(contacts: Mapping[ContactId, ContactState]) -> list[JsonObject]:
    return [STATE_FORMS.write(state) | {"contacts": ids} for state, ids in group_contacts(contacts.items())]


def read_contacts(groups: object) -> ContactStates:
    """The inverse of `contacts_document`. Raises ContradictoryState with all that contradicts itself."""
    observed, faults = ContactStates(), list[str]()
    for group in read_list(groups):
        contacts = read_contact_ids(group["contacts"])
        try:
            observed.update(dict.fromkeys(contacts, _read_contact(group)))
        except ContradictoryState as error:
            faults += name_faults(contacts, error.faults)
    if faults:
        raise ContradictoryState(tuple(faults))
    return observed


def _read_contact(item: Mapping[str, Json]) -> ContactState:
    if item["quarantine"] is None:
        # a person who mends a state by hand ends a quarantine by its first two members, and may leave the others
        item = {**item, "quarantined_since": None, "membership": None}
    values = {
        field.name: _FIELD_FORMS[field.name].read(item[field.name])
        for field in FIELDS
        if field.name in item or field.stored.place <= FIRST_VERSION
    }
    # before version 1.2 no state had it
    return build_state({"unconfirmed": None} | values)


def _write_outcomes(verdicts: Mapping[ContactId, ContactOutcome]) -> list[JsonObject]:
    return answers_document({contact: Answer(verdict) for contact, verdict in verdicts.items()})


def _read_outcomes(rows: object) -> dict[ContactId, ContactOutcome]:
    answers = read_answers(rows)
    return {contact: answer.verdict for contact, answer in answers.items() if answer.verdict is not None}


def _sorted_table(key: Form[Any], value: Form[Any]) -> Form[Any]:
    """Pairs as an object. They are read sorted, as every state of ours has them: equal states are one object."""
    table = mapping_form(key, value)
    return replace(
        table, write=lambda pairs: table.write(dict(pairs)), read=lambda item: tuple(sorted(table.read(item).items()))
    )


def _type_of(field: StateField) -> object:
    """The type of a field of a contact's state, as the schema describes it."""
    kind: Any = field.kind
    kind = kind | None if field.empty is None else kind
    return Annotated[kind, field.stored.about] if field.stored.about else kind


_PLAIN = Forms({})
_SIZES = _PLAIN.form_of(Mapping[SetName, Count])
STATE_FORMS = JOURNAL_FORMS.extended(
    {
        LocationState: JsonSpelling(
            members="location lineage serial set_sizes facts known=observed",
            # a state that has content has a lineage
            types={"lineage": str, "serial": Count, "set_sizes": _SetSizes, "known": _Contacts},
            # version 1.0 did not have them
            later="facts",
        ),
        LocationFacts: JsonSpelling(
            about="What the location's API taught us; null: not known so far.",
            types={
                "max_contacts": Count | None,
                "max_tags": Count | None,
                "aliases": _Aliases,
                "limits_at": Annotated[Instant | None, "When a refusal last told how much a request may hold."],
            },
            later="limits_at tried",
        ),
        # read by `build_state`, which says of fields that contradict one another why they do
        ContactState: JsonSpelling(
            members="", derived={field.name: (_type_of(field), field.value_in) for field in FIELDS}
        ),
        UnrecordedAnswers: JsonSpelling(
            members="location lineage run batch=number answered rows=verdicts known=learnt",
            types={"batch": Count, "rows": _Outcomes, "known": _States},
        ),
        ContactReading: JsonSpelling(about="The last reading that could not decide the doubt."),
        Snapshot: JsonSpelling(
            about="The contacts of a matched set as they were pulled.",
            types={
                "as_of": Annotated[Instant, "When the set was pulled."],
                "missing": Annotated[_Missing, "Contacts of a set by filter that are not shown, and since when."],
            },
            later="missing",
            sparse="missing",
        ),
        MatchCounts: JsonSpelling(
            about="Rows of the file by the class that they ended in.",
            types=dict.fromkeys(["rows", "matched", "not_found", "ambiguous", "duplicate", "malformed", "kept"], Count),
        ),
        # stored, and in no document that is shown: it holds the key where the environment has none
        IndexStatus: JsonSpelling(
            types={"secret": _Secret},
            later="key_check secret covers scanned_at read_until look_ups begun_at",
            sparse="begun_at",
        ),
    },
    {
        _Outcomes: Form(_write_outcomes, _read_outcomes, {}),
        _States: Form(contacts_document, lambda groups: dict(read_contacts(groups).items()), {}),
        _Secret: Form(bytes.hex, lambda text: bytes.fromhex(read_text(text)), {"type": "string"}),
        _SetSizes: replace(_SIZES, write=lambda sizes: _SIZES.write(dict(sorted(sizes.items())))),
        _Contacts: Form(lambda states: contacts_document(dict(states.items())), read_contacts, {"type": "array"}),
        _Aliases: _sorted_table(_PLAIN.form_of(Tag), _PLAIN.form_of(Tag)),
        DatedTags: _sorted_table(_PLAIN.form_of(Tag), _PLAIN.form_of(Instant)),
    },
)


_FIELD_FORMS: Mapping[str, Form[Any]] = {field.name: STATE_FORMS.form_of(_type_of(field)) for field in FIELDS}


def missing_document(missing: Mapping[ContactId, Instant]) -> object:
    """The contacts that a search does not show, and since when, as a column or a file has them."""
    return STATE_FORMS.form_of(_Missing).write(missing)


def read_missing(item: object) -> Mapping[ContactId, Instant]:
    """The inverse of `missing_document`; raises TypeError or ValueError for anything else."""
    missing: Mapping[ContactId, Instant] = STATE_FORMS.form_of(_Missing).read(item)
    return missing


def snapshots_document(snapshots: Mapping[SetName, Snapshot]) -> JsonObject:
    return {name: STATE_FORMS.write(snapshots[name]) for name in sorted(snapshots)}


def read_snapshots(item: object) -> Mapping[SetName, Snapshot]:
    """The inverse; raises KeyError, TypeError, ValueError or OverflowError for anything else."""
    snapshots: Mapping[SetName, Snapshot] = STATE_FORMS.form_of(Mapping[SetName, Snapshot]).read(item)
    return snapshots


def facts_text(facts: IndexStatus | MatchCounts) -> str:
    """What is known of an index, or of a match, as a column has it."""
    return json.dumps(STATE_FORMS.write(facts))


def read_facts(kind: type[T], text: str) -> T:
    """The inverse of `facts_text`."""
    return STATE_FORMS.form(kind).read(json.loads(text))


def unrecorded_document(lost: UnrecordedAnswers) -> JsonObject:
    return {"format_version": FORMAT_VERSION, "kind": EMERGENCY, **STATE_FORMS.write(lost)}


def read_unrecorded(document: object, *, path: str) -> UnrecordedAnswers:
    """The inverse of `unrecorded_document`; raises InvalidInput."""
    if not isinstance(document, dict) or document.get("kind") != EMERGENCY:
        raise InvalidInput([Problem(Source(path), "this is no emergency journal", "emergency")])
    try:
        return STATE_FORMS.form(UnrecordedAnswers).read(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput([Problem(Source(path), f"it lacks something: {error}", "emergency")]) from error


def is_unrecorded(lost: UnrecordedAnswers, last: RunRecord | None, batches: tuple[BatchRecord, ...]) -> bool:
    """Whether the state still waits for this answer: its run is the last one, and the batch is not settled."""
    if last is None or last.id != lost.run or last.status is not RunStatus.RUNNING:
        return False
    # the batch may have been settled meanwhile, by another recovery or by a reading
    waiting = [batch for batch in batches if batch.status is BatchStatus.INTENDED]
    return any(batch.answers.keys() == lost.verdicts.keys() for batch in waiting)
