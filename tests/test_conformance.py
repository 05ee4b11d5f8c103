"""Answers as bytes, and what becomes of each contact: rows decide, whatever stands around them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Action, Outcome, classify_rows
from reconciler.wire import UnreadableAnswer, read_bulk_answer

ANNA, BERT = "qFSqySFkVvNzOSqgGqFi", "3ualbhnV7j3n3a9r2moD"
INVALID, DELETED = "contact id is not a valid firebase id", "contact is deleted"
FOREIGN = "contact does not belong to location"
APPLIED, NOOP, REJECTED, HELD, DOUBT = "applied", "noop", "rejected", "held", "in_doubt"


def ok(contact: str = ANNA, old: Any = (), added: Any = ("vip",), removed: Any = (), **more: Any) -> dict[str, Any]:
    """A row of success; a list that is None is left out."""
    lists = {"oldTags": old, "tagsAdded": added, "tagsRemoved": removed}
    told = {
        key: list(value) if isinstance(value, tuple) else value for key, value in lists.items() if value is not None
    }
    return {"contactId": contact, "message": "Tags updated", "type": "success"} | told | more


def bad(message: str, contact: str = ANNA, **more: Any) -> dict[str, Any]:
    return {"contactId": contact, "message": message, "type": "error"} | more


def answer(*rows: Any, **around: Any) -> bytes:
    return json.dumps({"succeded": True, "errorCount": 0, "responses": list(rows)} | around).encode()


def without(key: str, *rows: Any) -> bytes:
    document = json.loads(answer(*rows))
    del document[key]
    return json.dumps(document).encode()


EXAMPLE = answer(
    ok(ANNA, ("tag-1", "tag-2"), (), ()),
    bad(INVALID, "abcdef"),
    bad(DELETED, ANNA),
    bad(FOREIGN, BERT),
)
"""The vendor's own: `succeded` and no errors, four rows, one contact twice."""

ADDED = [
    ("the vendor's example: the contact with two rows", EXAMPLE, DOUBT),
    ("a tag is added", answer(ok()), APPLIED),
    ("a tag is there already", answer(ok(old=("vip",), added=())), NOOP),
    ("other tags stay", answer(ok(old=("a", "b"))), APPLIED),
    ("tags in another case", answer(ok(old=("A",), added=("VIP",))), APPLIED),
    ("tags with spaces around", answer(ok(added=(" vip ",))), APPLIED),
    ("succeded is false", answer(ok(), succeded=False), APPLIED),
    ("succeded is missing", without("succeded", ok()), APPLIED),
    ("succeeded too, as in v3", answer(ok(), succeeded=True), APPLIED),
    ("only succeeded", answer(ok(), succeeded=True, succeded=None), APPLIED),
    ("the spellings differ", answer(ok(), succeeded=False, succeded=True), APPLIED),
    ("errors are counted and there are none", answer(ok(), errorCount=7), APPLIED),
    ("no errors are counted and there is one", answer(bad(DELETED), errorCount=0), REJECTED),
    ("errorCount is missing", without("errorCount", ok()), APPLIED),
    ("errorCount is text", answer(ok(), errorCount="none"), APPLIED),
    ("fields that nobody knows, as in v3", answer(ok(traceId="x", id=3), traceId="t", meta={}), APPLIED),
    ("rows as text", answer(json.dumps(ok())), APPLIED),
    ("rows as text and as objects", answer(json.dumps(bad(INVALID, BERT)), ok()), APPLIED),
    ("the rows shuffled", answer(bad(INVALID, "abcdef"), ok(BERT), ok()), APPLIED),
    ("a contact that was not sent", answer(ok("AnotherContactAltogether"), ok()), APPLIED),
    ("only contacts that were not sent", answer(ok("AnotherContactAltogether")), DOUBT),
    ("an id in another case", answer(ok(ANNA.upper())), DOUBT),
    ("no row", answer(ok(BERT)), DOUBT),
    ("no rows at all", answer(), DOUBT),
    ("the same row twice", answer(ok(), ok()), DOUBT),
    ("a success and an error", answer(ok(), bad(DELETED)), DOUBT),
    ("two errors alike", answer(bad(DELETED), bad(DELETED)), DOUBT),
    ("an invalid id", answer(bad(INVALID)), REJECTED),
    ("deleted", answer(bad(DELETED)), REJECTED),
    ("another location", answer(bad(FOREIGN)), REJECTED),
    ("an error with tags as they were", answer(bad(DELETED, oldTags=["a"], tagsAdded=[], tagsRemoved=[])), REJECTED),
    ("an error that changed something", answer(bad(DELETED, tagsAdded=["vip"])), DOUBT),
    ("an error nobody knows", answer(bad("Internal error")), HELD),
    ("an error in another case", answer(bad("Contact is deleted")), REJECTED),
    ("an error without words", answer(bad("")), HELD),
    ("a type nobody knows", answer(ok(type="warning")), HELD),
    ("a type in another case", answer(ok(type="SUCCESS")), HELD),
    ("without oldTags", answer(ok(old=None)), DOUBT),
    ("without tagsAdded", answer(ok(added=None)), DOUBT),
    ("without tagsRemoved", answer(ok(removed=None)), DOUBT),
    ("without any tags", answer(ok(old=None, added=None, removed=None)), DOUBT),
    ("tags that are null", answer({**ok(), "oldTags": None}), DOUBT),
    ("tags that are text", answer(ok(old="a,b")), DOUBT),
    ("tags that are numbers", answer({**ok(), "tagsAdded": [1]}), DOUBT),
    ("a tag is added that nobody asked for", answer(ok(added=("vip", "other"))), DOUBT),
    ("the tag is not added and was not there", answer(ok(added=())), DOUBT),
    ("the tag is added although it was there", answer(ok(old=("vip",))), DOUBT),
    ("a tag is removed on the way", answer(ok(old=("a",), removed=("a",))), DOUBT),
    ("a repeated tag", answer(ok(old=("a", "a"), added=("vip", "vip"))), APPLIED),
]

REMOVED = [
    ("the tag is removed", answer(ok(old=("vip",), added=(), removed=("vip",))), APPLIED),
    ("the tag was not there", answer(ok(old=("a",), added=(), removed=())), NOOP),
    ("the tag stays", answer(ok(old=("vip",), added=(), removed=())), DOUBT),
    ("a tag too many goes", answer(ok(old=("vip", "a"), added=(), removed=("vip", "a"))), DOUBT),
    ("what was not there goes", answer(ok(old=(), added=(), removed=("vip",))), DOUBT),
    ("a tag comes", answer(ok(old=("vip",), added=("a",), removed=("vip",))), DOUBT),
    ("deleted", answer(bad(DELETED)), REJECTED),
]

UNREADABLE = [
    b"",
    b"null",
    b"[]",
    b"<html>502</html>",
    answer(ok())[:-9],
    b'{"succeded": true, "errorCount": 0}',
    b'{"responses": {}}',
    b'{"responses": [7]}',
    b'{"responses": ["no json"]}',
    answer({**ok(), "contactId": 7}),
    answer({**ok(), "type": None}),
]


@pytest.mark.parametrize(("body", "outcome"), [case[1:] for case in ADDED], ids=[case[0] for case in ADDED])
def test_the_answer_to_an_addition(body: bytes, outcome: str) -> None:
    assert judged(Action.ADD, body) == outcome


@pytest.mark.parametrize(("body", "outcome"), [case[1:] for case in REMOVED], ids=[case[0] for case in REMOVED])
def test_the_answer_to_a_removal(body: bytes, outcome: str) -> None:
    assert judged(Action.REMOVE, body) == outcome


@pytest.mark.parametrize("body", UNREADABLE, ids=repr)
def test_an_answer_without_rows_is_no_answer(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        read_bulk_answer(body)


def judged(action: Action, body: bytes) -> Outcome:
    return classify_rows(action, [ContactId(ANNA)], [Tag("vip")], read_bulk_answer(body))[ContactId(ANNA)].outcome
