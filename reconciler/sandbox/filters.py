"""The filters of the contact search: read from a request, and held against a contact. Pure.

Rules
1. Fields and operators are those of the vendor's page on the search. A field that it does not name is refused with 400
   (F), an operator that it does not name for the field, and all else that is wrong, with 422 (A).
2. Filters are all met, and so are those of a group `AND`; of a group `OR` one of them is met.
3. A filter of opportunities is met by a contact of which one opportunity meets all of its conditions together; what
   `not_eq` means there is told by `opportunity_not_eq_is_any` (?).
4. Text is compared as it stands with text in lower case, but for `index_keeps_case`: a capital letter finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeAlias

from reconciler.core.model.names import parse_instant
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import RefusedRequest
from reconciler.sandbox.people import LocationField
from reconciler.sandbox.world import Contact, World

LONGEST_VALUE = 75
RANGE = "range"
CUSTOM = "customFields."
_FILTER_KEYS = frozenset({"field", "operator", "value"})
_GROUP_KEYS = frozenset({"group", "filters"})
_EXISTS = ("exists", "not_exists")


class FieldKind(Enum):
    """Fields that take the same operators, by these."""

    ID = ("eq", "not_eq")
    WORD = ("eq", "not_eq", *_EXISTS)
    TEXT = ("eq", "not_eq", "contains", "not_contains", *_EXISTS)
    NUMBER = ("eq", "not_eq", RANGE, *_EXISTS)
    DATE = (RANGE, *_EXISTS)


_TEXTS = """
address businessName city companyName firstNameLowerCase lastNameLowerCase phone postalCode source state tags
"""
_WORDS = """
activeWorkflows assignedTo contactName country dnd email finishedWorkflows followers isValidWhatsapp timezone type
validEmail website
"""
_DATES = "dateAdded dateUpdated dateOfBirth lastAppointment lastEmailClickedDate lastEmailOpenedDate"
STANDARD: Mapping[str, FieldKind] = {
    "id": FieldKind.ID,
    **dict.fromkeys(_TEXTS.split(), FieldKind.TEXT),
    **dict.fromkeys(_WORDS.split(), FieldKind.WORD),
    **dict.fromkeys(_DATES.split(), FieldKind.DATE),
}
_OF_TYPES = {
    **dict.fromkeys(["CHECKBOX", "MULTIPLE_OPTIONS"], FieldKind.WORD),
    **dict.fromkeys(["NUMERICAL", "MONETORY"], FieldKind.NUMBER),
    "DATE": FieldKind.DATE,
}
"""Of custom fields; those of other types are texts."""
_KEEP_CASE = frozenset({"id", "assignedTo", "followers", "activeWorkflows", "finishedWorkflows"})
"""Fields with ids."""

_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    "gte": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "lte": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
}
_POSITIVE = frozenset({"eq", "contains"})


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """One condition on a contact: on its texts of `field`, or on a date or a number that lies within all `bounds`."""

    field: str
    kind: FieldKind
    operator: str
    values: tuple[str, ...] = ()
    bounds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class FilterGroup:
    members: tuple[AnyFilter, ...]
    is_any: bool


@dataclass(frozen=True, slots=True)
class OpportunityFilter:
    """Conditions on one opportunity of the contact."""

    members: tuple[SearchFilter, ...]


AnyFilter: TypeAlias = SearchFilter | FilterGroup | OpportunityFilter
OPPORTUNITIES = "opportunities"
OF_OPPORTUNITIES = dict.fromkeys(("pipelineId", "pipelineStageId", "status"), FieldKind.WORD)


def read_filters(value: object, world: World, problems: list[str]) -> tuple[AnyFilter, ...]:
    """The filters of a request; mistakes are added to `problems`. Raises RefusedRequest for an unknown field."""
    if not isinstance(value, list):
        problems.append("filters must be an array")
        return ()
    fields = {**STANDARD, **{name: kind for custom in world.custom_fields for name, kind in _list_fields(custom)}}
    read = (_read_filter(item, fields, problems) for item in value)
    return tuple(entry for entry in read if entry is not None)


def _list_fields(custom: LocationField) -> Iterator[tuple[str, FieldKind]]:
    """The fields that a filter can ask for: of a list of text boxes each of these."""
    name = f"{CUSTOM}{custom.id}"
    if custom.kind != "TEXTBOX_LIST":
        yield name, _kind_of(custom)
    yield from ((f"{name}.{option}", FieldKind.TEXT) for option in custom.options)


def _kind_of(custom: LocationField) -> FieldKind:
    return _OF_TYPES.get(custom.kind, FieldKind.TEXT)


def _read_filter(item: object, fields: Mapping[str, FieldKind], problems: list[str]) -> AnyFilter | None:
    if isinstance(item, dict) and "group" in item:
        return _read_group(item, fields, problems)
    if not isinstance(item, dict) or not item.keys() <= _FILTER_KEYS or not isinstance(item.get("field"), str):
        problems.append("each filter must have a field, an operator and a value")
        return None
    field, operator, value = item["field"], item.get("operator"), item.get("value")
    if field == OPPORTUNITIES:
        return _read_nested(operator, value, problems)
    if field not in fields:
        raise RefusedRequest(400, f"Invalid field {field[:LONGEST_VALUE]}")
    kind = fields[field]
    if not isinstance(operator, str) or operator not in kind.value:
        problems.append(f"operator must be one of {', '.join(kind.value)}; not {json.dumps(operator)[:40]}")
        return None
    if operator in _EXISTS:
        return SearchFilter(field, kind, operator)
    if operator == RANGE:
        return SearchFilter(field, kind, operator, bounds=_read_bounds(value, kind, problems))
    return SearchFilter(field, kind, operator, _read_values(value, problems))


def _read_group(item: Mapping[str, object], fields: Mapping[str, FieldKind], problems: list[str]) -> FilterGroup | None:
    members = item.get("filters")
    if item.keys() != _GROUP_KEYS or item["group"] not in ("AND", "OR") or not isinstance(members, list) or not members:
        problems.append("a group must be AND or OR, and have filters")
        return None
    read = [_read_filter(member, fields, problems) for member in members]
    return FilterGroup(tuple(member for member in read if member is not None), is_any=item["group"] == "OR")


def _read_nested(operator: object, value: object, problems: list[str]) -> OpportunityFilter | None:
    if operator != "nested" or not isinstance(value, list) or not value:
        problems.append("a filter of opportunities must have the operator nested and a list of filters")
        return None
    read = [_read_filter(item, OF_OPPORTUNITIES, problems) for item in value]
    # a group of conditions of one opportunity is not documented
    if any(isinstance(entry, FilterGroup) for entry in read):
        problems.append("the filters of opportunities must have a field, an operator and a value")
    return OpportunityFilter(tuple(entry for entry in read if isinstance(entry, SearchFilter)))


def _read_values(value: object, problems: list[str]) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    # True is an int to Python, and a value of a flag here
    if not values or not all(isinstance(text, str | int | float) for text in values):
        problems.append("the value of a filter must be text or a list of texts")
        return ()
    texts = tuple(text if isinstance(text, str) else json.dumps(text) for text in values)
    if any(len(text) > LONGEST_VALUE for text in texts):
        problems.append(f"the value of a filter must be shorter than or equal to {LONGEST_VALUE} characters")
    return texts


def _read_bounds(value: object, kind: FieldKind, problems: list[str]) -> tuple[tuple[str, float], ...]:
    """The bounds of a range, by their names; a time is ISO text or milliseconds."""
    read = float if kind is FieldKind.NUMBER else read_time
    try:
        if isinstance(value, dict) and value and value.keys() <= _BOUNDS.keys():
            return tuple((name, read(bound)) for name, bound in sorted(value.items()))
    except (ValueError, TypeError):
        pass
    what = "number" if kind is FieldKind.NUMBER else "date"
    problems.append(f"the value of a range must have some of {', '.join(_BOUNDS)}, each a {what}")
    return ()


def read_time(value: object) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    # a day of the calendar, as dates of birth are held
    return parse_instant(f"{text}T00:00:00Z" if len(text) == len("2026-01-01") else text)


def meets(contact: Contact, wanted: AnyFilter, rules: Assumptions) -> bool:
    """Whether the index shows a contact for a filter."""
    if isinstance(wanted, FilterGroup):
        test = partial(meets, contact, rules=rules)
        return any(map(test, wanted.members)) if wanted.is_any else all(map(test, wanted.members))
    if isinstance(wanted, OpportunityFilter):
        return _has_opportunity(contact, wanted, rules)
    blind = rules.email_filter_finds_nothing if wanted.field == "email" else rules.phone_filter_finds_nothing
    if wanted.field in {"email", "phone"} and wanted.operator in _POSITIVE and blind:
        return False
    if wanted.operator == RANGE:
        value = _find_number(contact, wanted)
        return value is not None and all(_BOUNDS[name](value, bound) for name, bound in wanted.bounds)
    held = held_texts(contact, wanted.field, rules)
    # an empty text is no value
    if wanted.operator in _EXISTS:
        return bool(held) is (wanted.operator == "exists")
    return _finds(held, wanted, rules) is (wanted.operator in _POSITIVE)


def _has_opportunity(contact: Contact, wanted: OpportunityFilter, rules: Assumptions) -> bool:
    opportunities = json.loads(contact.person.details.get(OPPORTUNITIES, "[]"))
    if rules.opportunity_not_eq_is_any:
        return any(all(_meets_alone(deal, test) for test in wanted.members) for deal in opportunities)
    positive = [test for test in wanted.members if test.operator != "not_eq"]
    unwanted = [test for test in wanted.members if test.operator == "not_eq"]
    return any(all(_meets_alone(deal, test) for test in positive) for deal in opportunities or [{}]) and all(
        _meets_alone(deal, test) for deal in opportunities for test in unwanted
    )


def _meets_alone(opportunity: Mapping[str, str], wanted: SearchFilter) -> bool:
    held = opportunity.get(wanted.field, "")
    if wanted.operator in _EXISTS:
        return bool(held) is (wanted.operator == "exists")
    return (held in wanted.values) is (wanted.operator == "eq")


def _finds(held: frozenset[str], wanted: SearchFilter, rules: Assumptions) -> bool:
    if wanted.operator.endswith("contains"):
        return any(value in text for text in held for value in wanted.values)
    if wanted.operator == "eq" and rules.eq_needs_all:
        return held.issuperset(wanted.values)
    # not_eq with several values: none of them is there
    return not held.isdisjoint(wanted.values)


def _find_number(contact: Contact, wanted: SearchFilter) -> float | None:
    """The number, or the time in milliseconds, that a range is held against."""
    if wanted.field in _TIMES:
        return _TIMES[wanted.field](contact)
    text = _value_of(contact, wanted.field)
    try:
        return None if not text else float(text) if wanted.kind is FieldKind.NUMBER else read_time(text)
    except ValueError:
        return None


def _value_of(contact: Contact, field: str) -> str:
    person = contact.person
    if field.startswith(CUSTOM):
        return person.custom_fields.get(field.removeprefix(CUSTOM), "")
    return person.details.get(field, "")


def held_texts(contact: Contact, field: str, rules: Assumptions) -> frozenset[str]:
    """The texts that the index holds of a contact for a field."""
    # addresses are compared with additional ones
    if field in _HELD:
        return _HELD[field](contact, rules)
    if field in _TIMES:
        return frozenset({str(_TIMES[field](contact))})
    value = _value_of(contact, field)
    if not value:
        return frozenset()
    return frozenset({value if field in _KEEP_CASE or rules.index_keeps_case else value.lower()})


_HELD: Mapping[str, Callable[[Contact, Assumptions], frozenset[str]]] = {
    "id": lambda contact, _: frozenset({contact.id}),
    "tags": lambda contact, _: frozenset(contact.tags),
    "email": lambda contact, rules: contact.person.emails(rules),
    "phone": lambda contact, rules: contact.person.phones(rules),
    "dnd": lambda contact, _: frozenset({contact.person.details.get("dnd", "false")}),
}
_TIMES: Mapping[str, Callable[[Contact], int]] = {
    "dateAdded": lambda contact: contact.added,
    "dateUpdated": lambda contact: contact.updated,
}
