"""HighLevel's JSON for a trial of one contact: tags and rows as they are spelt, nothing normalised. Pure."""

from __future__ import annotations

from typing import Literal

from reconciler.core.model import Json, JsonObject
from reconciler.core.observing.trial import ShownContact, WrittenRow
from reconciler.wire import LONGEST_TAG, UnreadableAnswer, one_line, read_contact, read_object


def read_shown(body: bytes) -> ShownContact:
    """A contact with its tags as they are spelt; raises UnreadableAnswer, also where there are none to be told."""
    contact, document = read_contact(body), read_object(body)["contact"]
    tags = _read_spelt(document.get("tags")) if isinstance(document, dict) else None
    if tags is None:
        raise UnreadableAnswer("the contact has no list `tags`")
    return ShownContact(contact.id, frozenset(tags), contact.updated, contact.location)


def read_written(status: int, body: bytes) -> WrittenRow:
    """The first row of an answer, its tags as they are spelt; raises UnreadableAnswer where there are no rows."""
    rows = read_object(body).get("responses")
    if not isinstance(rows, list):
        raise UnreadableAnswer("the answer has no list `responses`")
    row = rows[0] if rows else None
    # by the vendor's schema a row is a text, by its examples an object
    kind: Literal["object", "text"] = "text" if isinstance(row, str) else "object"
    if isinstance(row, str):
        row = read_object(row.encode(errors="replace"))
    if not isinstance(row, dict):
        return WrittenRow(status, "none")
    return WrittenRow(
        status,
        kind,
        _read_line(row, "contactId"),
        _read_line(row, "type"),
        _read_line(row, "message"),
        added=_read_spelt(row.get("tagsAdded")),
        removed=_read_spelt(row.get("tagsRemoved")),
    )


def _read_line(row: JsonObject, key: str) -> str:
    value = row.get(key)
    return one_line(value) if isinstance(value, str) else ""


def _read_spelt(value: Json) -> tuple[str, ...] | None:
    """Tags as they stand there; None where they are no list of texts."""
    if not isinstance(value, list):
        return None
    # half of a surrogate pair can be neither sent nor printed
    texts = [tag for tag in value if isinstance(tag, str) and len(tag) <= LONGEST_TAG and _is_whole(tag)]
    return tuple(texts) if len(texts) == len(value) else None


def _is_whole(text: str) -> bool:
    return text.encode(errors="replace").decode() == text
