"""JSON Schema (2020-12) of the documents that `--format json` prints, and of the plan file.

Rules
1. Every field that is printed is in the schema and always there; where there is nothing to say it is null or empty.
2. `format_version` is "MAJOR.MINOR". A later minor version may have more fields, so unknown ones are allowed; whatever
   else changes is a new major version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from reconciler.core.formats.plan_json import VERSION
from reconciler.core.formats.plan_json import plan_schema as plan_shape
from reconciler.core.manifests.compare_revisions import Comparison, SettingMove
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import Severity
from reconciler.core.model.journal import BatchStatus, LocationReport, RunStatus, Shortfall
from reconciler.core.model.outcome import Action, Outcome, Reason, Rejection
from reconciler.core.model.safe_text import Provenance
from reconciler.core.observing.diagnosis import CheckStatus
from reconciler.core.observing.drift_report import DriftReport
from reconciler.core.observing.refresh_rules import Refreshed
from reconciler.output.shapes import (
    COUNT,
    DIALECT,
    FLAG,
    MOMENT,
    REMEDIES,
    TEXT,
    TEXTS,
    Schema,
    list_of,
    maybe,
    object_of,
    one_of,
    shape_of,
)

_WHERE = {"location": TEXT}

_KNOWN = {
    "observed": {**maybe(TEXTS), "description": "The tags when the API last told; null: it never did."},
    "observed_at": maybe(MOMENT),
    "origin": one_of(ObservationOrigin),
    "ledger": {**TEXTS, "description": "The tags under management."},
    "kept": {**TEXTS, "description": "Of the ledger, what stays when nobody declares it any more."},
    "doubt": {**TEXTS, "description": "Tags for which the effect of a request is unknown."},
}
_QUARANTINE = {"quarantine": maybe(one_of(Rejection))}

_RUN = {
    "id": TEXT,
    "operation": TEXT,
    "who": TEXT,
    "started": MOMENT,
    "ended": maybe(MOMENT),
    "status": one_of(RunStatus),
    "change_digest": TEXT,
    "commit": TEXT,
    "allowed": {**TEXTS, "description": "Guards that were lifted, each with its reason."},
    "requests": COUNT,
    "kept_rows": COUNT,
    "traced": {**FLAG, "description": "Whether the journal tells what the run put under management."},
}

_ROWS: Schema = {
    "description": "The contacts that were answered alike.",
    "anyOf": [
        object_of("No answer so far.", outcome={"type": "null"}, entered=TEXTS, contacts=TEXTS),
        object_of(
            "",
            outcome=one_of(Outcome),
            old=maybe(TEXTS),
            added=TEXTS,
            removed=TEXTS,
            released=TEXTS,
            entered={**TEXTS, "description": "What the intent put under management."},
            message=TEXT,
            rejection=maybe(one_of(Rejection)),
            contacts=TEXTS,
        ),
    ],
}

_BATCH = {
    "action": one_of(Action),
    "tags": TEXTS,
    "intended": MOMENT,
    "ended": maybe(MOMENT),
    "status": one_of(BatchStatus),
    "rows": list_of(_ROWS),
}


_PAIRS: Schema = {"type": "object", "propertyNames": one_of(Outcome), "additionalProperties": COUNT}


def _ending() -> Schema:
    return object_of(
        "What the report of the run told at its end; null: it had none, or nobody wrote it down.",
        pairs=_PAIRS,
        rounds=COUNT,
        reads=COUNT,
        adopted=COUNT,
        released=COUNT,
        outside=COUNT,
        error=TEXT,
        shortfalls=list_of(shape_of(Shortfall)),
    )


def _run() -> dict[str, Schema]:
    location = shape_of(LocationReport)
    location["properties"] |= {"pairs": _PAIRS, "exit_code": {"type": "integer"}, **REMEDIES}
    location["required"] += ["exit_code", *REMEDIES]
    return {"locations": list_of(location)}


def _drift() -> dict[str, Schema]:
    location = shape_of(DriftReport)
    location["properties"] |= REMEDIES
    location["required"] += REMEDIES
    return {"locations": list_of(location)}


def _learnt() -> Schema:
    return object_of(
        "What the location's API taught us; null: not known so far.",
        moves_updated=maybe(FLAG),
        max_contacts=maybe(COUNT),
        max_tags=maybe(COUNT),
        aliases={"type": "object", "additionalProperties": TEXT},
        limits_at={**maybe(MOMENT), "description": "When a refusal last told how much a request may hold."},
    )


def _refresh() -> dict[str, Schema]:
    return {"locations": list_of(shape_of(Refreshed))}


def _facts() -> dict[str, Schema]:
    place = object_of("", **_WHERE, lineage=maybe(TEXT), serial=COUNT, contacts=COUNT, facts=_learnt())
    return {"locations": list_of(place)}


def _doctor() -> dict[str, Schema]:
    remark = object_of("", subject=TEXT, verdict=one_of(CheckStatus), found=TEXT, remedy=TEXT)
    return {"examined": list_of(object_of("", title=TEXT, remarks=list_of(remark)))}


def _error() -> dict[str, Schema]:
    return {"error": TEXT, "hint": TEXT, "exit_code": COUNT}


def _history() -> dict[str, Schema]:
    return {"locations": list_of(object_of("", **_WHERE, runs=list_of(object_of("", **_RUN))))}


def _log() -> dict[str, Schema]:
    adopted = list_of(object_of("What it put under management without a request.", tags=TEXTS, contacts=TEXTS))
    return {
        **_WHERE,
        **_RUN,
        "ending": maybe(_ending()),
        "adopted": adopted,
        "batches": list_of(object_of("One request.", **_BATCH)),
        **REMEDIES,
    }


def _state() -> dict[str, Schema]:
    contact = object_of("", contact=TEXT, **_KNOWN, **_QUARANTINE)
    return {
        "locations": list_of(
            object_of(
                "", **_WHERE, lineage=maybe(TEXT), serial=COUNT, facts=_learnt(), contacts=list_of(contact), **REMEDIES
            )
        )
    }


def _contact() -> dict[str, Schema]:
    absent = object_of("", reason=one_of(Reason), sources=TEXTS)
    declared = object_of(
        "What the manifests declare, tag by tag, with the places that do.",
        present={"type": "object", "additionalProperties": TEXTS},
        absent={"type": "object", "additionalProperties": absent},
    )
    story = object_of(
        "",
        **_WHERE,
        contact=TEXT,
        **_KNOWN,
        doubt_at=maybe(MOMENT),
        **_QUARANTINE,
        quarantined_at=maybe(MOMENT),
        quarantined_since=maybe(MOMENT),
        membership={**maybe(TEXTS), "description": "The sets it belonged to when it was quarantined; null: not known."},
        restored={
            "type": "object",
            "additionalProperties": MOMENT,
            "description": "Tags that we put back after others had removed them, and when we last did.",
        },
        unconfirmed={**TEXTS, "description": "Tags under management whose adds nobody ever saw there."},
        spent={
            "type": "object",
            "additionalProperties": MOMENT,
            "description": "Tags of the rule `once` that were given, and when; not forgotten with the ledger.",
        },
        reading=maybe(
            object_of(
                "The last reading that could not decide the doubt.",
                asked=MOMENT,
                answered=MOMENT,
                served=maybe(MOMENT),
                updated=maybe(MOMENT),
                tags=TEXTS,
            )
        ),
        attempted_at={**maybe(MOMENT), "description": "When a request last tried pairs in doubt or never seen."},
        observed_by={**maybe(TEXT), "description": "The run that the observation is from."},
        declared=maybe(declared),
        **REMEDIES,
        trail=list_of(object_of("One request that had this contact.", run=TEXT, **_BATCH)),
    )
    return {"locations": list_of(story)}


def _diff() -> dict[str, Schema]:
    return {"locations": list_of(shape_of(Comparison)), "settings": list_of(shape_of(SettingMove))}


def _problems() -> dict[str, Schema]:
    problem = object_of(
        "",
        path=TEXT,
        line=COUNT,
        column=COUNT,
        severity=one_of(Severity),
        check=TEXT,
        message=TEXT,
        hint=TEXT,
    )
    return {"problems": list_of(problem)}


_MADE = maybe(shape_of(Provenance))
_REPORTS: Mapping[str, tuple[str, Callable[[], dict[str, Schema]]]] = {
    "run": ("What `apply` and `revert` did.", _run),
    "drift": ("What `drift` found.", _drift),
    "refresh": ("What `refresh` read.", _refresh),
    "facts": ("Each location as a whole, of `state show` without a contact.", _facts),
    "doctor": ("What `doctor` found.", _doctor),
    "error": ("What ended a command that was refused.", _error),
    "history": ("The runs, the newest first.", _history),
    "log": ("One run with everything it asked and was answered, of `show RUN`.", _log),
    "diff": ("What a change to manifests means.", _diff),
    "state": ("Contacts as the state knows them, of `state list`.", _state),
    "contact": ("All that is known of a contact, of `state show`.", _contact),
    "problems": ("What `validate` found.", _problems),
}


def report_schema() -> Schema:
    """Of every document but the plan; `report` tells which it is."""
    kinds = {
        name: object_of(told, format_version=VERSION, report={"const": name}, **fields(), made=_MADE)
        for name, (told, fields) in _REPORTS.items()
    }
    return {
        "$schema": DIALECT,
        "title": "reconciler report",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds],
        "$defs": kinds,
    }


def plan_schema() -> Schema:
    """Of `plan --format json`, `show PLAN --format json` and the plan file."""
    return {"$schema": DIALECT, "title": "reconciler plan", **plan_shape()}


SCHEMAS: Mapping[str, Callable[[], Schema]] = {"report": report_schema, "plan": plan_schema}


def published(kind: str) -> str:
    """The schema as a file."""
    return json.dumps(SCHEMAS[kind](), indent=2) + "\n"
