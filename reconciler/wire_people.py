"""HighLevel's JSON for people and our values: rows of a search with addresses, look-ups, custom fields. Pure.

Law: no value of a person stands in an error of this module. Source: the vendor's OpenAPI of 2026-06-19; the search's
filters from the page that it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.contact_filter import Condition, ConditionGroup, ContactFilter, FilterOperator, SoughtValue
from reconciler.core.model.names import ContactId, Instant, LocationId, iso
from reconciler.core.model.people import PersonValue, ValueKind
from reconciler.wire import (
    LONGEST_ID,
    LONGEST_TAG_SOUGHT,
    SEARCH_PAGE_LIMIT,
    Cursor,
    UnreadableAnswer,
    location_path,
    read_cursor,
    read_object,
)

DUPLICATE_PATH = "/contacts/search/duplicate"
LONGEST_VALUE = 1_000
"""The longest value of a contact that is read: no address or number has as many characters."""

_FIELDS = {ValueKind.EMAIL: "email", ValueKind.PHONE: "phone"}


@dataclass(frozen=True, slots=True)
class PersonRead:
    """A contact with its values, as the API shows it."""

    id: ContactId
    location: LocationId
    values: tuple[PersonValue, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """One page of a search for people."""

    people: tuple[PersonRead, ...]
    total: int
    """The matches on all pages, as the server counts them."""
    cursor: Cursor | None
    """Starts the next page; None on the last."""


@dataclass(frozen=True, slots=True)
class CustomField:
    """A field that a location has added to its contacts."""

    id: str
    key: str
    """Such as `contact.customer_no`."""
    name: str
    kind: str = ""
    """The vendor's name of its type, such as `TEXT`; empty where the answer lacks it."""
    options: tuple[tuple[str, str], ...] = ()
    """Of a list of text boxes the id and the label of each."""

    def is_called(self, name: str) -> bool:
        """Whether a manifest means it by `name`: its id, its key with or without `contact.`, or its name."""
        return name in (self.id, self.key, self.key.removeprefix("contact."), self.name)


def people_body(location: LocationId, cursor: Cursor | None, *, changed_since: Instant | None = None) -> bytes:
    """A page of the contacts of `location`, those that changed since an instant where one is given."""
    document: JsonObject = {"locationId": location, "pageLimit": SEARCH_PAGE_LIMIT}
    if changed_since is not None:
        document["filters"] = [{"field": "dateUpdated", "operator": "range", "value": {"gte": iso(changed_since)}}]
    if cursor is not None:
        document["searchAfter"] = list(cursor)
    return json.dumps(document).encode()


def look_up_body(location: LocationId, value: PersonValue) -> bytes:
    """A search for the contacts that have one value."""
    name = _FIELDS.get(value.kind) or f"customFields.{value.custom_field}"
    filters: list[Json] = [{"field": name, "operator": "eq", "value": value.text}]
    return json.dumps({"locationId": location, "pageLimit": SEARCH_PAGE_LIMIT, "filters": filters}).encode()


def filter_body(location: LocationId, wanted: ContactFilter, cursor: Cursor | None) -> bytes:
    """A page of the contacts that meet a filter; it names custom fields by their ids."""
    # the list of a search is a group AND of its own
    is_list = isinstance(wanted, ConditionGroup) and not wanted.is_any and not wanted.nested
    together = wanted.members if isinstance(wanted, ConditionGroup) and is_list else (wanted,)
    filters = [_filter_document(member) for member in together]
    document: JsonObject = {"locationId": location, "pageLimit": SEARCH_PAGE_LIMIT, "filters": filters}
    if cursor is not None:
        document["searchAfter"] = list(cursor)
    return json.dumps(document).encode()


def _filter_document(wanted: ContactFilter) -> JsonObject:
    if isinstance(wanted, ConditionGroup):
        members = [_filter_document(member) for member in wanted.members]
        if wanted.nested:
            # the page names the operator and shows the rest as a picture; the vendor's own pages send it in this form
            return {"field": wanted.nested, "operator": "nested", "value": members}
        return _group_document(members, is_any=wanted.is_any)
    name = f"customFields.{wanted.name}" if wanted.is_custom else wanted.name
    asked: JsonObject = {"field": name, "operator": wanted.operator.value}
    if wanted.operator is FilterOperator.RANGE:
        return asked | {"value": dict(wanted.bounds)}
    if wanted.value is None:
        return asked
    spellings = [asked | {"value": value} for value in _spell_sought(wanted)]
    return spellings[0] if len(spellings) == 1 else _group_document(spellings, is_any=not wanted.is_negative)


def _group_document(filters: Sequence[JsonObject], *, is_any: bool) -> JsonObject:
    return {"group": "OR" if is_any else "AND", "filters": filters}


def _spell_sought(condition: Condition) -> Sequence[SoughtValue]:
    """The spellings of a value: reports differ on whether the index holds text as it was written, or in lower case."""
    value = condition.value
    if not isinstance(value, str) or condition.is_exact:
        return [value]
    return list(dict.fromkeys((value, value.lower())))


def can_look_up(text: str) -> bool:
    """Whether a filter of the search takes a value of this length."""
    return len(text) <= LONGEST_TAG_SOUGHT


def path_template(path: str) -> str:
    """The path of a request with a placeholder for every id, and without its query, which holds values of people."""
    # a search for duplicates has an address in its query
    match path.partition("?")[0].split("/")[1:]:
        case ["contacts", ("search" | "bulk"), *_] | ["oauth", *_] as fixed:
            return f"/{'/'.join(fixed)}"
        case ["contacts", _]:
            return "/contacts/{contactId}"
        case ["locations", _, *parts]:
            return "/".join(["/locations/{locationId}", *parts])
    return "other"


def duplicate_path(location: LocationId, value: PersonValue) -> str:
    """The path that asks for one contact with an address or a phone number."""
    name = "email" if value.kind is ValueKind.EMAIL else "number"
    return f"{DUPLICATE_PATH}?locationId={_percent_encode(location)}&{name}={_percent_encode(value.text)}"


def _percent_encode(text: str) -> str:
    # a + would be a blank to the server, and any sign that parts a query another parameter
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}"
        for byte in text.encode(errors="surrogatepass")
    )


def custom_fields_path(location: LocationId) -> str:
    """Raises ValueError for an id that would change the path's structure."""
    return f"{location_path(location)}/customFields"


def read_people(body: bytes) -> PeoplePage:
    """A page is the last one when it is empty; its cursor is the `searchAfter` of its last contact."""
    document = read_object(body)
    items, total = document.get("contacts"), document.get("total")
    if not isinstance(items, list):
        raise UnreadableAnswer("the answer has no list `contacts`")
    # True is an int to Python, and no count
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise UnreadableAnswer("the answer has no number `total`")
    people = tuple(map(_read_person, items))
    last = items[-1] if items else None
    return PeoplePage(people, total, read_cursor(last) if isinstance(last, dict) else None)


def read_person(body: bytes) -> PersonRead | None:
    """The contact of an answer; None where the answer has none, as of a look-up that finds no contact."""
    document = read_object(body)
    if "contact" not in document:
        raise UnreadableAnswer("the answer has no `contact`")
    return None if document["contact"] is None else _read_person(document["contact"])


def read_custom_fields(body: bytes) -> tuple[CustomField, ...]:
    items = read_object(body).get("customFields")
    if not isinstance(items, list):
        raise UnreadableAnswer("the answer has no list `customFields`")
    return tuple(_read_custom_field(item) for item in items if isinstance(item, dict))


def _read_custom_field(item: JsonObject) -> CustomField:
    name, key, called, kind = (_text(item.get(member)) for member in ("id", "fieldKey", "name", "dataType"))
    return CustomField(name, key, called, kind, _read_options(item))


def _read_options(item: JsonObject) -> tuple[tuple[str, str], ...]:
    # the vendor's schema has no ids here, and its page on the search asks for them; accounts show them in either list
    listed = [option for key in ("textBoxListOptions", "picklistOptions") for option in _list_of(item.get(key))]
    found = ((_text(option.get("id")), _text(option.get("label"))) for option in listed if isinstance(option, dict))
    return tuple(dict.fromkeys(option for option in found if option[0]))


def _list_of(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else ()


def _read_person(item: Json) -> PersonRead:
    contact = item.get("id") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(contact, str) or not 0 < len(contact) <= LONGEST_ID:
        raise UnreadableAnswer(f"a contact has no `id` of 1 to {LONGEST_ID} characters")
    return PersonRead(ContactId(contact), LocationId(_text(item.get("locationId"))), tuple(_read_values(item)))


def _read_values(item: JsonObject) -> Iterator[PersonValue]:
    """The values that can be read; one of an unexpected form is left out: no row is matched by it."""
    for kind, own, additional, inner in (
        (ValueKind.EMAIL, "email", "additionalEmails", "email"),
        (ValueKind.PHONE, "phone", "additionalPhones", "phone"),
    ):
        more = item.get(additional)
        for written in (item.get(own), *(more if isinstance(more, list) else ())):
            # accounts show additional ones as texts, or as objects with a label
            text = _text(written.get(inner) if isinstance(written, dict) else written)
            if text:
                yield PersonValue(kind, text)
    fields = item.get("customFields")
    for entry in fields if isinstance(fields, list) else ():
        if isinstance(entry, dict) and (name := _text(entry.get("id"))):
            yield from (PersonValue(ValueKind.FIELD, text, name) for text in _field_texts(entry.get("value")))


def _field_texts(value: Json) -> Iterator[str]:
    """The texts of a custom field's value: a number is the text that it is written as, a list has several."""
    for item in value if isinstance(value, list) else (value,):
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if text := json.dumps(item) if is_number else _text(item):
            yield text


def _text(value: Json) -> str:
    """Empty for a value that is no text, or too long for one of a person."""
    return value if isinstance(value, str) and len(value) <= LONGEST_VALUE else ""
