"""JSON Schema in small pieces, and that of our own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from reconciler.core.formats.plan_json import FORMAT_VERSION
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Action, Reason
from reconciler.core.model.settings import Guard
from reconciler.core.planning.batches import Proof, Summary
from reconciler.core.planning.changes import DeferralReason
from reconciler.core.planning.situation import OlderRows

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
VERSION: Schema = {"type": "string", "pattern": rf"^{FORMAT_VERSION.partition('.')[0]}\.[0-9]+$"}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(kind: type[Enum]) -> Schema:
    return {"enum": [each.value for each in kind]}


def object_of(description: str, /, **properties: Schema) -> Schema:
    told = {"description": description} if description else {}
    return {"type": "object", **told, "properties": properties, "required": list(properties)}


def shape_of(hint: Any) -> Schema:
    """The schema of a type of ours, as `dataclasses.asdict` and `json` spell its values."""
    if hint is Instant:
        return MOMENT
    if isinstance(hint, NewType):
        return shape_of(hint.__supertype__)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return one_of(hint)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        told = (hint.__doc__ or "").strip().partition("\n")[0]
        return object_of(told, **{each.name: shape_of(hints[each.name]) for each in fields(hint)})
    return _compound(get_origin(hint), get_args(hint))


_PLAIN: Mapping[Any, Schema] = {
    str: TEXT,
    bool: FLAG,
    int: {"type": "integer"},
    float: NUMBER,
    NoneType: {"type": "null"},
}


def _compound(origin: Any, arguments: tuple[Any, ...]) -> Schema:
    if origin in (Union, UnionType):
        return {"anyOf": [shape_of(each) for each in arguments]}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": shape_of(arguments[1])}
    return list_of(shape_of(arguments[0]))


TEXTS = list_of(TEXT)
REMEDIES: dict[str, Schema] = {
    "remedies": {**TEXTS, "description": "What settles the pairs and contacts that are left aside: commands, in words."}
}


_WHERE = {"location": TEXT}


def plan_schema() -> Schema:
    """Of `plan --format json`, `show PLAN --format json` and the plan file."""
    location = object_of("", **_plan_location())
    location["properties"] |= _only_where_there_are_any()
    whole = object_of(
        "What a run would do. `digest` is over everything else in it; `change_digest` is what a reviewer approves.",
        format_version=VERSION,
        digest=TEXT,
        change_digest=TEXT,
        as_of=MOMENT,
        valid_until=maybe(MOMENT),
        manifests=TEXT,
        selection=object_of(
            "", sets=TEXTS, tags=TEXTS, retry_held=FLAG, retry_rejected=FLAG, apply_deferrals=FLAG, again=TEXTS
        ),
        locations=list_of(location),
    )
    return {"$schema": DIALECT, "title": "reconciler plan", **whole}


def _only_where_there_are_any() -> dict[str, Schema]:
    gone = "Contacts that are not there, as was read for this plan, and why; nothing is sent to them."
    tried = "Pairs that an earlier request tried too, and when last: an approval covers one attempt."
    return {
        "searched": object_of(
            "Exclusive tags that were looked for, and what a search told that was set aside.",
            tags=TEXTS,
            complete=TEXTS,
            since=maybe(MOMENT),
            older_rows=maybe(shape_of(OlderRows)),
        ),
        "gone": list_of(object_of(gone, why=TEXT, tags=TEXTS, contacts=TEXTS)),
        "tried": list_of(object_of(tried, action=one_of(Action), tags=TEXTS, at=MOMENT, contacts=TEXTS)),
        **REMEDIES,
    }


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
                reason={"enum": [each.name.lower() for each in DeferralReason]},
            )
        ),
        "ledger": list_of(object_of("", adopted=TEXTS, released=TEXTS, kept=TEXTS, contacts=TEXTS)),
        "held": listed,
        "quarantined": listed,
        "spared": listed,
        "given": listed,
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
                warned={**FLAG, "description": "What it is about was asked for by name: it does not refuse."},
            )
        ),
        "observations": list_of(object_of("", tags=TEXTS, at=MOMENT, origin=one_of(ObservationOrigin), contacts=TEXTS)),
        "triggers": TEXTS,
        "reasserted": list_of(object_of("", action=one_of(Action), tags=TEXTS, contacts=TEXTS)),
        "proofs": list_of(proof),
    }
