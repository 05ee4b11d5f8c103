"""The contact search: filters on tags, pages by number or by cursor, over the index.

Rules
1. Contacts come in the order in which they were added, then by id; each carries the cursor that starts after it.
2. A cursor stays good while contacts come and go: contacts behind it are not shown again, those ahead are not missed.
3. Filter values are compared as they stand: tags are stored in lower case, so a capital letter finds nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.names import ContactId, Instant, Tag, iso
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import refuse_problems, unknown_keys
from reconciler.sandbox.world import Contact, World

MOST_A_PAGE = 500
DEEPEST_RECORD = 10_000
LONGEST_VALUE = 75
FLICKERING = 4
"""One contact in so many is hidden, where an index flickers."""

_KEYS = frozenset({"locationId", "pageLimit", "page", "searchAfter", "filters"})
_FILTER_KEYS = frozenset({"field", "operator", "value"})

Key = tuple[int, str]
Test = Callable[[frozenset[Tag], tuple[str, ...]], bool]

_TESTS: dict[str, Test] = {
    "eq": lambda tags, values: tags.issuperset(values),
    "not_eq": lambda tags, values: tags.isdisjoint(values),
    "contains": lambda tags, values: any(value in tag for tag in tags for value in values),
    "not_contains": lambda tags, values: not any(value in tag for tag in tags for value in values),
    "exists": lambda tags, _values: bool(tags),
    "not_exists": lambda tags, _values: not tags,
}
_WITHOUT_VALUE = frozenset({"exists", "not_exists"})


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """One condition on the tags of a contact."""

    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A search for the contacts that meet all `filters`: those behind the cursor `after`, or those of page `page`."""

    filters: tuple[SearchFilter, ...]
    size: int
    page: int
    after: Key | None


def read_query(document: JsonObject, rules: Assumptions) -> Query:
    """The search in a body; raises RefusedRequest (422) with every problem."""
    problems = unknown_keys(document, _KEYS) if rules.extra_keys_refused else []
    size = _read_positive(document, "pageLimit", problems, most=MOST_A_PAGE)
    page = _read_positive(document, "page", problems) if "page" in document else 1
    cursor = document.get("searchAfter")
    if cursor is not None and "page" in document:
        problems.append("page can not be used with searchAfter")
    after = None if cursor is None else _read_key(cursor, problems)
    if cursor is None and page * size > DEEPEST_RECORD:
        problems.append(f"use searchAfter for records past {DEEPEST_RECORD}")
    filters = _read_filters(document.get("filters", []), problems)
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
        if test.operator in {"eq", "not_eq"} and not self._world.assumptions.eq_needs_all:
            carries = not contact.tags.isdisjoint(test.values)
            return carries is (test.operator == "eq")
        return _TESTS[test.operator](contact.tags, test.values)

    def _row_document(self, contact: Contact) -> JsonObject:
        row = contact_document(contact) | {"searchAfter": [contact.added, contact.id]}
        # by the sum of its letters: the same contacts in every search
        nth = self._world.assumptions.search_row_without_tags
        if nth and sum(contact.id.encode()) % nth == 0:
            del row["tags"]
        return row


def contact_document(contact: Contact) -> JsonObject:
    """A contact as the vendor shows it, without the fields that have nothing to do with tags."""
    return {
        "id": contact.id,
        "locationId": contact.location,
        "dnd": False,
        "tags": sorted(contact.tags),
        "dateAdded": iso(contact.added),
        "dateUpdated": iso(contact.updated),
    }


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


def _read_filters(value: object, problems: list[str]) -> tuple[SearchFilter, ...]:
    if not isinstance(value, list):
        problems.append("filters must be an array")
        return ()
    tests = [_read_filter(item, problems) for item in value]
    return tuple(test for test in tests if test is not None)


def _read_filter(item: object, problems: list[str]) -> SearchFilter | None:
    if not isinstance(item, dict) or not item.keys() <= _FILTER_KEYS or item.get("field") != "tags":
        problems.append("each filter must have a field, an operator and a value; the sandbox knows the field tags")
        return None
    operator, value = item.get("operator"), item.get("value")
    if not isinstance(operator, str) or operator not in _TESTS:
        problems.append(f"operator must be one of {', '.join(_TESTS)}; not {json.dumps(operator)[:40]}")
        return None
    values = [value] if isinstance(value, str) else value
    if operator in _WITHOUT_VALUE:
        return SearchFilter(operator, ())
    if not isinstance(values, list) or not values or not all(isinstance(text, str) for text in values):
        problems.append("the value of a filter must be text or a list of texts")
        return None
    if any(len(text) > LONGEST_VALUE for text in values):
        problems.append(f"the value of a filter must be shorter than or equal to {LONGEST_VALUE} characters")
    return SearchFilter(operator, tuple(values))
