"""The plan of a public JSON document; raises PlanFileError for anything that is not a whole, untampered plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from reconciler.core.formats import checked
from reconciler.core.formats.plan_json import FORMAT_VERSION, seal
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import PlanFileError
from reconciler.core.model.names import ContactId, LocationId, SetName, Source, Tag
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
