"""The state of a portable document, as `state push` takes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.formats import checked
from reconciler.core.formats.journal_json import read_log
from reconciler.core.formats.state_json import FORMAT_VERSION, STATE_FORMS, Portable
from reconciler.core.model.api_limits import NO_FACTS, Facts
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin, UndecidedReading
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Instant, LocationId, SetName, Source, Tag, TagSet
from reconciler.core.model.outcome import Rejection
from reconciler.core.planning.plan import LocationState


def read_state(document: object, *, path: str) -> tuple[Portable, ...]:
    """The locations of a document; raises InvalidInput for anything else. `path` names it in the message."""
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), str):
        raise _refused(path, "this is no state: `format_version` is missing", "`reconciler state pull` writes one")
    version = document["format_version"]
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        known = f"this reconciler reads {FORMAT_VERSION}"
        raise _refused(path, f"state format {version[:20]!r} is not known here; {known}", "upgrade reconciler")
    try:
        return tuple(_location(item) for item in document["locations"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _refused(path, f"the state lacks something: {type(error).__name__} {error}", "pull it again") from error


def _refused(path: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput([Problem(Source(path), message, "state", hint=hint)])


def _location(item: Mapping[str, Any]) -> Portable:
    location = LocationId(checked.text(item["location"]))
    observed = read_contacts(item["known"])
    sizes = {SetName(name): checked.count(size) for name, size in item["set_sizes"].items()}
    # what version 1.0 did not know yet is not there
    facts = _facts(item["facts"]) if "facts" in item else NO_FACTS
    state = LocationState(
        location, checked.text(item["lineage"]), checked.count(item["serial"]), observed, sizes, facts
    )
    return Portable(state, tuple(read_log(location, run) for run in item["runs"]))


def _facts(item: object) -> Facts:
    facts = STATE_FORMS.form(Facts).read(item)
    return replace(facts, aliases=tuple(sorted(facts.aliases)))


def read_contacts(groups: Iterable[Mapping[str, Any]]) -> ContactStates:
    """The inverse of `contacts_document`."""
    observed = ContactStates()
    for group in groups:
        known = _known(group)
        observed.update(dict.fromkeys(checked.contacts(group["contacts"]), known))
    return observed


def _known(item: Mapping[str, Any]) -> ContactState:
    # whoever mends a state by hand ends a quarantine by its first two words
    refused = {} if item["quarantine"] is None else item
    ledger, doubt = _tags(item["ledger"]), _tags(item["doubt"])
    return ContactState(
        observed=checked.optional(_tags, item["observed"]),
        observed_at=checked.optional(checked.moment, item["observed_at"]),
        origin=ObservationOrigin(item["origin"]),
        ledger=ledger,
        kept=_tags(item["kept"]),
        doubt=doubt,
        doubt_at=checked.optional(checked.moment, item["doubt_at"]),
        quarantine=checked.optional(Rejection, item["quarantine"]),
        quarantined_at=checked.optional(checked.moment, item["quarantined_at"]),
        quarantined_since=checked.optional(checked.moment, refused.get("quarantined_since")),
        membership=checked.optional(_sets, refused.get("membership")),
        restored=_dated(item.get("restored", {})),
        # before version 1.2 nobody wrote down whether what is in doubt was ever seen
        unconfirmed=_tags(item["unconfirmed"]) if "unconfirmed" in item else doubt & ledger,
        # before version 1.3 nobody wrote these down
        spent=_dated(item.get("spent", {})),
        reading=checked.optional(_reading, item.get("reading")),
        attempted_at=checked.optional(checked.moment, item.get("attempted_at")),
    )


def _dated(items: Mapping[str, Any]) -> tuple[tuple[Tag, Instant], ...]:
    return tuple(sorted((Tag(tag), checked.moment(at)) for tag, at in items.items()))


def _reading(item: Mapping[str, Any]) -> UndecidedReading:
    return UndecidedReading(
        asked=checked.moment(item["asked"]),
        answered=checked.moment(item["answered"]),
        served=checked.optional(checked.moment, item["served"]),
        updated=checked.optional(checked.moment, item["updated"]),
        tags=_tags(item["tags"]),
    )


def _tags(items: object) -> TagSet:
    return frozenset(checked.tags(items))


def _sets(items: object) -> frozenset[SetName]:
    return frozenset(SetName(name) for name in checked.each(checked.text, items))
