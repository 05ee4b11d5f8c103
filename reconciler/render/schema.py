"""JSON Schema (2020-12) of the documents that `--format json` prints, and of the plan file.

Rules
1. Every field that is printed is in the schema and always there; where there is nothing to say it is null or empty.
2. `format_version` is "MAJOR.MINOR". A later minor version may have more fields, so unknown ones are allowed; whatever
   else changes is a new major version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from reconciler.core.batching import Proof
from reconciler.core.compare import Comparison, SettingMove
from reconciler.core.desired import Reason
from reconciler.core.diff import Postponed
from reconciler.core.document import FORMAT_VERSION
from reconciler.core.drift import DriftReport
from reconciler.core.errors import Severity
from reconciler.core.guard import Guard
from reconciler.core.journal import BatchStatus, RunStatus
from reconciler.core.observed import Origin
from reconciler.core.outcome import Action, Outcome, Rejection
from reconciler.core.plan import Summary
from reconciler.core.report import LocationReport
from reconciler.render.shapes import (
    COUNT,
    FLAG,
    MOMENT,
    NUMBER,
    TEXT,
    TEXTS,
    Schema,
    list_of,
    maybe,
    object_of,
    one_of,
    shape_of,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VERSION: Schema = {"type": "string", "pattern": rf"^{FORMAT_VERSION.partition('.')[0]}\.[0-9]+$"}

_WHERE = {"location": TEXT}

_KNOWN = {
    "observed": {**maybe(TEXTS), "description": "The tags when the API last told; null: it never did."},
    "observed_at": maybe(MOMENT),
    "origin": one_of(Origin),
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
}

_ROWS: Schema = {
    "description": "The contacts that were answered alike.",
    "anyOf": [
        object_of("No answer so far.", outcome={"type": "null"}, contacts=TEXTS),
        object_of(
            "",
            outcome=one_of(Outcome),
            old=maybe(TEXTS),
            added=TEXTS,
            removed=TEXTS,
            released=TEXTS,
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


def _run() -> dict[str, Schema]:
    location = shape_of(LocationReport)
    pairs = {"type": "object", "propertyNames": one_of(Outcome), "additionalProperties": COUNT}
    location["properties"] |= {"pairs": pairs, "exit_code": {"type": "integer"}}
    location["required"].append("exit_code")
    return {"locations": list_of(location)}


def _drift() -> dict[str, Schema]:
    return {"locations": list_of(shape_of(DriftReport))}


def _history() -> dict[str, Schema]:
    return {"locations": list_of(object_of("", **_WHERE, runs=list_of(object_of("", **_RUN))))}


def _log() -> dict[str, Schema]:
    return {**_WHERE, **_RUN, "batches": list_of(object_of("One request.", **_BATCH))}


def _state() -> dict[str, Schema]:
    contact = object_of("", contact=TEXT, **_KNOWN, **_QUARANTINE)
    return {"locations": list_of(object_of("", **_WHERE, lineage=maybe(TEXT), serial=COUNT, contacts=list_of(contact)))}


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
        observed_by={**maybe(TEXT), "description": "The run that the observation is from."},
        declared=maybe(declared),
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


_REPORTS: Mapping[str, tuple[str, Callable[[], dict[str, Schema]]]] = {
    "run": ("What `apply` and `revert` did.", _run),
    "drift": ("What `drift` found.", _drift),
    "history": ("The runs, the oldest first.", _history),
    "log": ("One run with everything it asked and was answered, of `show RUN`.", _log),
    "diff": ("What a change to manifests means.", _diff),
    "state": ("Contacts as the state knows them, of `state list`.", _state),
    "contact": ("All that is known of a contact, of `state show`.", _contact),
    "problems": ("What `validate` found.", _problems),
}


def report_schema() -> Schema:
    """Of every document but the plan; `report` tells which it is."""
    kinds = {
        name: object_of(told, format_version=_VERSION, report={"const": name}, **made())
        for name, (told, made) in _REPORTS.items()
    }
    return {
        "$schema": DIALECT,
        "title": "reconciler report",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds],
        "$defs": kinds,
    }


def plan_schema() -> Schema:
    """Of `plan --format json`, `show PLAN --format json` and the plan file."""
    whole = object_of(
        "What a run would do. `digest` is over everything else in it; `change_digest` is what a reviewer approves.",
        format_version=_VERSION,
        digest=TEXT,
        change_digest=TEXT,
        as_of=MOMENT,
        valid_until=maybe(MOMENT),
        manifests=TEXT,
        selection=object_of("", sets=TEXTS, tags=TEXTS, retry_held=FLAG, retry_rejected=FLAG),
        locations=list_of(object_of("", **_plan_location())),
    )
    return {"$schema": DIALECT, "title": "reconciler plan", **whole}


def _plan_location() -> dict[str, Schema]:
    change = object_of("", action=one_of(Action), tag=TEXT, reason=one_of(Reason), sources=TEXTS)
    listed = list_of(object_of("", why=TEXT, tags=TEXTS, contacts=TEXTS))
    proof = shape_of(Proof)
    proof["properties"]["certificate"] = list_of({"type": "array", "prefixItems": [TEXT, TEXT], "items": False})
    return {
        **_WHERE,
        "lineage": maybe(TEXT),
        "serial": COUNT,
        "manifests_digest": TEXT,
        "valid_until": maybe(MOMENT),
        "summary": shape_of(Summary),
        "deltas": list_of(object_of("Changes that contacts share.", changes=list_of(change), contacts=TEXTS)),
        "batches": list_of(
            object_of(
                "One request; `after`: the batches, by index, that must have ended before.",
                action=one_of(Action),
                contacts=TEXTS,
                tags=TEXTS,
                after=list_of(COUNT),
            )
        ),
        "deferrals": list_of(
            object_of(
                "Removals that need an observation first; contacts times tags is what they may at most become.",
                contacts=TEXTS,
                tags=TEXTS,
                reason={"enum": [each.name.lower() for each in Postponed]},
            )
        ),
        "ledger": list_of(object_of("", adopted=TEXTS, released=TEXTS, kept=TEXTS, contacts=TEXTS)),
        "held": listed,
        "quarantined": listed,
        "spared": listed,
        "guards": list_of(
            object_of(
                "",
                guard=one_of(Guard),
                tag={**TEXT, "description": "A tag, a set's name, or empty for the location as a whole."},
                limit=NUMBER,
                measure=NUMBER,
                refused=FLAG,
                numerator={"type": "integer"},
                denominator={"type": "integer"},
                allowed=TEXT,
            )
        ),
        "observations": list_of(object_of("", tags=TEXTS, at=MOMENT, origin=one_of(Origin), contacts=TEXTS)),
        "triggers": TEXTS,
        "reasserted": list_of(object_of("", action=one_of(Action), tags=TEXTS, contacts=TEXTS)),
        "proofs": list_of(proof),
    }


SCHEMAS: Mapping[str, Callable[[], Schema]] = {"report": report_schema, "plan": plan_schema}


def published(kind: str) -> str:
    """The schema as a file."""
    return json.dumps(SCHEMAS[kind](), indent=2) + "\n"
