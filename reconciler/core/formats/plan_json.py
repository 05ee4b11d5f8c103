"""A plan as the public JSON document, and back. Pure; `planfile` reads and writes the bytes.

One format serves `plan --format json`, `show --format json` and the plan file: a person reviews the same document that
apply takes. Unknown fields are ignored, an unknown major version is refused.

The document is declared by `Plan` and the classes of its fields; `SPELLINGS` names every exception. The seal and the
checks of one part against another are written by hand: no shape can say them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count, Schema, enum_form, object_schema
from reconciler.core.model import Json, JsonObject
from reconciler.core.model.batch import Batch, Proof
from reconciler.core.model.errors import PlanFileError
from reconciler.core.model.journal import UnknownLocation
from reconciler.core.model.names import Instant
from reconciler.core.model.release_rules import Slice
from reconciler.core.planning.batches import Summary
from reconciler.core.planning.changes import Deferral, DeferralReason, Delta, HeldContacts, Selection, Tried
from reconciler.core.planning.guards import Measured
from reconciler.core.planning.plan import LocationPlan, Plan, change_digests
from reconciler.core.planning.situation import OlderRows, Searched
from reconciler.core.planning.slow_release import TagRelease
from reconciler.core.running.shortfalls import plan_remedies

FORMAT_VERSION = "1.1"
VERSION: Schema = {"type": "string", "pattern": rf"^{FORMAT_VERSION.partition('.')[0]}\.[0-9]+$"}
Remedies = Annotated[tuple[str, ...], "What settles the pairs and contacts that are left aside: commands, in words."]

_OLDEST = "The oldest observation of the contacts that the plan is about."
_GONE = "Contacts that are not there, as was read for this plan, and why; nothing is sent to them."
SPELLINGS: Mapping[type, JsonSpelling] = {
    Plan: JsonSpelling(
        about="What a run would do. `digest` is over everything else in it; "
        "`change_digest` is what a reviewer approves.",
        members="change_digest as_of valid_until manifests selection locations unknown",
        later="unknown",
        sparse="unknown",
    ),
    UnknownLocation: JsonSpelling(
        about="A location of which nothing can be told, and why.", types={"exit_code": Count}
    ),
    Selection: JsonSpelling(later="apply_deferrals again"),
    LocationPlan: JsonSpelling(
        # `leaves_record` and `new_names` stay with the plan that was made: a file is planned anew
        members="location lineage serial manifests_digest valid_until summary deltas batches deferrals ledger held "
        "quarantined spared given guards observations triggers reasserted proofs searched gone tried oldest "
        "change_digest pacing",
        types={
            "serial": Count,
            "gone": tuple[Annotated[HeldContacts, _GONE], ...],
            "oldest": Annotated[Instant | None, _OLDEST],
            "change_digest": Annotated[str, "That of a plan of this location alone, which approves the location."],
        },
        later="given searched gone tried oldest change_digest pacing",
        sparse="searched gone tried oldest change_digest pacing remedies",
        derived={"remedies": (Remedies, plan_remedies)},
    ),
    TagRelease: JsonSpelling(
        about="A tag that is given slowly: additions of the plan, those before it that count still, the first slices, "
        "their number, and when the last one begins (null: too far away to be told).",
        types={"adds": Count, "used": Count, "slices_in_all": Count},
    ),
    Slice: JsonSpelling(about="So many additions may be sent from then on.", types={"adds": Count}),
    Summary: JsonSpelling(
        about="adds, removes, adopted, released, reasserted count pairs; "
        "the others contacts, requests, seconds, a share."
    ),
    Delta: JsonSpelling(about="Changes that contacts share."),
    Batch: JsonSpelling(
        about="One request; `after`: the batches, by index, that must have ended before.",
        types={"after": tuple[Count, ...]},
    ),
    Deferral: JsonSpelling(
        about="Removals that need an observation first; contacts times tags is what they may at most become.",
        members="contacts tags reason",
    ),
    Measured: JsonSpelling(
        members="guard tag=scope limit measure refused numerator denominator allowed warned",
        types={
            "tag": Annotated[str, "A tag, a set's name, or empty for the location as a whole."],
            "warned": Annotated[bool, "What it is about was asked for by name: it does not refuse."],
        },
        later="warned",
    ),
    Proof: JsonSpelling(about="What is known of how few requests an action needs."),
    Searched: JsonSpelling(
        about="Exclusive tags that were looked for, and what a search told that was set aside.", later="older_rows"
    ),
    OlderRows: JsonSpelling(about="What a search told that is older than known, and contradicts it: it was set aside."),
    Tried: JsonSpelling(
        about="Pairs that an earlier request tried too, and when last: an approval covers one attempt."
    ),
}
FORMS = Forms(SPELLINGS, {DeferralReason: enum_form(DeferralReason, by_name=True)})


def plan_document(plan: Plan) -> JsonObject:
    """The document, sealed: `digest` is over everything else in it."""
    document: JsonObject = {"format_version": FORMAT_VERSION, "digest": "", **FORMS.write(plan)}
    return document | {"digest": seal(document)}


def plan_schema() -> Schema:
    """Of `plan --format json`, `show PLAN --format json` and the plan file."""
    sealed: Schema = {"format_version": VERSION, "digest": {"type": "string"}}
    members = sealed | FORMS.members(Plan)
    return object_schema(SPELLINGS[Plan].about, members, optional=SPELLINGS[Plan].sparse.split())


def seal(document: Mapping[str, Json]) -> str:
    """SHA-256 over the document without its `digest`, in the one canonical spelling."""
    # the digest cannot be over itself
    unsealed = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(unsealed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_plan(document: object) -> Plan:
    """The plan of a document; raises PlanFileError where it is no whole, untampered plan."""
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), str):
        raise PlanFileError("this is no plan: `format_version` is missing", hint="write one with `plan --out FILE`")
    version = document["format_version"]
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise PlanFileError(
            f"plan format {version[:20]!r} is not known here; this reconciler reads {FORMAT_VERSION}",
            hint="use the version of reconciler that wrote it, or plan again",
        )
    # before any value of it is believed: a file that was touched is not interpreted
    if document.get("digest") != seal(document):
        raise PlanFileError("the plan was changed after it was written: its digest does not fit", hint="plan again")
    try:
        plan = FORMS.form(Plan).read(document)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PlanFileError(f"the plan lacks something: {type(error).__name__} {error}", hint="plan again") from error
    return _check(plan)


def _check(plan: Plan) -> Plan:
    """The plan, with a digest for each location where an older version wrote none."""
    # only a plan that is read is checked
    from reconciler.core.planning.approved_scope import sends_what_it_says

    # the seal tells that the file is as it was written, not that its author was honest: its parts must agree, too
    if not plan.locations:
        raise PlanFileError("the plan has no location", hint="plan again")
    if len({location.location for location in plan.locations}) < len(plan.locations):
        raise PlanFileError("the plan has a location twice", hint="plan again")
    whole, *own = change_digests(plan.locations)
    stated = [location.change_digest or each for location, each in zip(plan.locations, own, strict=True)]
    if [plan.change_digest, *stated] != [whole, *own]:
        raise PlanFileError("the plan's change_digest does not fit its changes", hint="plan again")
    if not all(map(sends_what_it_says, plan.locations)):
        raise PlanFileError("the plan's batches do not send its changes and nothing else", hint="plan again")
    locations = zip(plan.locations, own, strict=True)
    return replace(plan, locations=tuple(replace(location, change_digest=each) for location, each in locations))
