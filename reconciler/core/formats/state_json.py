"""State as a portable JSON document: what `state pull` prints, and `state push` takes by `portable_reading`. Pure.

Rules
1. `format_version` is "MAJOR.MINOR": a reader ignores unknown fields and refuses an unknown MAJOR.
2. Contacts that share everything known stand together, and so do contacts of a batch that were answered alike.
3. `pull` then `push` into an empty state gives the same content, the same runs and the same document.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from reconciler.core.formats.journal_json import group_contacts, log_document
from reconciler.core.model.api_limits import Facts
from reconciler.core.model.contact_state import ContactState, UndecidedReading
from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import RunLog
from reconciler.core.model.names import ContactId, Instant, iso
from reconciler.core.planning.plan import LocationState

FORMAT_VERSION = "1.4"
T = TypeVar("T", bound=Hashable)


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
        "facts": facts_document(state.facts),
        "known": contacts_document(dict(state.observed.items())),
        "runs": [log_document(log) for log in each.runs],
    }


def facts_document(facts: Facts) -> dict[str, Any]:
    return {
        "moves_updated": facts.moves_updated,
        "max_contacts": facts.max_contacts,
        "max_tags": facts.max_tags,
        "aliases": dict(facts.aliases),
        "limits_at": _iso(facts.limits_at),
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
