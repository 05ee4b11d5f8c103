"""The state contact by contact, and each location's state as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NewType

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count, Form, object_schema
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.formats.state_json import STATE_FORMS, read_contacts
from reconciler.core.model import JsonObject
from reconciler.core.model.api_limits import LIMITS_MS, LocationFacts
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.planning.guards import count_holders
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.shortfalls import known_remedies
from reconciler.output.blocks import (
    Cell,
    Lines,
    Records,
    Row,
    Section,
    Style,
    View,
    contact_cell,
    counted,
    iso_or_empty,
    make_records,
    moment,
    table,
    view_records,
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.document import DerivedDocument, Document


def _state_section(state: LocationState, most: int | None) -> Section:
    rows = [_state_row(contact, contact_state) for contact, contact_state in sorted(state.observed.items())]
    verdict = Cell(f"{counted(len(rows), 'contact')}, {identity(state)}.", Style.STRONG)
    contacts = table("", "contact observed_tags managed_tags observed status", rows, most=most)
    remedies = Lines("", tuple(Cell(text, Style.FAINT) for text in _remedies(state)))
    # a location without contacts has an empty table: nothing else would say so
    blocks = (contacts, remedies) if remedies.items else (contacts,)
    return Section(f"Location {state.location}", verdict, blocks, location=state.location)


def _remedies(state: LocationState) -> list[str]:
    return known_remedies(contact_state for _, contact_state in state.observed.items())


def identity(state: LocationState) -> str:
    """Which state it is, and how often it changed."""
    return f"serial {state.serial}, lineage {state.lineage}" if state.lineage else "no state yet"


def _state_row(contact: ContactId, state: ContactState) -> tuple[Cell, ...]:
    return (
        contact_cell(contact),
        Cell("unobserved" if state.observed is None else ", ".join(sorted(state.observed))),
        Cell(", ".join(sorted(state.ledger.tags))),
        Cell(moment(state.observed_at), Style.FAINT),
        _status_cell(state),
    )


def _status_cell(state: ContactState) -> Cell:
    # the quarantine rules over a doubt: nothing is sent to the contact until it ends
    if state.quarantine:
        return Cell(f"quarantined: {state.quarantine.reason}", Style.WARN)
    if state.doubt:
        return Cell(f"in doubt: {', '.join(sorted(state.doubt.tags))}", Style.WARN)
    return Cell("")


_MOVES = {
    None: "not known yet whether a write of tags moves dateUpdated: an add in doubt stays held",
    True: "a write of tags moves dateUpdated: it tells whether an add in doubt had an effect",
    False: "a write of tags leaves dateUpdated alone: an add in doubt stays held",
}


def _facts_section(state: LocationState) -> Section:
    held = counted(len(state.observed), "contact")
    verdict = Cell(f"{held}, {identity(state)}.", Style.STRONG)
    return Section(f"Location {state.location}", verdict, (Lines("Learnt", facts_lines(state.facts)),))


def facts_lines(facts: LocationFacts) -> tuple[Cell, ...]:
    lines = [Cell(_MOVES[facts.moves_updated])]
    # the settings' sizes hold where no refusal taught a smaller one
    for limit, what in ((facts.max_contacts, "contact"), (facts.max_tags, "tag")):
        if limit is not None:
            lines.append(Cell(f"a request may hold {counted(limit, what)}, {_heeded_until(facts)}"))
    lines += [Cell(f"{row.name}: {row.verdict} ({row.found}), tried {moment(row.at)}") for row in facts.tried]
    lines += [Cell(f"tag {sent!r} is kept there as {back!r}", Style.WARN) for sent, back in facts.aliases]
    return tuple(lines)


def _heeded_until(facts: LocationFacts) -> str:
    # a limit without a date is of a state that an older version wrote
    if facts.limits_at is None:
        return "learnt nobody knows when: not heeded any more"
    until = Instant(facts.limits_at + LIMITS_MS)
    return f"learnt {moment(facts.limits_at)}, heeded until {moment(until)} unless `state forget --limits` ends it"


LISTED = ("observed", "observed_at", "origin", "ledger", "kept", "doubt", "quarantine")
"""Of a contact's state, what a list has; the document of one contact has all of it."""
_Listed = NewType("_Listed", ContactStates)


def _write_listed(states: ContactStates) -> list[JsonObject]:
    # contacts share states: each is written once
    listed = [_list_members(STATE_FORMS.write(state)) for state in states.patterns]
    return [{"contact": contact} | listed[index] for contact, index in sorted(states.contacts.items())]


def _list_members(members: JsonObject) -> JsonObject:
    return {name: members[name] for name in LISTED}


def _state_forms(*members: str, **derived: tuple[object, Callable[[Any], object]]) -> Forms:
    """The forms of a document of whole states; `derived`: what it tells of each after `members`."""
    contact = object_schema("", {"contact": {"type": "string"}} | _list_members(STATE_FORMS.members(ContactState)))
    spelling = JsonSpelling(
        members=" ".join(("location lineage serial", *members)), types={"serial": Count}, derived=derived
    )
    listed = Form(_write_listed, read_contacts, {"type": "array", "items": contact})
    return STATE_FORMS.extended({LocationState: spelling}, {_Listed: listed})


@dataclass(frozen=True, slots=True)
class StateDocument(DerivedDocument):
    report: ClassVar = "state"
    forms: ClassVar = _state_forms(
        "facts",
        contacts=(_Listed, lambda state: state.observed),
        remedies=(Remedies, _remedies),
    )

    locations: Sequence[LocationState]

    def view(self, most: int | None) -> View:
        return View("State", tuple(_state_section(state, most) for state in self.locations))

    def records(self) -> Records:
        """No tags and no instant: never observed. `state import` does not take this for an export: it would take that
        for "has no tags"."""
        columns = "location contact observed_tags managed_tags kept in_doubt observed_at from quarantine"
        return make_records(
            "Every contact", columns, lambda: (row for state in self.locations for row in _state_rows(state))
        )

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return list(map(_state_charts, self.locations))


@dataclass(frozen=True, slots=True)
class FactsDocument(DerivedDocument, Document):
    """Each location as a whole, and what it taught us."""

    report: ClassVar = "facts"
    forms: ClassVar = _state_forms(
        contacts=(Count, lambda state: len(state.observed)), facts=(LocationFacts, lambda state: state.facts)
    )

    locations: Sequence[LocationState]

    def view(self, most: int | None) -> View:  # noqa: ARG002  too short to be folded
        return View("State", tuple(map(_facts_section, self.locations)))

    def records(self) -> Records:
        return view_records(self.view(None))


def _state_rows(state: LocationState) -> Iterator[Row]:
    for contact, known in sorted(state.observed.items()):
        yield (
            state.location,
            contact,
            "" if known.observed is None else _join_tags(known.observed),
            _join_tags(known.ledger.tags),
            _join_tags(known.ledger.kept),
            _join_tags(known.doubtful),
            iso_or_empty(known.observed_at),
            known.origin,
            known.quarantine.reason if known.quarantine else "",
        )


def _join_tags(tags: Iterable[str]) -> str:
    return ", ".join(sorted(tags))


def _state_charts(state: LocationState) -> tuple[Chart, ...]:
    bars = {str(tag): (number,) for tag, number in count_holders(state.observed).items()}
    return draw_bars("Observed holders of each tag", (("contacts", Style.PLAIN),), bars)
