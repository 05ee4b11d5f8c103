"""A plan as the public JSON document; `document_reading` takes it back. Pure; `planfile` reads and writes the bytes.

One format serves `plan --format json`, `show --format json` and the plan file: what a person reviews is what apply
takes. Unknown fields are ignored, an unknown major version is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from reconciler.core.formats import checked
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import PlanFileError
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, iso
from reconciler.core.model.outcome import Action, Reason
from reconciler.core.model.settings import Guard
from reconciler.core.planning.approved_scope import sends_what_it_says
from reconciler.core.planning.batches import Batch, Proof, Reasserted, Summary
from reconciler.core.planning.changes import (
    Change,
    Deferral,
    DeferralReason,
    Delta,
    HeldContacts,
    LedgerChange,
    Selection,
    Tried,
)
from reconciler.core.planning.guards import Measured
from reconciler.core.planning.plan import LocationPlan, Plan, change_digest
from reconciler.core.planning.situation import NOT_SEARCHED, OlderRows, Searched
from reconciler.core.running.shortfalls import plan_remedies

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
            "again": sorted(plan.selection.again),
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
        "given": [_listed_document(each) for each in plan.given],
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
        **({"gone": [_listed_document(each) for each in plan.gone]} if plan.gone else {}),
        **_tried_document(plan.tried),
        **({"remedies": told} if (told := plan_remedies(plan)) else {}),
    }


def _change_document(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "tag": change.tag,
        "reason": change.reason,
        "sources": [str(source) for source in change.sources],
    }


def _listed_document(each: HeldContacts) -> dict[str, Any]:
    return {"why": each.why, "tags": list(each.tags), "contacts": list(each.contacts)}


def _searched_document(searched: Searched) -> dict[str, Any]:
    """Only of a plan for which holders of exclusive tags were looked for, or rows of a search were set aside."""
    if searched == NOT_SEARCHED:
        return {}
    tags, complete = sorted(searched.tags), sorted(searched.complete)
    older = None if searched.older_rows is None else asdict(searched.older_rows)
    since = _iso(searched.since)
    return {"searched": {"tags": tags, "complete": complete, "since": since, "older_rows": older}}


def _tried_document(tried: tuple[Tried, ...]) -> dict[str, Any]:
    """Only of a plan that has what an earlier request tried."""
    items = [
        {"action": each.action, "tags": list(each.tags), "at": iso(each.at), "contacts": list(each.contacts)}
        for each in tried
    ]
    return {"tried": items} if items else {}


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
        "warned": each.warned,
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
    if not plan.locations:
        raise PlanFileError("the plan has no location", hint="plan again")
    if len({each.location for each in plan.locations}) < len(plan.locations):
        raise PlanFileError("the plan has a location twice", hint="plan again")
    if plan.change_digest != change_digest(plan.locations):
        raise PlanFileError("the plan's change_digest does not fit its changes", hint="plan again")
    if not all(map(sends_what_it_says, plan.locations)):
        raise PlanFileError("the plan's batches do not send its changes and nothing else", hint="plan again")
    return plan


def _plan(document: Mapping[str, Any]) -> Plan:
    return Plan(
        as_of=checked.moment(document["as_of"]),
        valid_until=checked.optional(checked.moment, document["valid_until"]),
        locations=checked.each(_location, document["locations"]),
        change_digest=checked.text(document["change_digest"]),
        manifests=checked.text(document["manifests"]),
        selection=_selection(document["selection"]),
    )


def _selection(item: Mapping[str, Any]) -> Selection:
    return Selection(
        sets=frozenset(SetName(name) for name in checked.tags(item["sets"])),
        tags=frozenset(checked.tags(item["tags"])),
        retry_held=checked.flag(item["retry_held"]),
        retry_rejected=checked.flag(item["retry_rejected"]),
        apply_deferrals=checked.flag(item.get("apply_deferrals", False)),
        again=frozenset(checked.tags(item.get("again", []))),
    )


def _location(item: Mapping[str, Any]) -> LocationPlan:
    return LocationPlan(
        location=LocationId(checked.text(item["location"])),
        lineage=checked.optional(checked.text, item["lineage"]),
        serial=checked.integer(item["serial"]),
        manifests_digest=checked.text(item["manifests_digest"]),
        valid_until=checked.optional(checked.moment, item["valid_until"]),
        summary=Summary(**{each.name: checked.number(item["summary"][each.name]) for each in fields(Summary)}),
        deltas=checked.each(_delta, item["deltas"]),
        batches=checked.each(_batch, item["batches"]),
        deferrals=checked.each(_deferral, item["deferrals"]),
        ledger=checked.each(_ledger, item["ledger"]),
        held=checked.each(_listed, item["held"]),
        quarantined=checked.each(_listed, item["quarantined"]),
        spared=checked.each(_listed, item["spared"]),
        given=checked.each(_listed, item.get("given", [])),
        guards=checked.each(_guard, item["guards"]),
        observations=checked.each(_seen, item["observations"]),
        triggers=checked.tags(item["triggers"]),
        reasserted=checked.each(_reasserted, item["reasserted"]),
        proofs=checked.each(_proof, item["proofs"]),
        searched=_searched(item["searched"]) if "searched" in item else NOT_SEARCHED,
        gone=checked.each(_listed, item.get("gone", [])),
        tried=checked.each(_tried, item.get("tried", [])),
    )


def _contacts(item: Mapping[str, Any]) -> tuple[ContactId, ...]:
    return checked.contacts(item["contacts"])


def _source(item: object) -> Source:
    return Source.parse(checked.text(item))


def _delta(item: Mapping[str, Any]) -> Delta:
    return Delta(checked.each(_change, item["changes"]), _contacts(item))


def _change(item: Mapping[str, Any]) -> Change:
    return Change(
        Action(item["action"]), checked.tag(item["tag"]), Reason(item["reason"]), checked.each(_source, item["sources"])
    )


def _batch(item: Mapping[str, Any]) -> Batch:
    return Batch(
        Action(item["action"]),
        _contacts(item),
        checked.tags(item["tags"]),
        checked.each(checked.integer, item["after"]),
    )


def _deferral(item: Mapping[str, Any]) -> Deferral:
    return Deferral(DeferralReason[item["reason"].upper()], checked.tags(item["tags"]), _contacts(item))


def _ledger(item: Mapping[str, Any]) -> LedgerChange:
    return LedgerChange(
        checked.tags(item["adopted"]), checked.tags(item["released"]), checked.tags(item["kept"]), _contacts(item)
    )


def _listed(item: Mapping[str, Any]) -> HeldContacts:
    return HeldContacts(checked.text(item["why"]), checked.tags(item["tags"]), _contacts(item))


def _guard(item: Mapping[str, Any]) -> Measured:
    return Measured(
        guard=Guard(item["guard"]),
        scope=checked.text(item["tag"]),
        limit=checked.number(item["limit"]),
        measure=checked.number(item["measure"]),
        refused=checked.flag(item["refused"]),
        numerator=checked.integer(item["numerator"]),
        denominator=checked.integer(item["denominator"]),
        allowed=checked.text(item["allowed"]),
        warned=checked.flag(item.get("warned", False)),
    )


def _seen(item: Mapping[str, Any]) -> ObservedContacts:
    return ObservedContacts(
        frozenset(checked.tags(item["tags"])),
        checked.moment(item["at"]),
        ObservationOrigin(item["origin"]),
        _contacts(item),
    )


def _searched(item: Mapping[str, Any]) -> Searched:
    tags, complete = frozenset(checked.tags(item["tags"])), frozenset(checked.tags(item["complete"]))
    older = checked.optional(_older_rows, item.get("older_rows"))
    return Searched(tags, complete, checked.optional(checked.moment, item["since"]), older)


def _older_rows(item: Mapping[str, Any]) -> OlderRows:
    return OlderRows(**{each.name: checked.integer(item[each.name]) for each in fields(OlderRows)})


def _tried(item: Mapping[str, Any]) -> Tried:
    return Tried(Action(item["action"]), checked.tags(item["tags"]), checked.moment(item["at"]), _contacts(item))


def _reasserted(item: Mapping[str, Any]) -> Reasserted:
    return Reasserted(Action(item["action"]), checked.tags(item["tags"]), _contacts(item))


def _proof(item: Mapping[str, Any]) -> Proof:
    return Proof(
        action=Action(item["action"]),
        requests=checked.integer(item["requests"]),
        lower_bound=checked.integer(item["lower_bound"]),
        stage=checked.text(item["stage"]),
        proven=checked.flag(item["proven"]),
        certificate=checked.each(_pair, item["certificate"]),
    )


def _pair(item: object) -> tuple[ContactId, Tag]:
    contact, tag = checked.each(checked.text, item)
    return ContactId(contact), Tag(tag)
