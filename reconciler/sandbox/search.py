"""The contact search: filters on tags, people and dates, pages by number or by cursor, over the index. The search for
one contact with an e-mail or a phone sees the copy that a read sees.

Rules
1. Contacts come in the order in which they were added, then by id; each carries the cursor that starts after it.
2. A cursor stays good while contacts come and go: contacts behind it are not shown again, those ahead are not missed.
3. What is wrong with a search is refused with 422, but for an unknown field (`filters`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.names import ContactId, Instant, iso
from reconciler.sandbox.assumptions import Assumptions, DuplicateSearch
from reconciler.sandbox.filters import AnyFilter, SearchFilter, held_texts, meets, read_filters
from reconciler.sandbox.messages import RefusedRequest, refuse_problems, unknown_keys
from reconciler.sandbox.people import person_members
from reconciler.sandbox.world import Contact, World

MOST_A_PAGE = 500
DEEPEST_RECORD = 10_000
FLICKERING = 4
"""One contact in so many is hidden, where an index flickers."""

_KEYS = frozenset({"locationId", "pageLimit", "page", "searchAfter", "filters"})
_ADDRESSES = frozenset({"email", "phone"})

Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Query:
    """A search for the contacts that meet all `filters`: those behind the cursor `after`, or those of page `page`."""

    filters: tuple[AnyFilter, ...]
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
    filters = read_filters(document.get("filters", []), world, problems)
    refuse_problems(problems)
    return Query(filters, size, page, after)


class Search:
    """Answers queries over one world; remembers the last matches, which the next page asks for again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: tuple[tuple[AnyFilter, ...], int, int | None] | None = None
        self._keys: list[Key] = []
        self._holders: dict[str, tuple[int, dict[str, list[Contact]]]] = {}
        """By a field of addresses, the version of the index, and those who have each text."""

    def run(self, query: Query, now: Instant) -> JsonObject:
        """The document of one page."""
        # the same search of the same index is sorted once: a location of a million contacts has thousands of pages
        indexed, turn = self._world.indexed(now), self._hidden_turn(now)
        asked = (query.filters, self._world.index_version, turn)
        if asked != self._asked:
            likely = self._list_likely(indexed, query.filters)
            matches = (contact for contact in likely if self._matches(contact, query.filters))
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

    def _list_likely(self, indexed: Mapping[ContactId, Contact], filters: tuple[AnyFilter, ...]) -> Iterable[Contact]:
        """The contacts that may meet all filters: where one asks for addresses, those who have them."""
        # people are looked up one by one, among a hundred thousand
        for wanted in filters:
            if isinstance(wanted, SearchFilter) and wanted.operator == "eq" and wanted.field in _ADDRESSES:
                holders = self._find_holders(wanted.field, indexed)
                return {each.id: each for value in wanted.values for each in holders.get(value, ())}.values()
        return indexed.values()

    def _find_holders(self, field: str, indexed: Mapping[ContactId, Contact]) -> Mapping[str, list[Contact]]:
        version, holders = self._holders.get(field, (-1, {}))
        if version != self._world.index_version:
            holders = {}
            for contact in indexed.values():
                for text in held_texts(contact, field, self._world.assumptions):
                    holders.setdefault(text, []).append(contact)
            self._holders[field] = self._world.index_version, holders
        return holders

    def _matches(self, contact: Contact, filters: tuple[AnyFilter, ...]) -> bool:
        if contact.deleted is not None or contact.location != self._world.location:
            return False
        return all(meets(contact, wanted, self._world.assumptions) for wanted in filters)

    def _row_document(self, contact: Contact) -> JsonObject:
        rules = self._world.assumptions
        row = contact_document(contact, rules, in_search=True) | {"searchAfter": [contact.added, contact.id]}
        # by the sum of its letters: the same contacts in every search
        nth = rules.search_row_without_tags
        if nth and sum(contact.id.encode()) % nth == 0:
            del row["tags"]
        return row


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
