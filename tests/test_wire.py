"""The wire reads what the vendor documents, writes nothing else, and calls everything else unreadable."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, iso, normalise_tag
from reconciler.core.model.outcome import Action, Outcome, Rejection, ResponseRow, classify_rows
from reconciler.wire import (
    LONGEST_CURSOR,
    LONGEST_ID,
    LONGEST_TAG,
    MESSAGE_LIMIT,
    SEARCH_PAGE_LIMIT,
    BulkUpdate,
    ContactRead,
    Page,
    UnreadableAnswer,
    bulk_answer,
    bulk_body,
    bulk_path,
    classify_absence,
    contact_path,
    location_path,
    one_line,
    probe_body,
    read_bulk_answer,
    read_contact,
    read_error,
    read_page,
    read_rows,
    read_tag_list,
    search_body,
    tags_path,
)

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
TWICE, INVALID, FOREIGN = ContactId("qFSqySFkVvNzOSqgGqFi"), ContactId("abcdef"), ContactId("3ualbhnV7j3n3a9r2moD")

DOCUMENTED = {
    "succeded": True,
    "errorCount": 0,
    "responses": [
        {
            "contactId": TWICE,
            "message": "Tags updated",
            "type": "success",
            "oldTags": ["tag-1", "tag-2"],
            "tagsAdded": [],
            "tagsRemoved": [],
        },
        {"contactId": INVALID, "message": "contact id is not a valid firebase id", "type": "error"},
        {"contactId": TWICE, "message": "contact is deleted", "type": "error"},
        {"contactId": FOREIGN, "message": "contact does not belong to location", "type": "error"},
    ],
}
"""The facts of the vendor's example: three error rows beside `errorCount: 0`, and one contact twice."""

tags = st.frozensets(st.text(max_size=8).map(normalise_tag), max_size=4)
rows = st.builds(
    ResponseRow,
    contact=st.text(max_size=20).map(ContactId),
    type=st.sampled_from(("success", "error", "new")),
    message=st.text(max_size=20),
    old=st.none() | tags,
    added=st.none() | tags,
    removed=st.none() | tags,
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("responses", "contacts", "contact", "total", "id", "tags", "message", "searchAfter")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
hostile = st.binary(max_size=60) | documents.map(lambda found: json.dumps(found).encode())


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def test_the_documented_example_is_read_row_by_row() -> None:
    found = tuple(read_bulk_answer(encoded(DOCUMENTED)))

    assert found == (
        ResponseRow(
            TWICE, "success", "Tags updated", frozenset({Tag("tag-1"), Tag("tag-2")}), frozenset(), frozenset()
        ),
        ResponseRow(INVALID, "error", "contact id is not a valid firebase id"),
        ResponseRow(TWICE, "error", "contact is deleted"),
        ResponseRow(FOREIGN, "error", "contact does not belong to location"),
    )


def test_rows_decide_not_the_counters() -> None:
    found = classify_rows(Action.ADD, [TWICE, INVALID, FOREIGN], [Tag("tag-1")], read_bulk_answer(encoded(DOCUMENTED)))

    assert {name: (verdict.outcome, verdict.rejection) for name, verdict in found.items()} == {
        TWICE: (Outcome.IN_DOUBT, None),
        INVALID: (Outcome.REJECTED, Rejection.INVALID),
        FOREIGN: (Outcome.REJECTED, Rejection.FOREIGN),
    }


@pytest.mark.parametrize(
    "change", [{"succeded": None}, {"succeeded": True}, {"errorCount": "many"}, {"traceId": "x"}, {"succeded": False}]
)
def test_nothing_but_the_rows_is_looked_at(change: dict[str, Any]) -> None:
    assert list(read_bulk_answer(encoded(DOCUMENTED | change))) == list(read_bulk_answer(encoded(DOCUMENTED)))


@given(st.lists(rows, max_size=5), st.booleans())
def test_an_answer_comes_back_as_it_was(sent: list[ResponseRow], as_text: bool) -> None:
    document = bulk_answer(sent)
    if as_text:
        document["responses"] = [json.dumps(row) for row in document["responses"]]

    found = list(read_bulk_answer(encoded(document)))
    assert found == [replace(row, message=one_line(row.message)) for row in sent]


NO_ROW = "a row is neither an object nor one in a string"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({}, "`contactId` is not text"),
        ({"contactId": TWICE, "message": "m"}, "`type` is not text"),
        ({"contactId": TWICE, "type": "success"}, "`message` is not text"),
        ({"contactId": 7, "message": "m", "type": "success"}, "`contactId` is not text"),
        ({"contactId": TWICE, "message": "m", "type": ["success"]}, "`type` is not text"),
        ("free text", NO_ROW),
        ('"text in text"', "a row is not an object"),
        ("[" * 100_000, NO_ROW),
        (7, "a row is not an object"),
        (None, "a row is not an object"),
    ],
)
def test_a_row_that_is_none_makes_the_answer_unreadable(row: object, why: str) -> None:
    assert read_or_say(encoded({"responses": [row]})) == why


NO_ID = "`id` has {} characters, and an id 1 to 200"
NO_CURSOR = "`searchAfter` is no short list of numbers and texts"
NO_JSON, NO_OBJECT = "the body is not JSON", "the body is not a JSON object"


def a_page(**change: object) -> dict[str, object]:
    return {"contacts": [{"id": TWICE}], "total": 1} | change


@pytest.mark.parametrize(
    ("read", "document", "why"),
    [
        (read_bulk_answer, {}, "the answer has no list `responses`"),
        (read_bulk_answer, {"responses": {}}, "the answer has no list `responses`"),
        (read_bulk_answer, [], NO_OBJECT),
        (read_page, a_page(contacts=None), "the answer has no list `contacts`"),
        (read_page, a_page(contacts=[{"id": TWICE}, 7]), "the answer has no list `contacts`"),
        (read_page, a_page(total=None), "the answer has no number `total`"),
        (read_page, a_page(total=True), "the answer has no number `total`"),
        (read_page, a_page(total=-1), "the answer has no number `total`"),
        (read_page, a_page(total=1.0), "the answer has no number `total`"),
        (read_page, a_page(contacts=[{}]), "`id` is not text"),
        (read_page, a_page(contacts=[{"id": ""}]), NO_ID.format("0")),
        (read_page, a_page(contacts=[{"id": "x" * 1_234}]), NO_ID.format("1,234")),
        (read_page, a_page(contacts=[{"id": TWICE, "locationId": 7}]), "`locationId` is not text"),
        (read_page, a_page(contacts=[{"id": TWICE, "searchAfter": [0] * (LONGEST_CURSOR + 1)}]), NO_CURSOR),
        (read_page, a_page(contacts=[{"id": TWICE, "searchAfter": [1, []]}]), NO_CURSOR),
        (read_page, a_page(contacts=[{"id": TWICE, "searchAfter": ["x" * (LONGEST_TAG + 1)]}]), NO_CURSOR),
        (read_tag_list, {"tags": {}}, "the answer has no list `tags`"),
        (read_contact, {"contact": []}, "the answer has no object `contact`"),
        (read_contact, {"contact": {"id": "x" * (LONGEST_ID + 1)}}, NO_ID.format("201")),
        (read_contact, 7, NO_OBJECT),
    ],
)
def test_an_answer_of_another_shape_is_unreadable_and_says_why(
    read: Callable[[bytes], object], document: object, why: str
) -> None:
    with pytest.raises(UnreadableAnswer) as told:
        read(encoded(document))
    assert str(told.value) == why


@pytest.mark.parametrize("items", [{}, None, "a", [{"id": TWICE}, 7]])
def test_a_dump_is_a_list_of_contacts(items: object) -> None:
    with pytest.raises(UnreadableAnswer) as told:
        read_rows(items)
    assert str(told.value) == "a dump is a list of contacts"


def test_the_rows_of_a_dump_are_read_as_those_of_a_search() -> None:
    items = [{"id": TWICE, "locationId": HERE, "tags": ["VIP "]}, {"id": INVALID, "tags": None}]
    assert read_rows(items) == (
        ContactRead(TWICE, HERE, frozenset({Tag("vip")}), None),
        ContactRead(INVALID, LocationId(""), None, None),
    )


def test_what_is_as_long_as_it_may_be_is_read() -> None:
    longest, cursor = "x" * LONGEST_TAG, [0, 1.5, None, True, "x" * LONGEST_TAG, *[0] * (LONGEST_CURSOR - 5)]
    item = {"id": "x" * LONGEST_ID, "tags": [longest], "searchAfter": cursor}
    expected = ContactRead(ContactId("x" * LONGEST_ID), LocationId(""), frozenset({Tag(longest)}), None)

    assert read_page(encoded(a_page(contacts=[{"id": TWICE}, item]))) == Page(
        (ContactRead(TWICE, LocationId(""), None, None), expected), 1, tuple(cursor)
    )
    assert read_page(encoded(a_page(contacts=[item | {"tags": [longest + "x"]}]))).contacts[0].tags is None


def test_the_tags_of_a_location_are_counted() -> None:
    assert read_tag_list(encoded({"tags": [{"name": "a"}, {}]})) == 2


@pytest.mark.parametrize("value", [None, "tag-1", 7, ["tag-1", 7], {}])
def test_tags_of_another_shape_are_unknown_not_empty(value: object) -> None:
    row = {"contactId": TWICE, "message": "m", "type": "success", "oldTags": value}

    assert read_bulk_answer(encoded({"responses": [row]}))[0].old is None


odd_tags = st.lists(st.sampled_from(("a", "A ", "b", 1, True, 1.0, None, ["a"], {"a": 1}, "\ud800")), max_size=2)
odd_lists = odd_tags | st.sampled_from(("a", "ab", {"a": 1}, 7, None))
odd_rows = st.fixed_dictionaries(
    {},
    optional={
        "contactId": st.sampled_from((TWICE, FOREIGN, 7)),
        "type": st.sampled_from(("success", "error", 7, ["success"])),
        "message": st.sampled_from(("Tags updated", "Tags  updated", 7)),
        "oldTags": odd_lists,
        "tagsAdded": odd_lists,
        "tagsRemoved": odd_lists,
    },
)
usual_rows = st.fixed_dictionaries(
    {
        "contactId": st.sampled_from((TWICE, FOREIGN)),
        "type": st.just("success"),
        "message": st.sampled_from(("Tags updated", "Tags  updated")),
        "oldTags": odd_lists,
        "tagsAdded": odd_lists,
        "tagsRemoved": odd_tags,
    },
)


compact, spaced = (",", ":"), (", ", ": ")


def read_or_say(body: bytes) -> list[ResponseRow] | str:
    try:
        return list(read_bulk_answer(body))
    except UnreadableAnswer as error:
        return str(error)


def read_one_by_one(body: bytes) -> list[ResponseRow] | str:
    """What a parser reads, and each row by itself: a row alone shares its words with no other."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return NO_JSON
    if not isinstance(document, dict):
        return NO_OBJECT
    items = document.get("responses")
    if not isinstance(items, list):
        return "the answer has no list `responses`"
    alone = [read_or_say(json.dumps({"responses": [item]}).encode()) for item in items]
    unreadable = [said for said in alone if isinstance(said, str)]
    return unreadable[0] if unreadable else [row for rows in alone for row in rows if isinstance(row, ResponseRow)]


@given(
    st.lists(usual_rows | usual_rows.map(json.dumps) | odd_rows, max_size=6),
    st.integers(1, 4),
    st.sampled_from((compact, spaced)),
)
def test_a_row_says_the_same_whatever_rows_are_beside_it(
    items: list[object], times: int, separators: tuple[str, str]
) -> None:
    """Rows that are alike are read once: one by one they are read as each is."""
    body = json.dumps({"responses": items * times}, separators=separators).encode()
    assert read_or_say(body) == read_one_by_one(body)


ALIKE = [
    {"contactId": contact, "message": "Tags updated", "type": "success", "oldTags": [], "tagsAdded": ["a"]}
    for contact in (TWICE, FOREIGN, INVALID, "")
]
ANSWER = json.dumps({"succeded": True, "responses": ALIKE, "trace": "x"}, separators=compact)
LAST_FIRST = json.dumps({"responses": [dict(reversed(row.items())) for row in ALIKE]}, separators=compact)
SIGNS = ("", '"', "\\", "{", "}", "[", "]", ",", "},{", "}]", '{"', '":"', "\n", "\x00", "ü", "\\u00fc", "\\ud800")
NAMES = ('"contactId":"', '"contactId":"x",', ',"contactId":"x"', '"\\u0063ontactId":"x",', ',"\\u0063ontactId":""')
LISTS = ('"responses":[', '"responses":[],', ',"responses":[]', ',"responses" : []', '"\\u0072esponses":[],', '{"x":')


@given(
    st.sampled_from((ANSWER, LAST_FIRST)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(SIGNS + NAMES + LISTS)), max_size=4),
    st.booleans(),
)
def test_an_answer_is_read_by_its_text_as_a_parser_reads_it(
    text: str, changes: list[tuple[float, int, str]], everywhere: bool
) -> None:
    """Whatever stands in it: words that many rows share are parsed once only where that changes nothing."""
    for where, length, snippet in changes:
        at = int(where * len(text))
        if everywhere and (gone := text[at : at + length + 1]):
            text = text.replace(gone, snippet)
        else:
            text = text[:at] + snippet + text[at + length :]
    body = text[:20_000].encode()
    assert read_or_say(body) == read_one_by_one(body)


LISTED = ANSWER.partition('"responses":')[2].partition(',"trace"')[0]


@pytest.mark.parametrize(
    "text",
    [
        ANSWER[:-1],
        f'{{"responses":{LISTED},}}',
        # the rows stand elsewhere, and the answer's own list is empty
        f'{{"\\u0072esponses":[],"x":{{"responses":{LISTED}}}}}',
        f'{{"responses" : [],"x":{{"responses":{LISTED}}}}}',
        # an id with an escape, and one that JSON does not allow
        ANSWER.replace(FOREIGN, "\\u0061bc"),
        ANSWER.replace(FOREIGN, "a\nb"),
        # an object is no list of tags, be it empty
        ANSWER.replace('"oldTags":[]', '"oldTags":{}'),
        ANSWER.replace('{"contactId"', '{"oldTags":{},"contactId"').replace(',"oldTags":[]', ""),
    ],
)
def test_words_that_a_parser_reads_otherwise_than_they_look_are_parsed(text: str) -> None:
    assert "contactId" in text
    assert read_or_say(text.encode()) == read_one_by_one(text.encode())


@pytest.mark.parametrize("odd", ["ab", {"a": 1, "b": 2}])
def test_what_is_no_list_is_none_beside_a_list_of_the_same_letters(odd: object) -> None:
    row = {"contactId": TWICE, "message": "m", "type": "success", "oldTags": ["a", "b"]}
    rows = [row | {"tagsAdded": [], "tagsRemoved": []}, row | {"oldTags": odd, "tagsAdded": [], "tagsRemoved": []}]
    assert [each.old for each in read_bulk_answer(encoded({"responses": rows}))] == [{"a", "b"}, None]


def test_rows_with_the_same_words_are_parsed_once() -> None:
    parsed = json.dumps({"responses": [row | {"tagsRemoved": []} for row in ALIKE]})
    for text in (ANSWER, LAST_FIRST, parsed):
        rows = read_bulk_answer(text.encode())
        assert [row.contact for row in rows] == [TWICE, FOREIGN, INVALID, ""]
        assert len({id(said) for said in rows.said}) == 1


def test_rows_that_tell_the_same_tags_in_another_order_share_their_words() -> None:
    rows = [row | {"tagsAdded": order} for row in ALIKE for order in (["a", "b"], ["b", "a"])]
    found = read_bulk_answer(json.dumps({"responses": rows}, separators=compact).encode())
    assert len({id(said) for said in found.said}) == 1
    assert found[-1] == ResponseRow(
        ContactId(""), "success", "Tags updated", frozenset(), frozenset({Tag("a"), Tag("b")})
    )


def test_an_answer_is_one_document_beside_its_counts() -> None:
    refused = ResponseRow(INVALID, "error", "no")
    document = {"contactId": INVALID, "message": "no", "type": "error"}
    assert bulk_answer([ResponseRow(TWICE, "success", "m", frozenset({Tag("b"), Tag("a")})), refused, refused]) == {
        "succeded": True,
        "errorCount": 2,
        "responses": [
            {"contactId": TWICE, "message": "m", "type": "success", "oldTags": ["a", "b"]},
            document,
            document,
        ],
    }


@given(hostile)
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    for read in (read_bulk_answer, read_page, read_contact):
        try:
            read(body)
        except UnreadableAnswer:
            continue
    assert "\n" not in "".join(read_error(body))


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\xff\xfe\x00", b""])
def test_bodies_that_are_hard_to_parse_are_unreadable(body: bytes) -> None:
    assert read_or_say(body) == "the body is not JSON"
    assert read_error(body) == ()


@given(st.sampled_from(Action), st.lists(st.text(max_size=9), max_size=4), st.lists(st.text(max_size=9), max_size=4))
def test_a_request_says_contacts_tags_and_location_and_nothing_else(
    action: Action, contacts: list[str], wanted: list[str]
) -> None:
    update = BulkUpdate(action, HERE, tuple(map(ContactId, contacts)), tuple(wanted))

    assert json.loads(bulk_body(update)) == {"contacts": contacts, "tags": wanted, "locationId": HERE}
    assert bulk_path(update) == f"/contacts/bulk/tags/update/{action}"


@pytest.mark.parametrize(
    ("cursor", "tag", "expected"),
    [
        (None, "", {}),
        ((1, "a"), "", {"searchAfter": [1, "a"]}),
        (None, "é", {"filters": [{"field": "tags", "operator": "eq", "value": ["é"]}]}),
    ],
)
def test_a_search_asks_for_the_largest_page(cursor: tuple[Any, ...] | None, tag: str, expected: dict[str, Any]) -> None:
    found = json.loads(search_body(HERE, cursor, tag=tag) if tag else search_body(HERE, cursor))

    assert found == {"locationId": HERE, "pageLimit": SEARCH_PAGE_LIMIT} | expected


def test_a_probe_asks_for_one_contact() -> None:
    assert json.loads(probe_body(HERE)) == {"locationId": HERE, "pageLimit": 1}


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=9), st.none() | tags, st.none() | st.integers(0, 4 * 10**12)), max_size=4
    )
)
def test_a_page_is_read_with_what_its_rows_lack(contacts: list[tuple[str, frozenset[Tag] | None, int | None]]) -> None:
    items, expected = [], []
    for place, (name, carried, updated) in enumerate(contacts):
        item: dict[str, Any] = {"id": name, "locationId": HERE, "searchAfter": [place, name]}
        if carried is not None:
            item["tags"] = sorted(carried)
        if updated is not None:
            item["dateUpdated"] = iso(Instant(updated))
        items.append(item)
        expected.append(ContactRead(ContactId(name), HERE, carried, None if updated is None else Instant(updated)))
    cursor = (len(contacts) - 1, contacts[-1][0]) if contacts else None

    assert read_page(encoded({"contacts": items, "total": 9})) == Page(tuple(expected), 9, cursor)


def test_a_contact_is_read() -> None:
    item = {"id": TWICE, "locationId": HERE, "tags": ["VIP "], "dateUpdated": "2026-11-23T09:30:00.250Z", "email": "x"}

    assert read_contact(encoded({"contact": item})) == ContactRead(
        TWICE, HERE, frozenset({Tag("vip")}), Instant(1_795_426_200_250)
    )


@pytest.mark.parametrize("updated", ["yesterday", "2026-11-23T09:30:00", 17, None])
def test_a_date_of_another_shape_is_unknown(updated: object) -> None:
    assert read_contact(encoded({"contact": {"id": TWICE, "dateUpdated": updated}})).updated is None


@pytest.mark.parametrize(
    ("document", "messages"),
    [
        ({"statusCode": 400, "message": "LocationId can't be undefined"}, ("LocationId can't be undefined",)),
        ({"message": ["tags must be an array", "no"]}, ("tags must be an array", "no")),
        ({"message": "two\nlines\r"}, ("two lines",)),
        ({"message": ["", 7, "\n"]}, ("7",)),
        ({"statusCode": 500}, ()),
        ([], ()),
    ],
)
def test_the_messages_of_an_error_are_one_line_each(document: object, messages: tuple[str, ...]) -> None:
    assert read_error(encoded(document)) == messages


@pytest.mark.parametrize(
    ("message", "status", "why"),
    [
        ("Contact not found", 400, Rejection.DELETED),
        ("contact NOT found.", 404, Rejection.DELETED),
        (["Contact is deleted"], 422, Rejection.DELETED),
        ("contact id is not a valid firebase id", 400, Rejection.INVALID),
        ("contact does not belong to location", 400, Rejection.FOREIGN),
        ("The token does not have access to this location.", 403, Rejection.FOREIGN),
        ("The token does not have access to this location.", 400, None),
        ("Not Found", 404, None),
        ("Cannot GET /contacts/x", 404, None),
        ("Bad Request", 400, None),
        (["Contact not found", "try again"], 400, None),
        ("the tag was not found on a Contact not found", 400, None),
        ("", 404, None),
        (None, 404, None),
    ],
)
def test_a_contact_is_gone_by_the_vendors_words_about_it_and_no_others(
    message: object, status: int, why: Rejection | None
) -> None:
    assert classify_absence(read_error(encoded({"message": message})), status) is why


def test_a_path_carries_no_id_that_would_change_it() -> None:
    assert contact_path(TWICE) == f"/contacts/{TWICE}"
    assert contact_path(ContactId("a-b_c-d_e")) == "/contacts/a-b_c-d_e"
    assert location_path(HERE) == f"/locations/{HERE}"
    assert tags_path(HERE) == f"/locations/{HERE}/tags"
    for name in ("", "-", "_", "a/b", "..", "a?b", "a#b", "a b", "é", "%2e", "a\n"):
        with pytest.raises(ValueError, match=r"^an id with characters that a path cannot carry$"):
            contact_path(ContactId(name))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  Tags\tupdated\r\n", "Tags updated"),
        ("a\x1b[31mb", "a [31mb"),
        ("x" * MESSAGE_LIMIT, "x" * MESSAGE_LIMIT),
        ("x" * MESSAGE_LIMIT + "y", "x" * MESSAGE_LIMIT),
        ("é ü", "é ü"),
        ("", ""),
    ],
)
def test_a_message_is_one_short_printable_line(text: str, line: str) -> None:
    assert one_line(text) == line
