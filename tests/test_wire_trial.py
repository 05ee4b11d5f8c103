"""A trial reads answers as they are spelt, and takes for a row or a list of tags only what is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.core.observing.trial import WrittenRow
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
    row = written(json.dumps(ROW))
    assert (row.kind, row.added) == ("text", (" A ", "b"))


@pytest.mark.parametrize("rows", [(), (None,), (7,), ([],)])
def test_what_is_no_row_is_none(rows: tuple[object, ...]) -> None:
    assert written(*rows) == WrittenRow(201, "none")


@pytest.mark.parametrize("tags", [None, "a", {"a": 1}, ["a", 7], ["\ud800"], ["x" * (LONGEST_TAG + 1)]])
def test_tags_that_are_no_list_of_whole_texts_are_none(tags: object) -> None:
    row = written(ROW | {"tagsAdded": tags, "type": 7})
    assert (row.added, row.removed, row.type) == (None, (), "")
    contact = {"contact": {"id": ANNA, "tags": tags}}
    with pytest.raises(UnreadableAnswer):
        read_shown(json.dumps(contact).encode())


def test_an_answer_without_rows_or_a_contact_cannot_be_read() -> None:
    for body in (b"{}", b'{"responses": {}}', b"[]", b"no"):
        with pytest.raises(UnreadableAnswer):
            read_written(201, body)
        with pytest.raises(UnreadableAnswer):
            read_shown(body)


def test_a_contact_is_shown_with_its_tags_as_they_are_spelt() -> None:
    shown = read_shown(json.dumps({"contact": {"id": ANNA, "tags": ["A ", "a"], "locationId": "here"}}).encode())
    assert (shown.id, shown.tags, shown.location, shown.updated) == (ANNA, {"A ", "a"}, "here", None)
