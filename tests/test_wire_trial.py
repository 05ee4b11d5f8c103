"""A trial reads answers as they are spelt, and takes for a row or a list of tags only what is one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.model.names import Instant
from reconciler.core.observing.trial import ShownContact, WrittenRow
from reconciler.wire import LONGEST_TAG, UnreadableAnswer
from reconciler.wire_trial import read_shown, read_written
from tests.build import name

ANNA = name("anna")
ROW = {"contactId": ANNA, "type": "success", "message": "done", "tagsAdded": [" A ", "b"], "tagsRemoved": []}
READ = WrittenRow(201, "object", ANNA, "success", "done", (" A ", "b"), ())


def written(*rows: Any) -> WrittenRow:
    return read_written(201, json.dumps({"responses": rows}).encode())


def test_the_first_row_is_read_as_it_is_spelt() -> None:
    assert written(ROW, ROW | {"type": "error"}) == READ


def test_a_row_may_be_a_text_that_holds_json() -> None:
    assert written(json.dumps(ROW)) == replace(READ, kind="text")


def test_the_message_of_a_row_is_one_printable_line() -> None:
    assert written(ROW | {"message": "done\n\x1b now"}) == replace(READ, message="done now")


@pytest.mark.parametrize("rows", [(), (None,), (7,), ([],)])
def test_what_is_no_row_is_none(rows: tuple[object, ...]) -> None:
    assert written(*rows) == WrittenRow(201, "none")


@pytest.mark.parametrize("tags", [None, "a", {"a": 1}, ["a", 7], ["\ud800"], ["x" * (LONGEST_TAG + 1)]])
def test_tags_that_are_no_list_of_whole_texts_are_none(tags: object) -> None:
    assert written(ROW | {"tagsAdded": tags, "type": 7}) == replace(READ, added=None, type="")
    assert written(ROW | {"tagsRemoved": tags}) == replace(READ, removed=None)
    contact = {"contact": {"id": ANNA, "tags": tags}}
    with pytest.raises(UnreadableAnswer, match=r"^the contact has no list `tags`$"):
        read_shown(json.dumps(contact).encode())


def test_a_tag_may_be_as_long_as_one_that_is_read() -> None:
    longest = "x" * LONGEST_TAG
    assert written(ROW | {"tagsAdded": [longest]}) == replace(READ, added=(longest,))


def test_an_answer_without_rows_or_a_contact_cannot_be_read() -> None:
    for body, why in (
        (b"{}", "the answer has no list `responses`"),
        (b'{"responses": {}}', "the answer has no list `responses`"),
        (b"[]", "the body is not a JSON object"),
        (b"no", "the body is not JSON"),
        (b'{"responses": ["no"]}', "the body is not JSON"),
        (b'{"responses": ["\\ud800"]}', "the body is not JSON"),
    ):
        with pytest.raises(UnreadableAnswer, match=f"^{why}$"):
            read_written(201, body)
        with pytest.raises(UnreadableAnswer):
            read_shown(body)


def test_a_contact_is_shown_with_its_tags_as_they_are_spelt() -> None:
    carried = {"id": ANNA, "tags": ["A ", "a"], "locationId": "here", "dateUpdated": "1970-01-01T00:00:00.007Z"}
    shown = read_shown(json.dumps({"contact": carried}).encode())
    assert shown == ShownContact(ANNA, frozenset({"A ", "a"}), Instant(7), "here")
    assert read_shown(json.dumps({"contact": {"id": ANNA, "tags": []}}).encode()) == ShownContact(
        ANNA, frozenset(), None
    )
