"""State as a portable JSON document: what `state pull` prints, and `state push` takes by `portable_reading`. Pure.

Rules
1. `format_version` is "MAJOR.MINOR": a reader ignores unknown fields and refuses an unknown MAJOR.
2. Contacts that share everything known stand together, and so do contacts of a batch that were answered alike.
3. `pull` then `push` into an empty state gives the same content, the same runs and the same document.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from reconciler.core.formats.journal_json import group_contacts, log_document
from reconciler.core.formats.json_forms import Count, Schema
from reconciler.core.formats.shapes import Forms, Spelling
from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_state import ContactState, ObservationOrigin, UndecidedReading
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import RunLog
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet, iso
from reconciler.core.model.outcome import Rejection
from reconciler.core.planning.plan import LocationState

FORMAT_VERSION = "1.4"
T = TypeVar("T", bound=Hashable)


STATE_FORMS = Forms(
    {
        Facts: Spelling(
            about="What the location's API taught us; null: not known so far.",
            types={
                "max_contacts": Count | None,
                "max_tags": Count | None,
                "aliases": Mapping[Tag, Tag],
                "limits_at": Annotated[Instant | None, "When a refusal last told how much a request may hold."],
            },
            later="limits_at",
        ),
        UndecidedReading: Spelling(about="The last reading that could not decide the doubt."),
    }
)
CONTACT: Schema = {
    name: STATE_FORMS.schema(kind)
    for name, kind in {
        "observed": Annotated[TagSet | None, "The tags when the API last told; null: it never did."],
        "observed_at": Instant | None,
        "origin": ObservationOrigin,
        "ledger": Annotated[TagSet, "The tags under management."],
        "kept": Annotated[TagSet, "Of the ledger, what stays when nobody declares it any more."],
        "doubt": Annotated[TagSet, "Tags for which the effect of a request is unknown."],
        "doubt_at": Instant | None,
        "quarantine": Rejection | None,
        "quarantined_at": Instant | None,
        "quarantined_since": Instant | None,
        "membership": Annotated[
            frozenset[SetName] | None, "The sets it belonged to when it was quarantined; null: not known."
        ],
        "restored": Annotated[
            Mapping[Tag, Instant], "Tags that we put back after others had removed them, and when we last did."
        ],
        "unconfirmed": Annotated[TagSet, "Tags under management whose adds nobody ever saw there."],
        "spent": Annotated[
            Mapping[Tag, Instant],
            "Tags of the rule `once` that were given, and when; not forgotten with the ledger.",
        ],
        "reading": UndecidedReading | None,
        "attempted_at": Annotated[Instant | None, "When a request last tried pairs in doubt or never seen."],
    }.items()
}
"""The members of a contact's state in their order, as a reader of reports finds them described."""


@dataclass(frozen=True, slots=True)
class Portable:
    """All there is of a location: its content and its journal."""

    state: LocationState
    runs: tuple[RunLog, ...]


def state_document(locations: Iterable[Portable]) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, "locations": [_location_document(each) for each in locations]}


def _location_document(each: Portable) -> dict[str, Any]:
    state = each.state
    return {
        "location": state.location,
        "lineage": state.lineage,
        "serial": state.serial,
        "set_sizes": dict(sorted(state.set_sizes.items())),
        "facts": STATE_FORMS.write(state.facts),
        "known": contacts_document(dict(state.observed.items())),
        "runs": [log_document(log) for log in each.runs],
    }


def contacts_document(contacts: Mapping[ContactId, ContactState]) -> list[dict[str, Any]]:
    return [known_document(known) | {"contacts": ids} for known, ids in group_contacts(contacts.items())]


def known_document(known: ContactState) -> dict[str, Any]:
    return {
        "observed": None if known.observed is None else sorted(known.observed),
        "observed_at": _iso(known.observed_at),
        "origin": known.origin,
        "ledger": sorted(known.ledger),
        "kept": sorted(known.kept),
        "doubt": sorted(known.doubt),
        "doubt_at": _iso(known.doubt_at),
        "quarantine": known.quarantine,
        "quarantined_at": _iso(known.quarantined_at),
        "quarantined_since": _iso(known.quarantined_since),
        "membership": None if known.membership is None else sorted(known.membership),
        "restored": {tag: iso(at) for tag, at in known.restored},
        "unconfirmed": sorted(known.unconfirmed),
        "spent": {tag: iso(at) for tag, at in known.spent},
        "reading": None if known.reading is None else _reading_document(known.reading),
        "attempted_at": _iso(known.attempted_at),
    }


def _reading_document(reading: UndecidedReading) -> dict[str, Any]:
    return {
        "asked": iso(reading.asked),
        "answered": iso(reading.answered),
        "served": _iso(reading.served),
        "updated": _iso(reading.updated),
        "tags": sorted(reading.tags),
    }


def _iso(moment: Instant | None) -> str | None:
    return None if moment is None else iso(moment)


def accept(present: Portable, new: Portable) -> Portable | None:
    """What a push makes of a location: None where there is nothing to do; raises StateError where it would lose.

    A push into an empty state takes lineage and serial over. Elsewhere the lineage must be the same, the serial not
    older than that of the state, and no run may be missing.
    """
    state = present.state
    if not state.serial and not present.runs and not len(state.observed):
        return new
    if new.state.lineage != state.lineage:
        raise StateError(
            f"the state of location {state.location} is of lineage {state.lineage}, and this is of {new.state.lineage}",
            hint="they have nothing to do with one another: see that --state names the right one",
        )
    missing = {log.record.id for log in present.runs} - {log.record.id for log in new.runs}
    if new.state.serial < state.serial or missing:
        lacks = f", and lacks run {min(missing)}" if missing else ""
        raise StateError(
            f"this is older than the state: serial {new.state.serial}, there {state.serial}{lacks}",
            hint="pull again, and make the change once more",
        )
    if _content(new) == _content(present):
        return None
    serial = max(new.state.serial, state.serial + 1)
    return replace(new, state=replace(new.state, serial=serial))


def _content(each: Portable) -> tuple[object, ...]:
    state = each.state
    return dict(state.observed.items()), dict(state.set_sizes), state.facts, [log.record.id for log in each.runs]
