"""A plan as the public JSON document, and back. Pure; `planfile` reads and writes the bytes.

One format serves `plan --format json`, `show --format json` and the plan file: what a person reviews is what apply
takes. Unknown fields are ignored, an unknown major version is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from math import isfinite
from typing import Any, TypeVar

from reconciler.core.batching import Batch, Proof, Reasserted
from reconciler.core.ceiling import sends_what_it_says
from reconciler.core.change import Change, Deferral, Delta, LedgerChange, Listed, Postponed, Selection
from reconciler.core.desired import Reason
from reconciler.core.errors import PlanFileError
from reconciler.core.exclusive import NOT_SEARCHED, Searched
from reconciler.core.guard import Guard, Measured
from reconciler.core.names import ContactId, Instant, LocationId, SetName, Tag, instant, iso
from reconciler.core.observed import Origin, Seen
from reconciler.core.outcome import Action
from reconciler.core.plan import LocationPlan, Plan, change_digest
from reconciler.core.source import Source
from reconciler.core.summary import Summary

FORMAT_VERSION = "1.0"
T = TypeVar("T")


def plan_document(plan: Plan) -> dict[str, Any]:
    """The document, sealed: `digest` is over everything else in it."""
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "digest": "",
        "change_digest": plan.change_digest,
        "as_of": iso(plan.as_of),
        "valid_until": _iso(plan.valid_until),
        "manifests": plan.manifests,
        "selection": {
            "sets": sorted(plan.selection.sets),
            "tags": sorted(plan.selection.tags),
            "retry_held": plan.selection.retry_held,
            "retry_rejected": plan.selection.retry_rejected,
            "apply_deferrals": plan.selection.apply_deferrals,
        },
        "locations": [_location_document(location) for location in plan.locations],
    }
    return document | {"digest": seal(document)}


def seal(document: Mapping[str, Any]) -> str:
    """SHA-256 over the document without its `digest`, in the one canonical spelling."""
    unsealed = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(unsealed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _iso(moment: Instant | None) -> str | None:
    return None if moment is None else iso(moment)


def _location_document(plan: LocationPlan) -> dict[str, Any]:
    return {
        "location": plan.location,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "manifests_digest": plan.manifests_digest,
        "valid_until": _iso(plan.valid_until),
        "summary": asdict(plan.summary),
        "deltas": [
            {"changes": [_change_document(change) for change in delta.changes], "contacts": list(delta.contacts)}
            for delta in plan.deltas
        ],
        "batches": [
            {"action": each.action, "contacts": list(each.contacts), "tags": list(each.tags), "after": list(each.after)}
            for each in plan.batches
        ],
        "deferrals": [
            {"contacts": list(each.contacts), "tags": list(each.tags), "reason": each.reason.name.lower()}
            for each in plan.deferrals
        ],
        "ledger": [
            {
                "adopted": list(each.adopted),
                "released": list(each.released),
                "kept": list(each.kept),
                "contacts": list(each.contacts),
            }
            for each in plan.ledger
        ],
        "held": [_listed_document(each) for each in plan.held],
        "quarantined": [_listed_document(each) for each in plan.quarantined],
        "spared": [_listed_document(each) for each in plan.spared],
        "guards": [_guard_document(each) for each in plan.guards],
        "observations": [
            {"tags": sorted(each.tags), "at": iso(each.at), "origin": each.origin, "contacts": list(each.contacts)}
            for each in plan.observations
        ],
        "triggers": list(plan.triggers),
        "reasserted": [
            {"action": each.action, "tags": list(each.tags), "contacts": list(each.contacts)}
            for each in plan.reasserted
        ],
        "proofs": [_proof_document(each) for each in plan.proofs],
        **_searched_document(plan.searched),
    }


def _change_document(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "tag": change.tag,
        "reason": change.reason,
        "sources": [str(source) for source in change.sources],
    }


def _listed_document(each: Listed) -> dict[str, Any]:
    return {"why": each.why, "tags": list(each.tags), "contacts": list(each.contacts)}


def _searched_document(searched: Searched) -> dict[str, Any]:
    """Only of a plan for which holders of exclusive tags were looked for."""
    if searched == NOT_SEARCHED:
        return {}
    tags, complete = sorted(searched.tags), sorted(searched.complete)
    return {"searched": {"tags": tags, "complete": complete, "since": _iso(searched.since)}}


def _proof_document(each: Proof) -> dict[str, Any]:
    return {
        "action": each.action,
        "requests": each.requests,
        "lower_bound": each.lower_bound,
        "stage": each.stage,
        "proven": each.proven,
        "certificate": [list(pair) for pair in each.certificate],
    }


def _guard_document(each: Measured) -> dict[str, Any]:
    return {
        "guard": each.guard,
        "tag": each.scope,
        "limit": each.limit,
        "measure": each.measure,
        "refused": each.refused,
        "numerator": each.numerator,
        "denominator": each.denominator,
        "allowed": each.allowed,
    }


def read_plan(document: object) -> Plan:
    """The plan of a document; raises PlanFileError for anything that is not a whole, untampered plan."""
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), str):
        raise PlanFileError("this is no plan: `format_version` is missing", hint="write one with `plan --out FILE`")
    version = document["format_version"]
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise PlanFileError(
            f"plan format {version[:20]!r} is not known here; this reconciler reads {FORMAT_VERSION}",
            hint="use the version of reconciler that wrote it, or plan again",
        )
    if document.get("digest") != seal(document):
        raise PlanFileError("the plan was changed after it was written: its digest does not fit", hint="plan again")
    try:
        plan = _plan(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PlanFileError(f"the plan lacks something: {type(error).__name__} {error}", hint="plan again") from error
    if plan.change_digest != change_digest(plan.locations):
        raise PlanFileError("the plan's change_digest does not fit its changes", hint="plan again")
    if not all(map(sends_what_it_says, plan.locations)):
        raise PlanFileError("the plan's batches do not send its changes and nothing else", hint="plan again")
    return plan


def _plan(document: Mapping[str, Any]) -> Plan:
    return Plan(
        as_of=instant(document["as_of"]),
        valid_until=_instant(document["valid_until"]),
        locations=_each(_location, document["locations"]),
        change_digest=_text(document["change_digest"]),
        manifests=_text(document["manifests"]),
        selection=_selection(document["selection"]),
    )


def _selection(item: Mapping[str, Any]) -> Selection:
    return Selection(
        sets=frozenset(SetName(name) for name in _tags(item["sets"])),
        tags=frozenset(_tags(item["tags"])),
        retry_held=_flag(item["retry_held"]),
        retry_rejected=_flag(item["retry_rejected"]),
        apply_deferrals=_flag(item.get("apply_deferrals", False)),
    )


def _each(read: Callable[[Any], T], items: object) -> tuple[T, ...]:
    if not isinstance(items, list):
        raise TypeError("a list is of another type")
    return tuple(read(item) for item in items)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is of another type")
    return value


def _number(value: object) -> Any:
    """A finite number; an integer stays one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TypeError("a number is of another type")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("an integer is of another type")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a flag is of another type")
    return value


def _instant(text: str | None) -> Instant | None:
    return None if text is None else instant(text)


def _location(item: Mapping[str, Any]) -> LocationPlan:
    return LocationPlan(
        location=LocationId(_text(item["location"])),
        lineage=None if item["lineage"] is None else _text(item["lineage"]),
        serial=_integer(item["serial"]),
        manifests_digest=_text(item["manifests_digest"]),
        valid_until=_instant(item["valid_until"]),
        summary=Summary(**{each.name: _number(item["summary"][each.name]) for each in fields(Summary)}),
        deltas=_each(_delta, item["deltas"]),
        batches=_each(_batch, item["batches"]),
        deferrals=_each(_deferral, item["deferrals"]),
        ledger=_each(_ledger, item["ledger"]),
        held=_each(_listed, item["held"]),
        quarantined=_each(_listed, item["quarantined"]),
        spared=_each(_listed, item["spared"]),
        guards=_each(_guard, item["guards"]),
        observations=_each(_seen, item["observations"]),
        triggers=_tags(item["triggers"]),
        reasserted=_each(_reasserted, item["reasserted"]),
        proofs=_each(_proof, item["proofs"]),
        searched=_searched(item["searched"]) if "searched" in item else NOT_SEARCHED,
    )


def _tags(items: object) -> tuple[Tag, ...]:
    return _each(_tag, items)


def _tag(item: object) -> Tag:
    return Tag(_text(item))


def _contacts(item: Mapping[str, Any]) -> tuple[ContactId, ...]:
    return _each(_contact, item["contacts"])


def _contact(item: object) -> ContactId:
    return ContactId(_text(item))


def _source(item: object) -> Source:
    return Source.parse(_text(item))


def _delta(item: Mapping[str, Any]) -> Delta:
    return Delta(_each(_change, item["changes"]), _contacts(item))


def _change(item: Mapping[str, Any]) -> Change:
    return Change(Action(item["action"]), _tag(item["tag"]), Reason(item["reason"]), _each(_source, item["sources"]))


def _batch(item: Mapping[str, Any]) -> Batch:
    return Batch(Action(item["action"]), _contacts(item), _tags(item["tags"]), _each(_integer, item["after"]))


def _deferral(item: Mapping[str, Any]) -> Deferral:
    return Deferral(Postponed[item["reason"].upper()], _tags(item["tags"]), _contacts(item))


def _ledger(item: Mapping[str, Any]) -> LedgerChange:
    return LedgerChange(_tags(item["adopted"]), _tags(item["released"]), _tags(item["kept"]), _contacts(item))


def _listed(item: Mapping[str, Any]) -> Listed:
    return Listed(_text(item["why"]), _tags(item["tags"]), _contacts(item))


def _guard(item: Mapping[str, Any]) -> Measured:
    return Measured(
        guard=Guard(item["guard"]),
        scope=_text(item["tag"]),
        limit=_number(item["limit"]),
        measure=_number(item["measure"]),
        refused=_flag(item["refused"]),
        numerator=_integer(item["numerator"]),
        denominator=_integer(item["denominator"]),
        allowed=_text(item["allowed"]),
    )


def _seen(item: Mapping[str, Any]) -> Seen:
    return Seen(frozenset(_tags(item["tags"])), instant(item["at"]), Origin(item["origin"]), _contacts(item))


def _searched(item: Mapping[str, Any]) -> Searched:
    tags, complete = frozenset(_tags(item["tags"])), frozenset(_tags(item["complete"]))
    return Searched(tags, complete, _instant(item["since"]))


def _reasserted(item: Mapping[str, Any]) -> Reasserted:
    return Reasserted(Action(item["action"]), _tags(item["tags"]), _contacts(item))


def _proof(item: Mapping[str, Any]) -> Proof:
    return Proof(
        action=Action(item["action"]),
        requests=_integer(item["requests"]),
        lower_bound=_integer(item["lower_bound"]),
        stage=_text(item["stage"]),
        proven=_flag(item["proven"]),
        certificate=_each(_pair, item["certificate"]),
    )


def _pair(item: object) -> tuple[ContactId, Tag]:
    contact, tag = _each(_text, item)
    return ContactId(contact), Tag(tag)
