"""A plan as the public JSON document; `document_reading` takes it back. Pure; `planfile` reads and writes the bytes.

One format serves `plan --format json`, `show --format json` and the plan file: what a person reviews is what apply
takes. Unknown fields are ignored, an unknown major version is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from reconciler.core.model.names import Instant, iso
from reconciler.core.planning.batches import Proof
from reconciler.core.planning.changes import Change, HeldContacts, Tried
from reconciler.core.planning.guards import Measured
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.core.planning.situation import NOT_SEARCHED, Searched
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
