"""The contact search: filters on tags, people and dates, pages by number or by cursor, over the index. The search for
one contact with an e-mail or a phone sees the copy that a read sees.

Rules
1. Contacts come in the order in which they were added, then by id; each carries the cursor that starts after it.
2. A cursor stays good while contacts come and go: contacts behind it are not shown again, those ahead are not missed.
3. Filter values are compared as they stand, with values in lower case: a capital letter finds nothing.
4. An unknown field is refused with 400 (F), all else that is wrong with a search with 422.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.names import ContactId, Instant, iso, parse_instant
from reconciler.sandbox.assumptions import Assumptions, DuplicateSearch
from reconciler.sandbox.messages import RefusedRequest, refuse_problems, unknown_keys
from reconciler.sandbox.people import person_members
from reconciler.sandbox.world import Contact, World

MOST_A_PAGE = 500
DEEPEST_RECORD = 10_000
LONGEST_VALUE = 75
FLICKERING = 4
"""One contact in so many is hidden, where an index flickers."""

_KEYS = frozenset({"locationId", "pageLimit", "page", "searchAfter", "filters"})
_FILTER_KEYS = frozenset({"field", "operator", "value"})

Key = tuple[int, str]
Test = Callable[[frozenset[str], tuple[str, ...]], bool]

_TESTS: dict[str, Test] = {
    "eq": lambda held, values: held.issuperset(values),
    "not_eq": lambda held, values: held.isdisjoint(values),
    "contains": lambda held, values: any(value in text for text in held for value in values),
    "not_contains": lambda held, values: not any(value in text for text in held for value in values),
    "exists": lambda held, _values: bool(held),
    "not_exists": lambda held, _values: not held,
}
_WITHOUT_VALUE = frozenset({"exists", "not_exists"})
_POSITIVE = frozenset({"eq", "contains"})

_BOUNDS: dict[str, Callable[[int, int], bool]] = {
    "gte": lambda date, bound: date >= bound,
    "gt": lambda date, bound: date > bound,
    "lte": lambda date, bound: date <= bound,
    "lt": lambda date, bound: date < bound,
}
_DATES: dict[str, Callable[[Contact], int]] = {
    "dateAdded": lambda contact: contact.added,
    "dateUpdated": lambda contact: contact.updated,
}
RANGE = "range"
_CUSTOM = "customFields."


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """One condition on a contact: on its texts of `field`, or on a date that lies within all `bounds`."""

    field: str
    operator: str
    values: tuple[str, ...] = ()
    bounds: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A search for the contacts that meet all `filters`: those behind the cursor `after`, or those of page `page`."""

    filters: tuple[SearchFilter, ...]
    size: int
    page: int
    after: Key | None


def read_query(document: JsonObject, world: World) -> Query:
    """The search in a body; raises RefusedRequest (422) with every problem, or (400) for an unknown field."""
    problems = unknown_keys(document, _KEYS) if world.assumptions.extra_keys_refused else []
    size = _read_positive(document, "pageLimit", problems, most=MOST_A_PAGE)
    page = _read_positive(document, "page", problems) if "page" in document else 1
    cursor = document.get("searchAfter")
    if cursor is not None and "page" in document:
        problems.append("page can not be used with searchAfter")
    after = None if cursor is None else _read_key(cursor, problems)
    if cursor is None and page * size > DEEPEST_RECORD:
        problems.append(f"use searchAfter for records past {DEEPEST_RECORD}")
    fields = {"tags", "email", "phone", *_DATES, *(f"{_CUSTOM}{custom.id}" for custom in world.custom_fields)}
    filters = _read_filters(document.get("filters", []), frozenset(fields), problems)
    refuse_problems(problems)
    return Query(filters, size, page, after)


class Search:
    """Answers queries over one world; remembers the last matches, which the next page asks for again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: tuple[tuple[SearchFilter, ...], int, int | None] | None = None
        self._keys: list[Key] = []

    def run(self, query: Query, now: Instant) -> JsonObject:
        """The document of one page."""
        # the same search of the same index is sorted once: a location of a million contacts has thousands of pages
        indexed, turn = self._world.indexed(now), self._hidden_turn(now)
        asked = (query.filters, self._world.index_version, turn)
        if asked != self._asked:
            matches = (contact for contact in indexed.values() if self._matches(contact, query.filters))
            if turn is not None:
                matches = (contact for contact in matches if (sum(contact.id.encode()) + turn) % FLICKERING)
            self._keys = sorted((contact.added, contact.id) for contact in matches)
            self._asked = asked
        start = (query.page - 1) * query.size
        if query.after is not None and not self._world.assumptions.search_ignores_cursor:
            # by the place that a cursor names, not by its contact: that may have left meanwhile
            start = bisect_right(self._keys, query.after)
        keys = self._keys[start : start + query.size]
        rows = [self._row_document(indexed[ContactId(key[1])]) for key in keys]
        return {"contacts": rows, "total": len(self._keys)}

    def _hidden_turn(self, now: Instant) -> int | None:
        """The number of the turn, which decides the contacts that are hidden; None where the index does not flicker."""
        turn_ms = self._world.assumptions.search_flickers_ms
        return now // turn_ms if turn_ms else None

    def _matches(self, contact: Contact, filters: tuple[SearchFilter, ...]) -> bool:
        if contact.deleted is not None or contact.location != self._world.location:
            return False
        return all(self._meets_filter(contact, test) for test in filters)

    def _meets_filter(self, contact: Contact, test: SearchFilter) -> bool:
        rules = self._world.assumptions
        if test.operator == RANGE:
            date = _DATES[test.field](contact)
            return all(_BOUNDS[name](date, bound) for name, bound in test.bounds)
        blind = rules.email_filter_finds_nothing if test.field == "email" else rules.phone_filter_finds_nothing
        if test.field in {"email", "phone"} and test.operator in _POSITIVE and blind:
            return False
        held = _searched_texts(contact, test.field, rules)
        if test.operator in {"eq", "not_eq"} and not rules.eq_needs_all:
            carries = not held.isdisjoint(test.values)
            return carries is (test.operator == "eq")
        return _TESTS[test.operator](held, test.values)

    def _row_document(self, contact: Contact) -> JsonObject:
        rules = self._world.assumptions
        row = contact_document(contact, rules, in_search=True) | {"searchAfter": [contact.added, contact.id]}
        # by the sum of its letters: the same contacts in every search
        nth = rules.search_row_without_tags
        if nth and sum(contact.id.encode()) % nth == 0:
            del row["tags"]
        return row


def _searched_texts(contact: Contact, field: str, rules: Assumptions) -> frozenset[str]:
    """The texts that the index holds of a contact for a field."""
    match field:
        case "tags":
            return frozenset(contact.tags)
        case "email":
            return contact.person.emails(rules)
        case "phone":
            return contact.person.phones(rules)
    value = contact.person.custom_fields.get(field.removeprefix(_CUSTOM), "")
    return frozenset({value.lower()} if value else ())


def find_duplicate(world: World, query: Mapping[str, str], now: Instant) -> Contact | None:
    """A contact with the e-mail, or else with the phone, of a request: of several the one that was added first."""
    rules = world.assumptions
    if rules.duplicate_search is DuplicateSearch.MISSING:
        raise RefusedRequest(404, "Cannot GET /contacts/search/duplicate")
    email, phone = query.get("email", "").lower(), query.get("number", "")
    if not email and not phone:
        raise RefusedRequest(400, "email or number is required")
    if rules.duplicate_search is DuplicateSearch.FINDS_NOTHING:
        return None
    contacts = world.shown(now).values()
    with_email = [contact for contact in contacts if email in contact.person.emails(rules)]
    with_phone = [contact for contact in contacts if phone in contact.person.phones(rules)]
    for same in (with_email, with_phone):
        here = (contact for contact in same if contact.deleted is None and contact.location == world.location)
        if first := min(here, key=lambda contact: (contact.added, contact.id), default=None):
            return first
    return None


def contact_document(contact: Contact, rules: Assumptions, *, in_search: bool = False) -> JsonObject:
    """A contact as the vendor shows it, without the fields that have nothing to do with tags and people."""
    document: JsonObject = {
        "id": contact.id,
        "locationId": contact.location,
        "dnd": False,
        "tags": sorted(contact.tags),
        "dateAdded": iso(contact.added),
        "dateUpdated": iso(contact.updated),
    }
    return document | person_members(contact.person, rules, in_search=in_search)


def _read_positive(document: JsonObject, key: str, problems: list[str], *, most: int | None = None) -> int:
    value = document.get(key)
    # True is an int to Python, and no number to the vendor
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        problems.append(f"{key} must be a positive number")
        return 1
    if most is not None and value > most:
        problems.append(f"{key} must not be greater than {most}")
    return value


def _read_key(value: Json, problems: list[str]) -> Key | None:
    match value:
        case [int(added), str(contact)]:
            return added, contact
    problems.append("searchAfter must be the one of a contact")
    return None


def _read_filters(value: object, fields: frozenset[str], problems: list[str]) -> tuple[SearchFilter, ...]:
    if not isinstance(value, list):
        problems.append("filters must be an array")
        return ()
    tests = [_read_filter(item, fields, problems) for item in value]
    return tuple(test for test in tests if test is not None)


def _read_filter(item: object, fields: frozenset[str], problems: list[str]) -> SearchFilter | None:
    if not isinstance(item, dict) or not item.keys() <= _FILTER_KEYS or not isinstance(item.get("field"), str):
        problems.append("each filter must have a field, an operator and a value")
        return None
    field, operator, value = item["field"], item.get("operator"), item.get("value")
    if field not in fields:
        raise RefusedRequest(400, f"Invalid field {field[:LONGEST_VALUE]}")
    operators = [RANGE] if field in _DATES else [*_TESTS]
    if not isinstance(operator, str) or operator not in operators:
        problems.append(f"operator must be one of {', '.join(operators)}; not {json.dumps(operator)[:40]}")
        return None
    if operator in _WITHOUT_VALUE:
        return SearchFilter(field, operator)
    if operator == RANGE:
        return SearchFilter(field, operator, bounds=_read_bounds(value, problems))
    return SearchFilter(field, operator, _read_values(value, problems))


def _read_values(value: object, problems: list[str]) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(text, str) for text in values):
        problems.append("the value of a filter must be text or a list of texts")
        return ()
    if any(len(text) > LONGEST_VALUE for text in values):
        problems.append(f"the value of a filter must be shorter than or equal to {LONGEST_VALUE} characters")
    return tuple(values)


def _read_bounds(value: object, problems: list[str]) -> tuple[tuple[str, int], ...]:
    """The bounds of a range, by their names; a time is ISO text or milliseconds."""
    try:
        if isinstance(value, dict) and value and value.keys() <= _BOUNDS.keys():
            return tuple((name, _read_time(bound)) for name, bound in sorted(value.items()))
    except ValueError:
        pass
    problems.append(f"the value of a range must have some of {', '.join(_BOUNDS)}, each a date")
    return ()


def _read_time(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return parse_instant(str(value))
