"""HighLevel's JSON and our values: the only place that knows the vendor's field names. Pure.

Law: a request body is built from `contacts`, `tags` and `locationId` and nothing else. Removing all tags of a contact,
or overwriting them, has no spelling here. Source: the vendor's OpenAPI of 2026-06-19, pinned by `tests/test_wire.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet, normalise_tag, parse_instant
from reconciler.core.model.outcome import REJECTIONS, Action, Rejection, ResponseRow, ResponseRows

BULK_PATH = "/contacts/bulk/tags/update/"
SEARCH_PATH = "/contacts/search"
API_VERSION = "2021-07-28"
SEARCH_PAGE_LIMIT = 500
MESSAGE_LIMIT = 200
LONGEST_ID = 200
LONGEST_TAG = 10_000
LONGEST_CURSOR = 10
LONGEST_TAG_SOUGHT = 75
"""The longest value that a filter of the search takes."""
FORBIDDEN = 403
NO_ACCESS = "the token does not have access to this location"
"""The vendor's words, beside a 403, for a contact of another location."""
# the documented words for a contact that is not there to be read, and those of live accounts
_ABSENCES = REJECTIONS | {"contact not found": Rejection.DELETED}


Cursor = tuple[Json, ...]


class UnreadableAnswer(ValueError):
    """The body differs from the vendor's documents."""


@dataclass(frozen=True, slots=True)
class BulkUpdate:
    """The one write there is: add or remove `tags` on `contacts` of `location`."""

    action: Action
    location: LocationId
    contacts: tuple[ContactId, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContactRead:
    """A contact as the API shows it."""

    id: ContactId
    location: LocationId
    tags: TagSet | None
    """None where the answer lacks them: unknown, not empty."""
    updated: Instant | None
    served: Instant | None = None
    """The server's time when it answered, where a header told it."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a contact search."""

    contacts: tuple[ContactRead, ...]
    total: int
    """The matches on all pages, as the server counts them."""
    cursor: Cursor | None
    """Starts the next page; None on the last."""


def bulk_path(update: BulkUpdate) -> str:
    return BULK_PATH + update.action.value


def bulk_body(update: BulkUpdate) -> bytes:
    # spelt out, never merged from elsewhere: no other key can get into the body
    document = {"contacts": list(update.contacts), "tags": list(update.tags), "locationId": update.location}
    return json.dumps(document).encode()


def read_bulk_answer(body: bytes) -> ResponseRows:
    """The rows of an answer; raises UnreadableAnswer where there is no list of rows."""
    by_text = _read_by_text(body)
    if by_text is not None:
        return by_text
    rows = read_object(body).get("responses")
    if not isinstance(rows, list):
        raise UnreadableAnswer("the answer has no list `responses`")
    return _read_rows(rows)


def _read_rows(items: Iterable[object]) -> ResponseRows:
    """The rows as `_read_row` reads each of them; those that differ by their contact alone are read once."""
    alike: dict[object, ResponseRow] = {}
    contacts, said = [], []
    for item in items:
        try:
            contact, form = _take_apart(item)
            row = alike.get(form)
        except (KeyError, TypeError):
            row = _read_row(item)
            contact = row.contact
        else:
            if row is None:
                row = alike[form] = _read_row(item)
        contacts.append(contact)
        said.append(row)
    return ResponseRows(contacts, said)


_ROWS, _CONTACT = '"responses":[', '"contactId":"'


def _read_by_text(body: bytes) -> ResponseRows | None:
    """As `_read_rows`, each wording of a row parsed once; None where the text does not prove what a parser would read.

    Half of the time that an answer of 500 rows takes is spent on parsing the same words for each contact.
    """
    try:
        head, _, rest = body.decode().partition(_ROWS)
    except UnicodeDecodeError:
        return None
    inner, _, tail = rest.rpartition("]")
    # what stands in each row before its contact, the same for all of them
    opening = inner.partition(_CONTACT)[0]
    rows = f"{inner},{opening}".split(_CONTACT)[1:]
    if not rows or not _is_frame(head, tail) or not opening.startswith("{") or not {*"{}\\"}.isdisjoint(opening[1:]):
        return None
    contacts, _, wordings = zip(*(row.partition('"') for row in rows), strict=True)
    names, distinct = "".join(contacts), dict.fromkeys(wordings)
    # a name with an escape is not what it looks like; and wordings that rows do not share are parsed faster at once
    if "\\" in names or not names.isprintable() or 2 * len(distinct) > len(wordings):
        return None
    read = [row for wording in distinct if (row := _read_wording(opening, wording)) is not None]
    if len(read) < len(distinct):
        return None
    # the same tags may come in another order
    same = {row: row for row in read}
    alike = {wording: same[row] for wording, row in zip(distinct, read, strict=True)}
    return ResponseRows(list(map(ContactId, contacts)), list(map(alike.__getitem__, wordings)))


def _is_frame(head: str, tail: str) -> bool:
    """Whether the body is an object whose only `responses` is the list that stands between these."""
    frame = f"{head}{_ROWS}]{tail}"
    # so it begins in UTF-8 alone; and no name in it is an escaped `responses`
    if not frame.startswith('{"') or "\\" in frame or frame.count('"responses"') != 1:
        return False
    try:
        return bool(json.loads(frame).get("responses") == [])
    except (ValueError, RecursionError):
        return False


@lru_cache(maxsize=2_000)
def _read_wording(opening: str, wording: str) -> ResponseRow | None:
    """The row but for its contact; None where the text is not one readable object with one contact, and nothing else.

    `wording`: from the end of the contact's name to the contact of the next row.
    """
    rest = wording.removesuffix(f"}},{opening}")
    if rest == wording or not {*"{}"}.isdisjoint(rest):
        return None
    try:
        members = json.loads(f'{opening}{_CONTACT}"{rest}}}', object_pairs_hook=list)
        return _read_row(dict(members)) if [name for name, _ in members].count("contactId") == 1 else None
    # UnreadableAnswer too: what is wrong with the answer is told by the reader of any answer
    except (ValueError, RecursionError):
        return None


def _take_apart(item: Any) -> tuple[ContactId, object]:
    """The contact of a row, and all that it says of it; KeyError or TypeError for a row that is no success."""
    contact, old, added, removed = item["contactId"], item["oldTags"], item["tagsAdded"], item["tagsRemoved"]
    # a text is no list of its letters
    if not (type(contact) is str and type(old) is type(added) is type(removed) is list):
        raise TypeError
    # True equals 1, but neither is a tag: lists that are equal are read alike
    return ContactId(contact), (item["type"], item["message"], tuple(old), tuple(added), tuple(removed))


def _read_row(item: object) -> ResponseRow:
    if isinstance(item, str):
        # the vendor's schema types the rows as strings, its examples are objects: both are read
        try:
            item = json.loads(item)
        except (ValueError, RecursionError) as error:
            raise UnreadableAnswer("a row is neither an object nor one in a string") from error
    if not isinstance(item, dict):
        raise UnreadableAnswer("a row is not an object")
    return ResponseRow(
        contact=ContactId(_read_text(item, "contactId")),
        type=_read_text(item, "type"),
        message=one_line(_read_text(item, "message")),
        old=_read_tags(item.get("oldTags")),
        added=_read_tags(item.get("tagsAdded")),
        removed=_read_tags(item.get("tagsRemoved")),
    )


def search_body(location: LocationId, cursor: Cursor | None, *, tag: str = "") -> bytes:
    """A page of the contacts of `location`, those that carry `tag` where it is given."""
    document: JsonObject = {"locationId": location, "pageLimit": SEARCH_PAGE_LIMIT}
    if tag:
        document["filters"] = [{"field": "tags", "operator": "eq", "value": [tag]}]
    if cursor is not None:
        document["searchAfter"] = list(cursor)
    return json.dumps(document).encode()


def probe_body(location: LocationId) -> bytes:
    """A search for any contact of `location`, to learn whether the token may read there."""
    return json.dumps({"locationId": location, "pageLimit": 1}).encode()


def tags_path(location: LocationId) -> str:
    """The path of a location's list of tags; raises ValueError for an id that would change the path's structure."""
    return f"{location_path(location)}/tags"


def location_path(location: LocationId) -> str:
    """Raises ValueError for an id that would change the path's structure."""
    return f"/locations/{_path_segment(location)}"


def read_page(body: bytes) -> Page:
    """A page is the last one when it is empty; its cursor is the `searchAfter` of its last contact."""
    document = read_object(body)
    items, total = document.get("contacts"), document.get("total")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnreadableAnswer("the answer has no list `contacts`")
    # True is an int to Python, and no count
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise UnreadableAnswer("the answer has no number `total`")
    return Page(tuple(_contact_of(item) for item in items), total, read_cursor(items[-1]) if items else None)


def read_tag_list(body: bytes) -> int:
    """How many tags a location has; raises UnreadableAnswer where there is no list of them."""
    tags = read_object(body).get("tags")
    if not isinstance(tags, list):
        raise UnreadableAnswer("the answer has no list `tags`")
    return len(tags)


def read_cursor(item: JsonObject) -> Cursor | None:
    after = item.get("searchAfter")
    if not isinstance(after, list):
        return None
    # it is sent back with every page and kept to detect repeated pages: a server must not make it grow
    if len(after) > LONGEST_CURSOR or not all(_is_plain(value) for value in after):
        raise UnreadableAnswer("`searchAfter` is no short list of numbers and texts")
    return tuple(after)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= LONGEST_TAG)


def read_rows(items: object) -> tuple[ContactRead, ...]:
    """Rows as the search shows them, from a dump; raises UnreadableAnswer."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnreadableAnswer("a dump is a list of contacts")
    return tuple(_contact_of(item) for item in items)


def contact_path(contact: ContactId) -> str:
    """The path of one contact; raises ValueError for an id that would change the path's structure."""
    return f"/contacts/{_path_segment(contact)}"


def _path_segment(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError("an id with characters that a path cannot carry")
    return name


def read_contact(body: bytes) -> ContactRead:
    document = read_object(body).get("contact")
    if not isinstance(document, dict):
        raise UnreadableAnswer("the answer has no object `contact`")
    return _contact_of(document)


def read_error(body: bytes) -> tuple[str, ...]:
    """The messages of an error body, each in one line; none where the body has not the vendor's shape."""
    try:
        message = read_object(body).get("message", "")
    except UnreadableAnswer:
        return ()
    texts = message if isinstance(message, list) else [message]
    return tuple(line for text in texts if (line := " ".join(str(text).split())))


def classify_absence(said: Sequence[str], status: int) -> Rejection | None:
    """The reason for which a contact cannot be read; None where a message gives another reason, or two differ."""
    reasons = _ABSENCES | ({NO_ACCESS: Rejection.FOREIGN} if status == FORBIDDEN else {})
    # an unknown message stands in the set as None: a contact counts as absent only where every message says so
    rejections = {reasons.get(message.lower().rstrip(".")) for message in said}
    return rejections.pop() if len(rejections) == 1 else None


def one_line(text: str) -> str:
    """A server's message as one short printable line."""
    # it goes to terminals, logs and reports, where a control character would be an instruction
    printable = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:MESSAGE_LIMIT]


def bulk_answer(rows: Sequence[ResponseRow]) -> JsonObject:
    """The document with which the vendor answers; the sandbox's side of `read_bulk_answer`."""
    errors = sum(row.type == "error" for row in rows)
    return {"succeded": True, "errorCount": errors, "responses": [row_document(row) for row in rows]}


def row_document(row: ResponseRow) -> JsonObject:
    document: JsonObject = {"contactId": row.contact, "message": row.message, "type": row.type}
    lists = {"oldTags": row.old, "tagsAdded": row.added, "tagsRemoved": row.removed}
    return document | {key: sorted(tags) for key, tags in lists.items() if tags is not None}


def _contact_of(item: JsonObject) -> ContactRead:
    try:
        updated = parse_instant(_read_text(item, "dateUpdated"))
    except ValueError:
        # without its date a contact is still read; it only proves less about a write in doubt
        updated = None
    contact = _read_text(item, "id")
    if not 0 < len(contact) <= LONGEST_ID:
        raise UnreadableAnswer(f"`id` has {len(contact):,} characters, and an id 1 to {LONGEST_ID}")
    return ContactRead(
        id=ContactId(contact),
        location=LocationId(_read_text(item, "locationId", default="")),
        tags=_read_tags(item.get("tags")),
        updated=updated,
    )


# JSON may escape half of a surrogate pair, which no UTF-8 can carry: it could neither be stored nor sent
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_object(body: bytes) -> JsonObject:
    """The object in a body; raises UnreadableAnswer."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        # brackets nested deeply enough end the parser's recursion, not its input
        raise UnreadableAnswer("the body is not JSON") from error
    if not isinstance(document, dict):
        raise UnreadableAnswer("the body is not a JSON object")
    return document


def _read_text(item: JsonObject, key: str, *, default: str | None = None) -> str:
    value = item.get(key, default)
    if not isinstance(value, str):
        raise UnreadableAnswer(f"`{key}` is not text")
    return value


def _read_tags(value: object) -> TagSet | None:
    """None where it is not a list of texts of sensible length; half a surrogate pair is no text."""
    if not isinstance(value, list) or not all(_is_tag(tag) for tag in value):
        return None
    return frozenset(normalise_tag(tag) for tag in value)


def _is_tag(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TAG and not _SURROGATE.search(value)
