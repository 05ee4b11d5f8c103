"""The state contact by contact, and each location's state as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.formats.json_forms import Count, Schema, object_schema
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.formats.state_json import STATE_FORMS, contact_document, contact_members
from reconciler.core.model import JsonObject
from reconciler.core.model.api_limits import LIMITS_MS, Facts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.planning.guards import count_holders
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.shortfalls import known_remedies
from reconciler.output.blocks import (
    Block,
    Cell,
    Column,
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
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.document import Document, report_document, view_records

_COLUMNS = (Column("contact"), Column("observed tags"), Column("managed tags"), Column("observed"), Column("status"))


def _state_section(state: LocationState, most: int | None) -> Section:
    rows = [_state_row(contact, contact_state) for contact, contact_state in sorted(state.observed.items())]
    verdict = Cell(f"{counted(len(rows), 'contact')}, {identity(state)}.", Style.STRONG)
    remedies = tuple(
        Cell(text, Style.FAINT) for text in known_remedies(contact_state for _, contact_state in state.observed.items())
    )
    blocks: list[Block] = [table("", _COLUMNS, rows, most=most)]
    if remedies:
        blocks.append(Lines("", remedies))
    return Section(f"Location {state.location}", verdict, tuple(blocks), location=state.location)


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


def facts_lines(facts: Facts) -> tuple[Cell, ...]:
    lines = [Cell(_MOVES[facts.moves_updated])]
    # the settings' sizes hold where no refusal taught a smaller one
    for limit, what in ((facts.max_contacts, "contact"), (facts.max_tags, "tag")):
        if limit is not None:
            lines.append(Cell(f"a request may hold {counted(limit, what)}, {_heeded_until(facts)}"))
    lines += [Cell(f"tag {sent!r} is kept there as {back!r}", Style.WARN) for sent, back in facts.aliases]
    return tuple(lines)


def _heeded_until(facts: Facts) -> str:
    # a limit without a date is of a state that an older version wrote
    if facts.limits_at is None:
        return "learnt nobody knows when: not heeded any more"
    until = Instant(facts.limits_at + LIMITS_MS)
    return f"learnt {moment(facts.limits_at)}, heeded until {moment(until)} unless `state forget --limits` ends it"


@dataclass(frozen=True, slots=True)
class StateDocument:
    """The contacts of each location."""

    snapshots: Sequence[LocationState]

    def view(self, most: int | None) -> View:
        return View("State", tuple(_state_section(state, most) for state in self.snapshots))

    def records(self) -> Records:
        """No tags and no instant: never observed. `state import` does not take this for an export: it would take that
        for "has no tags"."""
        columns = "location contact observed_tags managed_tags kept in_doubt observed_at from quarantine"
        return make_records(
            "Every contact", columns, lambda: (row for state in self.snapshots for row in _state_rows(state))
        )

    def json(self) -> JsonObject:
        return report_document("state", {"locations": list(map(_location_json, self.snapshots))})

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return list(map(_state_charts, self.snapshots))

    @staticmethod
    def schema() -> Schema:
        # the list leaves out the members that settle doubts: `state show` has them
        members = contact_members()
        contact = object_schema("", {"contact": {"type": "string"}} | {name: members[name] for name in LISTED})
        contacts: Schema = {"contacts": {"type": "array", "items": contact}, "remedies": STATE_FORMS.schema(Remedies)}
        location = object_schema("", _IDENTITY | {"facts": STATE_FORMS.schema(Facts)} | contacts)
        return {"locations": {"type": "array", "items": location}}


@dataclass(frozen=True, slots=True)
class FactsDocument(Document):
    """Each location as a whole, and what it taught us."""

    snapshots: Sequence[LocationState]

    def view(self, most: int | None) -> View:  # noqa: ARG002  too short to be folded
        return View("State", tuple(map(_facts_section, self.snapshots)))

    def records(self) -> Records:
        return view_records(self.view(None))

    def json(self) -> JsonObject:
        return report_document(
            "facts",
            {
                "locations": [
                    _identity_of(state) | {"contacts": len(state.observed), "facts": STATE_FORMS.write(state.facts)}
                    for state in self.snapshots
                ]
            },
        )

    @staticmethod
    def schema() -> Schema:
        counted: Schema = {"contacts": STATE_FORMS.schema(Count), "facts": STATE_FORMS.schema(Facts)}
        return {"locations": {"type": "array", "items": object_schema("", _IDENTITY | counted)}}


LISTED = ("observed", "observed_at", "origin", "ledger", "kept", "doubt", "quarantine")
"""Of a contact's state, what a list has; the document of one contact has all of it."""
_IDENTITY: Schema = {
    "location": {"type": "string"},
    "lineage": STATE_FORMS.schema(str | None),
    "serial": STATE_FORMS.schema(Count),
}


def _identity_of(state: LocationState) -> JsonObject:
    return {"location": state.location, "lineage": state.lineage, "serial": state.serial}


def _location_json(state: LocationState) -> JsonObject:
    # contacts share states: each is written once
    listed = [_list_members(contact_state) for contact_state in state.observed.patterns]
    contacts = [{"contact": contact} | listed[index] for contact, index in sorted(state.observed.contacts.items())]
    remedies = known_remedies(contact_state for _, contact_state in state.observed.items())
    facts = STATE_FORMS.write(state.facts)
    return _identity_of(state) | {"facts": facts, "contacts": contacts, "remedies": remedies}


def _list_members(state: ContactState) -> JsonObject:
    return {name: member for name, member in contact_document(state).items() if name in LISTED}


def _state_rows(state: LocationState) -> Iterator[Row]:
    for contact, known in sorted(state.observed.items()):
        yield (state.location, contact, *_contact_row(known))


def _contact_row(state: ContactState) -> Row:
    return (
        "" if state.observed is None else _join_tags(state.observed),
        _join_tags(state.ledger.tags),
        _join_tags(state.ledger.kept),
        _join_tags(state.doubtful),
        iso_or_empty(state.observed_at),
        state.origin,
        state.quarantine.reason if state.quarantine else "",
    )


def _join_tags(tags: Iterable[str]) -> str:
    return ", ".join(sorted(tags))


def _state_charts(state: LocationState) -> tuple[Chart, ...]:
    bars = {str(tag): (number,) for tag, number in count_holders(state.observed).items()}
    return draw_bars("Observed holders of each tag", (("contacts", Style.PLAIN),), bars)
